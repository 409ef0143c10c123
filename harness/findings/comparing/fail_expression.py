"""What makes a comparison fail, in a small language of checks: `config, baseline:fall>0.02, verdict`.

    expression  =  check { "," check }
    check       =  word  |  [ scope ":" ] limit
    word        =  "config" | "versions" | "missing" | "answers" | "verdict"
    limit       =  ( "accuracy" | "fall" | "rise" | "drop" ) ">" number  |  "p" "<" number
    scope       =  an experiment, a line or a condition by its name: within_task, within_task[k05], baseline

Numbers are fractions of 1, so 0.05 is five points. A word fails on any difference of its kind (`verdict`: on
a gate that passed and no longer does), a limit where any line in its scope goes beyond it. What cannot be shown,
because samples or conditions are missing, fails too: a check that looked at nothing must not pass.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast, get_args

from harness.errors import SettingsError, counted
from harness.findings.comparing.compare import Comparison, LineChange
from harness.findings.statistics import holm

Word = Literal["config", "versions", "missing", "answers", "verdict"]
Measure = Literal["accuracy", "fall", "rise", "drop", "p"]

EXPECTED = (
    f"expected {', '.join(get_args(Word))}, or a limit as in accuracy>0.05, fall>0.05, rise>0.05, drop>0.05, p<0.01 "
    "or within_task:drop>0.1, with commas between several"
)
_LIMIT = re.compile(
    r"(?:(?P<scope>[\w.:+\-\[\]]+):)?(?P<measure>accuracy|fall|rise|drop|p)\s*(?P<sign>[<>])\s*(?P<limit>\d*\.?\d+)",
    re.ASCII,
)
NOTHING_IN_COMMON = "nothing to compare: no such condition is in both reports"
_ROUNDING = 1e-9
"""A limit is passed by more than this: 0.95 - 0.9 must not be above 0.05."""


@dataclass(frozen=True, slots=True)
class Check:
    """One part of an expression; `limit` is `None` for a word, `scope` where every line counts."""

    text: str
    what: Word | Measure
    scope: str | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that failed, and the first reason, with how many more there are."""

    check: str
    reason: str


def parse_checks(expression: str) -> tuple[Check, ...]:
    """Read an expression. Raises SettingsError where a check is none, naming it and what it may be."""
    return tuple(_parse(part.strip(), expression) for part in expression.split(","))


def failures(checks: tuple[Check, ...], comparison: Comparison) -> tuple[Failure, ...]:
    """The checks that the comparison fails, in their order.

    Raises SettingsError where neither report has what a check's scope names.
    """
    found = []
    for check in checks:
        reasons = list(_limit_reasons(check, comparison) if check.limit is not None else _WORDS[check.what](comparison))
        if reasons:
            more = f" and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            found.append(Failure(check.text, reasons[0] + more))
    return tuple(found)


def _parse(text: str, expression: str) -> Check:
    if text in get_args(Word):
        return Check(text, cast(Word, text))
    match = _LIMIT.fullmatch(text)
    if match is None:
        where = f"--fail-on {expression!r}" + ("" if text == expression else f": {text!r}")
        percent = "; write 0.05 for five points" if "%" in text else ""
        raise SettingsError(f"{where}: no check; {EXPECTED}{percent}")
    measure, sign, limit = cast(Measure, match["measure"]), match["sign"], float(match["limit"])
    expected = "<" if measure == "p" else ">"
    if sign != expected:
        raise SettingsError(
            f"--fail-on: {text!r}; expected {measure}{expected}{match['limit']}: a check says what fails"
        )
    if limit > 1:
        raise SettingsError(
            f"--fail-on: {text!r}: {match['limit']}; expected a fraction of 1; write 0.05 for five points"
        )
    return Check(text, measure, match["scope"], limit)


def _limit_reasons(check: Check, comparison: Comparison) -> Iterator[str]:
    lines = _lines_of(check.scope, comparison)
    gone = [name for name in (*comparison.only_before, *comparison.only_after) if _names(check.scope, name)]
    if not lines:
        if check.scope is not None and not gone:
            known = sorted({line.experiment for line in comparison.lines})
            raise SettingsError(
                f"--fail-on: {check.text!r}: no {check.scope} in either report; expected an experiment "
                f"({', '.join(known) or 'none is in both'}), or a line or condition by its name"
            )
        yield NOTHING_IN_COMMON
        return
    if check.what == "drop":
        # the baseline has no drop from itself
        lines = [line for line in lines if line.conditions != ("baseline",)] or lines
    limit = check.limit or 0.0
    if check.what == "p":
        yield from _p_reasons(lines, limit)
        return
    measure = _MEASURES[check.what]
    for line in lines:
        value = measure(line)
        if value is None:
            yield f"{line.name}: cannot be shown: rows are missing in a report"
        elif value > limit + _ROUNDING:
            yield f"{line.name}: {100 * value:.1f} points"


def _p_reasons(lines: list[LineChange], limit: float) -> Iterator[str]:
    """Paired tests, adjusted for as many lines as are in the scope."""
    for line in lines:
        if line.paired is None:
            yield f"{line.name}: cannot be shown: no row has samples in both reports"
    paired = [(line, line.paired) for line in lines if line.paired is not None]
    adjusted = holm([each.p for _, each in paired])
    for (line, each), p in zip(paired, adjusted, strict=True):
        if p < limit:
            yield f"{line.name}: p = {p:.2g} by Holm over {counted(len(paired), 'line')} ({each.test} {each.p:.2g})"


def _lines_of(scope: str | None, comparison: Comparison) -> list[LineChange]:
    """The lines of an experiment, or the line or condition of this name."""
    if scope is None:
        return list(comparison.lines)
    parts = [part for line in comparison.lines for part in line.parts]
    named = [line for line in (*comparison.lines, *parts) if line.name == scope]
    return named or [line for line in comparison.lines if line.experiment == scope]


def _names(scope: str | None, condition: str) -> bool:
    """Whether the scope means this condition, of which the name alone is known."""
    return scope is None or scope in {condition, condition.partition("[")[0]}


def _accuracy(line: LineChange) -> float | None:
    return None if line.change is None else abs(line.change)


def _fall(line: LineChange) -> float | None:
    return None if line.change is None else -line.change


def _rise(line: LineChange) -> float | None:
    return line.change


def _drop(line: LineChange) -> float | None:
    if line.drop_before is None or line.drop_after is None:
        return None
    return abs(line.drop_after - line.drop_before)


_MEASURES: Mapping[str, Callable[[LineChange], float | None]] = MappingProxyType(
    {"accuracy": _accuracy, "fall": _fall, "rise": _rise, "drop": _drop}
)


def _config(comparison: Comparison) -> Iterator[str]:
    for change in comparison.setup:
        if change.section != "versions":
            yield f"{change.section}: {change.name}: {change.before} -> {change.after}"
    for row in comparison.rows.other_value if comparison.rows else ():
        yield f"row {row}: another gold value"


def _versions(comparison: Comparison) -> Iterator[str]:
    for change in comparison.setup:
        if change.section == "versions":
            yield f"{change.name}: {change.before} -> {change.after}"


def _missing(comparison: Comparison) -> Iterator[str]:
    yield from (f"condition {name} is not in B" for name in comparison.only_before)
    yield from (f"row {row} is not in B" for row in (comparison.rows.only_before if comparison.rows else ()))
    for line in comparison.lines:
        if line.after.n < line.before.n:
            yield f"{line.name}: {line.after.n} of {line.before.n} rows"


def _answers(comparison: Comparison) -> Iterator[str]:
    if comparison.rows is None:
        yield "cannot be shown: a report has no samples"
        return
    if not comparison.lines:
        yield NOTHING_IN_COMMON
    for line in comparison.lines:
        if line.paired is None:
            yield f"{line.name}: cannot be shown: no row has samples in both reports"
        elif line.paired.other_answers:
            yield f"{line.name}: {line.paired.other_answers} of {line.paired.n} answers differ"


def _verdict(comparison: Comparison) -> Iterator[str]:
    if all(gate.before is None for gate in comparison.verdicts):
        yield "cannot be shown: A has no gate"
    for gate in comparison.verdicts:
        if gate.before == "pass" and gate.after != "pass":
            yield f"{gate.gate}: pass -> {gate.after or 'not in B'}"


_WORDS: Mapping[str, Callable[[Comparison], Iterator[str]]] = MappingProxyType(
    {"config": _config, "versions": _versions, "missing": _missing, "answers": _answers, "verdict": _verdict}
)

"""A comparison in a few lines of text, for a terminal: only what differs, and how much does not.

Everything comes from the comparison alone. Changes read from A to B.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from harness.errors import counted
from harness.experiment.conditions import RANDOM
from harness.findings.comparing.compare import Comparison, LineChange, Paired
from harness.findings.report.curves import Level
from harness.findings.statistics import Interval
from harness.findings.wording import aligned, points, points_between

N_NAMED = 4
"""How many names of conditions or rows are shown before `...`."""


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """The lines of text; a single one where the reports are equal."""
    if comparison.is_equal:
        yield f"no difference: {_extent(comparison)}"
        yield from _logprob_lines(comparison)
        return
    yield f"A  {comparison.before}"
    yield f"B  {comparison.after}"
    yield from _setup_lines(comparison)
    yield from _coverage_lines(comparison)
    yield from _accuracy_lines(comparison)
    yield from _paired_lines(comparison)
    yield from _verdict_lines(comparison)


def _extent(comparison: Comparison) -> str:
    conditions = counted(sum(len(line.conditions) for line in comparison.lines), "condition")
    if comparison.rows is None:
        return f"{conditions}; answers not compared, for a report has no samples"
    answers = sum(line.paired.n for line in comparison.lines if line.paired is not None)
    gates = f", {counted(len(comparison.verdicts), 'gate')}" if comparison.verdicts else ""
    return f"{conditions}, {counted(answers, 'answer')}{gates}"


def _setup_lines(comparison: Comparison) -> Iterator[str]:
    yield ""
    if not comparison.setup:
        yield "the same settings, versions, model, ranking and data"
        return
    table = [("setup", "", "A", "B"), *((c.section, c.name, c.before, c.after) for c in comparison.setup)]
    yield from aligned(table, "llll")


def _coverage_lines(comparison: Comparison) -> Iterator[str]:
    rows = comparison.rows
    found = [
        ("conditions only in A", comparison.only_before),
        ("conditions only in B", comparison.only_after),
        ("rows only in A", () if rows is None else rows.only_before),
        ("rows only in B", () if rows is None else rows.only_after),
        ("rows with another gold value", () if rows is None else rows.other_value),
    ]
    if any(names for _, names in found):
        yield ""
    for what, names in found:
        if names:
            yield f"{what}: {len(names)}: {', '.join(names[:N_NAMED])}{', ...' if len(names) > N_NAMED else ''}"


def _accuracy_lines(comparison: Comparison) -> Iterator[str]:
    """Accuracies with Wilson's intervals; the change has an interval here only where no rows are paired."""
    changed = [line for line in comparison.lines if _has_other_accuracy(line)]
    yield ""
    if not changed:
        yield f"the same accuracies in {counted(len(comparison.lines), 'line')}"
        return
    unpaired = any(line.paired is None for line in changed)
    header = ("accuracy", "A", "95 %", "", "B", "95 %", "", "change", "95 %" if unpaired else "", "")
    table = [header, *(_accuracy_cells(line) for whole in changed for line in _with_parts(whole, _has_other_accuracy))]
    yield from aligned(table, "lrrrrrrrrl")
    yield from _others(len(comparison.lines) - len(changed))


def _accuracy_cells(line: LineChange) -> tuple[str, ...]:
    change = "" if line.accuracy_change is None else points(line.accuracy_change)
    interval = "" if line.paired is not None else _change_interval(line.interval)
    return (line.name, *_level(line.before), *_level(line.after), change, interval, _heads(line))


def _heads(line: LineChange) -> str:
    if not line.other_heads:
        return ""
    return "other heads" + (f" in {line.other_heads} of {len(line.conditions)}" if len(line.conditions) > 1 else "")


def _level(level: Level) -> tuple[str, str, str]:
    if level.accuracy is None or level.interval is None:
        return ("-", "", f"none of {level.requested}")
    of = f"{level.matches}/{level.n}" + ("" if level.n == level.requested else f" of {level.requested}")
    return (f"{level.accuracy:.1%}", f"[{level.interval.low:.1%}, {level.interval.high:.1%}]", of)


def _paired_lines(comparison: Comparison) -> Iterator[str]:
    """What became of the rows that both reports asked."""
    yield ""
    if comparison.rows is None:
        yield "no samples in a report: not compared row by row; intervals of changes take rows as independent"
        return
    paired = [line for line in comparison.lines if line.paired is not None]
    if not paired:
        yield "no row is in both reports: nothing to compare row by row"
        return
    changed = [line for line in paired if _has_other_answers(line)]
    if not changed:
        yield f"the same answers to the same rows: {sum(line.paired.n for line in paired if line.paired)}"
    else:
        header = ("the same rows", "n", "lost", "gained", "change", "95 %", "p", "other answers", "log p")
        shown = [line for whole in changed for line in _with_parts(whole, _has_other_answers)]
        table = [header, *(_paired_cells(line, line.paired) for line in shown if line.paired is not None)]
        yield from aligned(table, "lrrrrrrrr")
        yield from _others(len(paired) - len(changed))
        yield "95 %: t over filings; p: exact, McNemar's or of filings' signs; log p: gold value's, mean change in nats"
    yield from _logprob_lines(comparison)


def _paired_cells(line: LineChange, paired: Paired) -> tuple[str, ...]:
    logprob = "-" if paired.gold_logprob_change is None else f"{paired.gold_logprob_change:+.3f}"
    return (
        line.name,
        str(paired.n),
        str(paired.lost),
        str(paired.gained),
        points(paired.change),
        _change_interval(paired.interval),
        "<0.001" if paired.p < 0.001 else f"{paired.p:.3f}",
        str(paired.other_answers),
        logprob,
    )


def _logprob_lines(comparison: Comparison) -> Iterator[str]:
    """Whether equal answers were given with other probabilities, as other machines do."""
    equal = [line.paired for line in comparison.lines if line.paired is not None and not line.paired.other_answers]
    gap = max((paired.logprob_gap for paired in equal), default=0.0)
    if gap > 0.0:
        yield f"log-probabilities differ by up to {gap:.2g} nats where all answers of a line are equal"


def _verdict_lines(comparison: Comparison) -> Iterator[str]:
    if not comparison.verdicts:
        return
    yield ""
    changed = [each for each in comparison.verdicts if each.before != each.after]
    if not changed:
        yield f"the same verdicts of {counted(len(comparison.verdicts), 'gate')}"
        return
    table = [("verdict", "A", "B"), *((v.gate, v.before or "not there", v.after or "not there") for v in changed)]
    yield from aligned(table, "lll")
    if len(changed) < len(comparison.verdicts):
        yield f"{counted(len(comparison.verdicts) - len(changed), 'other gate')} the same"


def _has_other_accuracy(line: LineChange) -> bool:
    return line.before != line.after or line.other_heads > 0


def _has_other_answers(line: LineChange) -> bool:
    return line.paired is not None and (line.paired.other_answers + line.paired.lost + line.paired.gained) > 0


def _with_parts(line: LineChange, differs: Callable[[LineChange], bool]) -> list[LineChange]:
    """A line, and below it, set in, those of its conditions that differ; of random heads the line says enough."""
    if line.experiment == RANDOM:
        return [line]
    return [line, *(replace(part, name=f"  {part.name}") for part in line.parts if differs(part))]


def _others(n: int) -> Sequence[str]:
    return [f"{counted(n, 'other line')} the same"] if n else []


def _change_interval(interval: Interval | None) -> str:
    return "" if interval is None else points_between(interval.ends)

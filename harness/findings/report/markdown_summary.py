"""The summary as Markdown: verdicts and accuracies by k, short enough for a comment on a pull request.

The same figures as `summary` has for a terminal, from the report alone. What comes from data is escaped: GitHub's
Markdown takes HTML, tables end at a newline, and a name may hold a bar.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import ReportError, counted
from harness.experiment.conditions import RANDOM
from harness.files import write_text
from harness.findings.report.curves import Level, Point, curves, envelope, level
from harness.findings.report.report_data import ReportData
from harness.findings.report.report_files import PAGE_FILE, SUMMARY_FILE
from harness.findings.report.summary import data_lines, missing_lines, summary_lines
from harness.findings.verdicts.verdict_data import GateResult
from harness.findings.wording import percent, points

SIGNS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "invalid": "⛔"}
MOST_LINES = 60
"""Of the table of accuracies."""
MOST_LETTERS = 400
"""Of a text from data."""
_SPECIAL = "\\`*_{}[]()#+!|~<>&@"
_ENTITIES = {letter: f"&#{ord(letter)};" for letter in _SPECIAL}


def markdown_summary(report: ReportData, page: str) -> str:
    """The summary of a report, whose page is called `page`."""
    lines = [f"## Ablation: {escaped(report.run.name)}", "", escaped(next(iter(summary_lines(report)))), ""]
    told = [f"- {escaped(line)}" for line in data_lines(report)]
    lines += [*told, ""] if told else []
    lines += _gates(report.gates)
    missing = [f"**{escaped(line)}**" for line in missing_lines(report)]
    lines += [*missing, ""] if missing else []
    lines += _table(("heads", "k", "right", "95 % interval", "drop, points"), _accuracies(report))
    lines += ["", f"Samples, figures and every check: `{page}` of the report."]
    return "\n".join(lines) + "\n"


def write_markdown(report: ReportData, folder: Path) -> Path:
    """Write `summary.md` into a report's folder, which is there; return its path.

    Raises ReportError where it cannot be written.
    """
    path = folder / SUMMARY_FILE
    try:
        write_text(path, markdown_summary(report, PAGE_FILE))
    except OSError as error:
        raise ReportError(
            f"{path}: cannot be written ({error.strerror or error}); expected room in a folder that can be written"
        ) from error
    return path


def escaped(text: str) -> str:
    """Text of data as Markdown shows it unchanged, on one line, cut where it is very long."""
    cut = text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"
    return "".join(_ENTITIES.get(letter, letter) for letter in " ".join(cut.split()))


def _gates(gates: Sequence[GateResult]) -> Iterator[str]:
    if not gates:
        return
    yield from _table(
        ("gate", "verdict", "cost beyond controls", "95 % interval", "margin", "rank p"),
        [
            (
                escaped(gate.name),
                f"{SIGNS[gate.verdict]} {gate.verdict}",
                f"{percent(gate.share)} of the right answers",
                "unknown" if gate.interval is None else " to ".join(percent(end) for end in gate.interval),
                percent(gate.margins.margin),
                "unknown" if gate.rank_p is None else f"{gate.rank_p:.3f}",
            )
            for gate in gates
        ],
    )
    yield ""
    for gate in gates:
        yield from (f"- {escaped(gate.name)}: {escaped(reason)}" for reason in gate.reasons)
    yield ""


def _accuracies(report: ReportData) -> list[tuple[str, ...]]:
    baseline = level(report, "baseline")
    lines = [] if baseline is None else [("untouched", "", *_level(baseline), "")]
    every = curves(report)
    for curve in every:
        draws = [other for other in every if other.experiment == curve.experiment]
        if len(draws) == 1:
            lines += [(curve.experiment, _k(point), *_level(point), _drop(baseline, point)) for point in curve.points]
        elif curve is draws[0]:
            lines += [
                (
                    f"{curve.experiment}, mean and range of {counted(at.n_draws, 'draw')}",
                    str(at.k),
                    percent(at.mean),
                    f"{percent(at.low)} to {percent(at.high)}",
                    "" if baseline is None or baseline.accuracy is None else points(baseline.accuracy - at.mean),
                )
                for at in envelope(draws)
            ]
    told = {curve.experiment for curve in every} | {RANDOM, "baseline"}
    for condition in report.conditions:
        one = level(report, condition.name)
        if condition.k is None and condition.experiment not in told and one is not None:
            change = "" if condition.drop is None else points(condition.drop.estimate)
            lines.append((condition.name, "", *_level(one), change))
    return [(escaped(name), *cells) for name, *cells in lines]


def _level(found: Level) -> tuple[str, str]:
    """Accuracy with its rows, and the interval."""
    if found.accuracy is None or found.interval is None:
        return f"none of {found.requested} done", ""
    return (
        f"{percent(found.accuracy)} ({found.matches}/{found.n})",
        f"{percent(found.interval.low)} to {percent(found.interval.high)}",
    )


def _k(point: Point) -> str:
    return f"{point.k} ({point.heads} heads)" if point.is_short else str(point.k)


def _drop(baseline: Level | None, point: Point) -> str:
    """The drop, where both have all the same rows."""
    if baseline is None or baseline.accuracy is None or point.accuracy is None or point.n != baseline.n:
        return ""
    return points(baseline.accuracy - point.accuracy)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    if not lines:
        return
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---'] * len(head))}|"
    yield from (f"| {' | '.join(line)} |" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield ""
        yield f"{len(lines) - MOST_LINES} lines more are in the report."

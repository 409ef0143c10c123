"""What a session shows on a terminal at its end: a summary, or a few lines with -q.

Everything that is said comes from the report; nothing is worked out here. What it shows while it computes is a line of
its own (`status_line`).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from harness.findings.report.gate_message import gate_lines, verdict_lines
from harness.findings.report.report_data import ReportData
from harness.findings.report.summary import missing_lines, summary_lines
from harness.findings.verdicts.verdict_data import Kind
from harness.plain_text import plain
from harness.settings import Settings

COLOURS: Mapping[Kind, dict[str, bool]] = {
    "pass": {"green": True},
    "fail": {"red": True},
    "inconclusive": {"yellow": True},
    "invalid": {"red": True, "bold": True},
}
"""How a verdict's lines look."""
PLACES = ("reports", "run", "store", "refresh", "dry_run", "bench")
"""Settings that only say where results go, and how they come about."""


def write_summary(
    reporter: pytest.TerminalReporter, report: ReportData, report_name: str, *, header: Iterable[str] = ()
) -> None:
    """Verdicts first; then each condition's accuracy, interval and drop by k; and where the report is.

    `header` is what the session's header would have said, had it been known that there is a study.
    """
    reporter.write_sep("=", "ablation")
    for line in header:
        reporter.write_line(plain(line))
    for kind, line in gate_lines(report):
        reporter.write_line(plain(line), **COLOURS[kind])
    for line in summary_lines(report):
        reporter.write_line(plain(line))
    for line in settings_lines(report):
        reporter.write_line(plain(line))
    reporter.write_line(plain(f"report: {report_name}"))


def settings_lines(report: ReportData) -> Iterator[str]:
    """The settings that differ from their defaults, but for those that only say where results go."""
    usual = Settings().shown(Path())
    differing = {
        name: value
        for name, value in report.configuration.items()
        if name in usual and name not in PLACES and value is not None and value != usual[name]
    }
    if differing:
        said = ", ".join(f"{name.replace('_', '-')} {_said(value)}" for name, value in differing.items())
        yield f"other than the defaults: {said}"


def _said(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def write_brief(reporter: pytest.TerminalReporter, report: ReportData, report_name: str) -> None:
    """What is said with -q: a line a verdict, whether records are missing, and where the report is."""
    reporter.ensure_newline()
    for kind, line in verdict_lines(report):
        reporter.write_line(plain(line), **COLOURS[kind])
    for line in missing_lines(report):
        reporter.write_line(plain(line))
    reporter.write_line(plain(f"report: {report_name}"))

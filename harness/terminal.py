"""What a session shows on a terminal: a line of progress while it computes, and a summary at its end.

Everything that is said comes from the report or from the run; nothing is worked out here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from harness.findings.report.gate_message import gate_lines, verdict_lines
from harness.findings.report.report_data import ReportData
from harness.findings.report.summary import missing_lines, summary_lines
from harness.findings.verdicts.verdict_data import Kind
from harness.plain_text import plain
from harness.settings import Settings
from harness.study.run import Progress

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


@contextmanager
def progress_line(config: pytest.Config) -> Iterator[Callable[[Progress], None]]:
    """A line that is rewritten as rows are done; none with -q or without a terminal.

    It is shown past pytest's capture, which holds whatever else is printed while a fixture is set up.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.get_verbosity() < 0 or not reporter.isatty:
        yield lambda progress: None
        return
    capture = config.pluginmanager.get_plugin("capturemanager")
    uncaptured = nullcontext if capture is None else capture.global_and_fixture_disabled

    shown: list[Progress] = []

    def show(progress: Progress) -> None:
        with uncaptured():
            if not shown:
                reporter.ensure_newline()
            reporter.rewrite(plain(str(progress)), erase=True)
            reporter.flush()
        shown[:] = [progress]

    try:
        yield show
    finally:
        if shown:
            with uncaptured():
                reporter.rewrite("", erase=True)
                reporter.write("\r", flush=True)

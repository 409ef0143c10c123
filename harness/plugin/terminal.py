"""What a session shows at its end: a summary on the terminal, or a few lines with -q; and what it tells workflows.

Everything that is said comes from the report; nothing is worked out here. What it shows while it computes is a line of
its own (`status_line`).

Workflows of GitHub are told the summary, on the run's page, and annotations of gates that did not pass. The file and
the commands are GitHub's (https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands);
elsewhere nobody reads them.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from harness.errors import plain
from harness.findings.report.gate_message import verdict_lines
from harness.findings.report.markdown_summary import markdown_summary
from harness.findings.report.report_data import ReportData
from harness.findings.report.report_files import PAGE_FILE
from harness.findings.report.summary import missing_lines, report_lines
from harness.findings.verdicts.verdict_data import Kind
from harness.settings import Settings

COLOURS: Mapping[Kind, dict[str, bool]] = {
    "pass": {"green": True},
    "fail": {"red": True},
    "inconclusive": {"yellow": True},
    "invalid": {"red": True, "bold": True},
}
"""How a verdict's lines look."""
PLACES = ("reports", "run", "store", "refresh", "dry_run", "part", "ray", "bench", "cluster")
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
    for kind, line in report_lines(report):
        reporter.write_line(plain(line), **({} if kind is None else COLOURS[kind]))
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


STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment's name for the file that a step's summary is added to."""


def tell_workflow(report: ReportData, environment: Mapping[str, str], *, annotate: bool) -> Iterator[str]:
    """Add the report's summary to the step's, and yield what is to be printed: annotations where they are asked for."""
    if fault := add_step_summary(markdown_summary(report, PAGE_FILE), environment):
        yield fault
    if annotate:
        yield from annotations(report)


def add_step_summary(text: str, environment: Mapping[str, str]) -> str | None:
    """Add this Markdown to the step's summary, where a workflow asks for one; what went wrong, where it cannot be."""
    name = environment.get(STEP_SUMMARY)
    if not name:
        return None
    try:
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"{STEP_SUMMARY}: {name}: {error.strerror or error}; expected a file that can be added to"
    return None


def annotations(report: ReportData) -> Iterator[str]:
    """A workflow command for each gate that did not pass: an error, or a warning where nothing is decided."""
    for gate in report.gates:
        if gate.verdict != "pass":
            kind = "warning" if gate.verdict == "inconclusive" else "error"
            said = "; ".join([f"{gate.name}: {gate.verdict}", *gate.reasons])
            yield f"::{kind} title={_property(gate.name)}::{_message(said)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")

"""What a session tells GitHub's workflows: the summary on the run's page, and annotations of gates that did not pass.

The file and the commands are GitHub's
(https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands); elsewhere nobody reads them.
Knows nothing of what the summary says.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.findings.report.markdown_summary import markdown_summary
from harness.findings.report.report_data import ReportData
from harness.findings.report.report_files import PAGE_FILE

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

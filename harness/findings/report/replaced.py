"""What is lost where a report takes the place of another session's: two that share a run name, or parts of one study.

Knows nothing of what the figures are, and reads no more of the old report than it must.
"""

from pathlib import Path

from harness.counting import counted
from harness.errors import ReportError
from harness.experiment.json_nodes import Node, read_json
from harness.findings.report.report_data import ReportData
from harness.findings.report.report_files import REPORT_FILE

N_NAMED = 3
"""How many names are said before `...`."""


def what_is_replaced(report: ReportData, folder: Path) -> str | None:
    """What the report that lies in the folder says and this one does not, in a line; `None` where that is nothing.

    It says something else where it has conditions that this one has not, or was made with other settings. What is no
    report is nothing to keep.
    """
    try:
        old = read_json(folder / REPORT_FILE, ReportError)
        started = old.field("run").field("started").text()
        names = [each.field("name").text() for each in old.field("conditions").items()]
        settings = old.field("configuration").table(lambda node: node)
    except ReportError:
        return None
    known = {condition.name for condition in report.conditions}
    lost = [name for name in names if name not in known]
    other = [name for name in {**settings, **report.configuration} if _value(settings.get(name)) != _now(report, name)]
    kept = [f"{counted(len(lost), 'condition')} that this one has not ({_some(lost)})"] if lost else []
    kept += [f"other settings ({_some(other)})"] if other else []
    if not kept:
        return None
    return (
        f"{folder / REPORT_FILE}: took the place of a report of {started} with {' and '.join(kept)}; give each session "
        "a name of its own with --ablation-run to keep both; the store holds all records"
    )


def _value(node: Node | None) -> object:
    return None if node is None else node.value


def _now(report: ReportData, name: str) -> object:
    return report.configuration.get(name)


def _some(names: list[str]) -> str:
    return ", ".join(names[:N_NAMED]) + (", ..." if len(names) > N_NAMED else "")

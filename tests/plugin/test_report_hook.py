"""The hook `pytest_ablation_report`, and what a workflow is told: after the report is written, by the main process."""

import pytest

from plugin.project import Project

CONFTEST = """
    def pytest_ablation_report(report):
        names = sorted(path.name for path in report.path.parent.iterdir())
        with open("seen", "a") as file:
            print(report.path.name, len(report.data.conditions), len(report.frame()), *names, file=file)
"""


def test_the_hook_is_called_once_with_the_report(project: Project) -> None:
    project.pytester.makeconftest(CONFTEST)
    project.run("evals", "-k", "within_task").assert_outcomes(passed=4, deselected=34)
    (line,) = (project.path / "seen").read_text().splitlines()
    name, conditions, _, *files = line.split()
    assert (name, int(conditions)) == ("report.json", len(project.report()["conditions"]))
    assert {"index.html", "rows.jsonl", "samples.jsonl", "summary.md"} <= set(files)


def test_no_report_no_call(project: Project) -> None:
    project.pytester.makeconftest(CONFTEST)
    project.run("evals", "-k", "within_task", "--ablation-dry-run")
    assert not (project.path / "seen").exists()


def test_a_workflow_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """On its page what `summary.md` says; in its log each gate that did not pass, where that is asked for."""
    summary = project.path / "step"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = project.run("evals", "-m", "gate", "-k", "own", "--ablation-annotate")
    written = (project.path / "reports" / "latest" / "summary.md").read_text(encoding="utf-8")
    assert summary.read_text(encoding="utf-8") == written
    (gate,) = project.report()["gates"]
    kind = "warning" if gate["verdict"] == "inconclusive" else "error"
    result.stdout.fnmatch_lines([f"::{kind} title=gate*{gate['verdict']}*"])
    assert gate["verdict"] in written

    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    silent = project.run("evals", "-m", "gate", "-k", "own")
    silent.stdout.no_fnmatch_line("::*")
    assert summary.read_text(encoding="utf-8") == written

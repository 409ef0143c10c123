"""The hook `pytest_ablation_report`, and what a workflow is told: after the report is written, by the main process."""

import re

import pytest

from plugin.project import REPOSITORY, Project

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


def test_the_guides_example_keeps_a_report_in_mlflow(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """In MLflow's file store; what the guide shows is what runs."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    guide = (REPOSITORY / "docs" / "workflows.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(def pytest_ablation_report.*?)```", guide, re.DOTALL)
    assert example is not None
    project.pytester.makeconftest(example[1])
    store = (project.path / "kept").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    project.run_alone("evals", "-k", "within_task", "-W", "default").assert_outcomes(passed=4, deselected=34)
    client = mlflow.MlflowClient(tracking_uri=store)
    (run,) = client.search_runs(["0"])
    assert run.info.run_name == "latest"
    accuracies = {each["name"]: each["accuracy"] for each in project.report()["conditions"]}
    metrics = {name.replace("/", "[") + "]" * ("/" in name): value for name, value in run.data.metrics.items()}
    assert metrics == accuracies
    kept = {each.path for each in client.list_artifacts(run.info.run_id, "report")}
    assert {"report/report.json", "report/index.html", "report/samples.jsonl", "report/plots"} <= kept


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

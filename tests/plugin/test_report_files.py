"""What a study leaves on disk, run as users run it: alone, plots and all."""

import jsonschema

from harness.findings.page.page_writing import embedded
from harness.findings.report.reading import load
from harness.findings.report.report_data import ReportData
from harness.retrieval.rows import read_rows
from harness.retrieval.tasks import EDGAR_TASKS
from plugin.project import Project

STUDY = ("evals/test_within_task.py", "evals/test_random_control.py")


def test_report_samples_tables_and_plots(project: Project) -> None:
    """Named by `--ablation-run`, under the folder of the reports; every record in one store beside them."""
    project.run_alone(*STUDY, "--ablation-run=mine").assert_outcomes(passed=14)
    folder = project.path / "reports" / "mine"
    assert {path.name for path in folder.iterdir()} == {
        "report.json",
        "samples.jsonl",
        "rows.jsonl",
        "index.html",
        "summary.md",
        "plots",
    }
    assert {path.name for path in (folder / "plots").iterdir()} == {
        *("accuracy_by_k.csv", "figures.csv"),
        *("accuracy_by_k.png", "accuracy_by_k.svg", "accuracy_by_task.png", "accuracy_by_task.svg"),
        *("head_map.png", "head_map.svg", "retrieval_against_random.png", "retrieval_against_random.svg"),
        *("forest.png", "forest.svg"),
    }
    assert {path.name for path in (project.path / "reports").iterdir()} == {"mine", "store.sqlite"}

    report = project.report("mine")
    jsonschema.validate(report, ReportData.model_json_schema())
    assert report["run"]["name"] == "mine"
    assert report["model"]["id"] == "tiny"
    assert (report["model"]["n_layers"], report["model"]["n_heads"], report["model"]["head_dim"]) == (3, 4, 8)
    assert report["data"]["rows"] == 6
    assert report["configuration"]["k"] == [1, 2]
    assert report["configuration"]["data"] == "rows.csv"

    loaded = load(folder / "report.json")
    assert len(loaded.samples()) == sum(each["n"] for each in report["conditions"])
    assert set(loaded.frame()["condition"]) == {each["name"] for each in report["conditions"]}


def test_the_page_holds_the_samples_and_what_was_asked(project: Project) -> None:
    """Without the texts where they are not wanted; those of the run before are gone then."""
    project.run(*STUDY).assert_outcomes(passed=14)
    folder = project.path / "reports" / "latest"
    rows = {row.id: row for row in read_rows(project.path / "rows.csv", EDGAR_TASKS).rows}
    report, data = load(folder), embedded((folder / "index.html").read_text(encoding="utf-8"))
    assert len(data.rows) == report.data.data.rows
    assert sum(len(each.answers.states) for each in data.conditions if each.answers) >= len(report.samples())
    for shown in data.rows:
        row = rows[shown.id]
        assert (shown.needle, shown.question) == (row.needle_sentence, EDGAR_TASKS[row.task].question)
        assert str(shown.before)[-40:].strip() in row.haystack_text

    project.run(*STUDY, "--ablation-no-texts").assert_outcomes(passed=14)
    assert not (folder / "rows.jsonl").exists()
    assert {row.needle for row in embedded((folder / "index.html").read_text(encoding="utf-8")).rows} == {None}


def test_a_second_session_under_one_name_says_what_it_replaces(project: Project) -> None:
    """As parts of one study do under pytest-split: each wrote over the one before, and nothing said so."""
    project.run("evals/test_within_task.py", "-k", "k01")
    result = project.run("evals/test_within_task.py", "-k", "k02")
    (said,) = [line for line in result.outlines if "took the place of a report of " in line]
    assert "with 2 conditions that this one has not (within_task[" in said
    assert "--ablation-run" in said
    again = project.run("evals/test_within_task.py")
    assert "took the place of" not in again.stdout.str()

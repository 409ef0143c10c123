"""What a study leaves on disk, run as users run it: alone, plots and all."""

import jsonschema

from harness.findings.report.reading import load
from harness.findings.report.report_data import ReportData
from plugin.project import Project

STUDY = ("evals/test_within_task.py", "evals/test_random_control.py")


def test_report_samples_tables_and_plots(project: Project) -> None:
    """Named by `--ablation-run`, under the folder of the reports; every record in one store beside them."""
    project.run_alone(*STUDY, "--ablation-run=mine").assert_outcomes(passed=14)
    folder = project.path / "reports" / "mine"
    assert {path.name for path in folder.iterdir()} == {"report.json", "samples.jsonl", "plots"}
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

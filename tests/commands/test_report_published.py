"""Published result files as a report."""

from pathlib import Path

from changed_section import plain_of
from jsonschema import Draft202012Validator
from published_files import documents, published_folder, write_documents

from harness.cli import main
from harness.findings.report.reading import load
from harness.findings.report.report_data import ReportData

from .refusals import Capture, refusal


def test_report_tables_and_figures(tmp_path: Path, capsys: Capture) -> None:
    folder, out = published_folder(tmp_path / "results"), tmp_path / "out"
    argv = ["report-published", str(folder), "--out", str(out), "--model", "some/model", "--model-shape", "4,4"]
    assert main(argv) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "some/model (4 layers of 4 heads), 16 rows"
    assert shown[-2:] == ["left out, in no known format: notes.json", f"report: {out / 'report.json'}"]
    assert shown[-3].endswith("no gate can pass on these files")
    report = load(out)
    Draft202012Validator(ReportData.model_json_schema()).validate(plain_of(report.data))
    assert report.samples().empty
    assert len(report.frame()) == (1 + 18) + 2 * (1 + 3 * 2) + 4 + 8
    assert report.data.configuration["files"] == sorted(f"{name}.json" for name in documents() if name != "notes")
    drawn = {path.name for path in (out / "plots").iterdir()}
    figures = {"accuracy_by_k", "accuracy_by_task", "head_map", "retrieval_against_random", "transfer_map"}
    assert drawn >= {"figures.csv", "accuracy_by_k.csv", *(f"{name}.png" for name in figures)}


def test_it_compares_with_itself_but_not_row_by_row(tmp_path: Path, capsys: Capture) -> None:
    folder = published_folder(tmp_path / "results")
    for name in ("a", "b"):
        assert main(["report-published", str(folder), "--out", str(tmp_path / name)]) == 0
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out == (
        "no difference: 19 conditions; answers not compared, for a report has no samples\n"
    )


def test_what_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    files = documents()
    files["within_task_ablation"]["city"]["1"]["matches"] = 12
    folder = write_documents(files, tmp_path / "results")
    command = ("report-published", folder, "--out", tmp_path / "out")
    assert (
        refusal(capsys, *command) == "within_task_ablation.json: city.1.matches: 12; expected at most the 10 attempts"
    )
    write_documents(documents(), folder)
    assert "expected both or neither" in refusal(capsys, *command, "--model", "some/model")
    heads = folder / "older_heads.json"
    assert "1 follow from the ranking" in refusal(capsys, *command, "--heads", heads)
    shape = ("--model", "m", "--model-shape", "2,2")
    assert "layer 2, but the model has 2 layers" in refusal(capsys, *command, *shape)
    assert not (tmp_path / "out").exists()

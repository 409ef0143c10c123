"""Reports: their page opened, figures drawn, tables written, the schema, and published counts made into one."""

import importlib.util
import json
import os
import webbrowser
from pathlib import Path

import pytest
from changed_section import plain_of
from jsonschema import Draft202012Validator, ValidationError
from published_files import documents, published_folder, write_documents

from harness.cli import main
from harness.findings.page.page_data import page_data
from harness.findings.page.page_writing import embedded, write_page
from harness.findings.report.gate_message import gate_lines
from harness.findings.report.reading import load
from harness.findings.report.report_data import ReportData
from harness.findings.report.summary import summary_lines

from .refusals import Capture, refusal, usage_error


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    return addresses


def test_a_page_that_is_not_there_is_written_and_opened(folder: Path, opened: list[str], capsys: Capture) -> None:
    page = folder / "index.html"
    assert main(["show", str(folder)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert opened == [page.as_uri()]
    text = page.read_text(encoding="utf-8")
    assert "<svg " in text
    samples = load(folder).sample_lines()
    assert {row.id for row in embedded(text).rows} == {sample.row for sample in samples}


def test_one_that_is_there_is_opened_as_it_is(folder: Path, opened: list[str]) -> None:
    """Older than its report too, as in a checkout, whose times say nothing."""
    page = folder / "index.html"
    report = load(folder).data
    write_page(report, page_data(report, ()), folder)
    os.utime(page, (1, 1))
    assert main(["show", str(folder / "report.json"), "--no-browser"]) == 0
    assert (embedded(page.read_text(encoding="utf-8")).rows, opened) == ((), [])
    assert main(["show", str(folder), "--no-browser", "--anew"]) == 0
    assert embedded(page.read_text(encoding="utf-8")).rows


def test_as_text_it_is_the_summary_of_its_run(folder: Path, opened: list[str], capsys: Capture) -> None:
    assert main(["show", str(folder), "--text"]) == 0
    report = load(folder).data
    said = capsys.readouterr().out.splitlines()
    assert said == [*(line for _, line in gate_lines(report)), *summary_lines(report)]
    assert "baseline" in said[1]
    assert (opened, (folder / "index.html").exists()) == ([], False)


def test_one_of_another_report_is_written_anew(folder: Path, opened: list[str]) -> None:
    report = load(folder).data
    other = report.model_copy(update={"run": report.run.model_copy(update={"seconds": 1e6})})
    page = write_page(other, page_data(other, ()), folder)
    assert main(["show", str(folder), "--no-browser"]) == 0
    assert embedded(page.read_text(encoding="utf-8")).rows


def test_a_report_without_samples(folder: Path, opened: list[str]) -> None:
    (folder / "samples.jsonl").unlink()
    assert main(["show", str(folder), "--no-browser"]) == 0
    assert embedded((folder / "index.html").read_text(encoding="utf-8")).rows == ()


def test_what_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    assert "expected a report's file" in refusal(capsys, "show", tmp_path / "none")


def test_plots_go_beside_the_report(folder: Path, capsys: Capture) -> None:
    assert main(["plot", str(folder), "--format", "png"]) == 0
    drawn = sorted(path.name for path in (folder / "plots").iterdir())
    assert {"accuracy_by_k.png", "head_map.png"} <= set(drawn)
    assert all(name.endswith((".png", ".txt")) for name in drawn)
    wrote = sorted(line.removeprefix("wrote ") for line in capsys.readouterr().out.splitlines())
    assert wrote == [str(folder / "plots" / name) for name in drawn]


def test_plots_go_where_they_are_asked_for(folder: Path, tmp_path: Path) -> None:
    argv = [
        "plot",
        str(folder / "report.json"),
        "--format",
        "svg,png",
        "--out",
        str(tmp_path / "figures"),
    ]
    assert main(argv) == 0
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".png", ".svg", ".txt"}
    assert not (folder / "plots").exists()


def test_what_cannot_be_drawn(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "expected one or more of png,svg,pdf" in refusal(capsys, "plot", folder, "--format", "gif")
    assert "expected a report's file" in refusal(capsys, "plot", tmp_path / "none")
    blocked = folder / "report.json"
    assert "expected room in a folder that can be written" in refusal(capsys, "plot", folder, "--out", blocked)


def test_tables(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["export", str(folder), "--csv"]) == 0
    assert main(["export", str(folder), "--csv", str(tmp_path / "tables")]) == 0
    names = ["accuracy_by_k.csv", "figures.csv"]
    places = [folder / "plots", tmp_path / "tables"]
    assert [sorted(path.name for path in place.iterdir()) for place in places] == [names, names]
    wrote = [f"wrote {place / name}" for place in places for name in names]
    assert capsys.readouterr().out.splitlines() == wrote


def test_what_cannot_be_exported(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "expected a report's file" in refusal(capsys, "export", tmp_path / "none", "--csv", tmp_path)
    blocked = folder / "report.json"
    assert "expected a folder that can be written" in refusal(capsys, "export", folder, "--csv", blocked)
    assert refusal(capsys, "export", folder) == "export: nothing to write; expected --csv, --inspect, or both"


def test_figures_for_a_paper(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    argv = ["plot", str(folder), "--format", "pdf", "--width", "84mm", "--experiments", "within_task"]
    assert main([*argv, "--out", str(tmp_path / "figures")]) == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"accuracy_by_k.pdf", "accuracy_by_k.txt"} <= names
    assert "1.0in'; expected a width from 2.5 to 20 inches" in usage_error(capsys, "plot", folder, "--width", "1.0in")
    assert "no experiment a in the report" in refusal(capsys, "plot", folder, "--experiments", "a,within_task")


@pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is not None, reason="inspect_ai is installed")
def test_a_log_needs_an_extra(folder: Path, capsys: Capture) -> None:
    said = refusal(capsys, "export", folder, "--inspect")
    assert said == (
        "--inspect: the package inspect_ai is not installed; expected it; pip install 'retrieval-heads[inspect]'"
    )


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


def test_what_cannot_be_used_of_published_files(tmp_path: Path, capsys: Capture) -> None:
    files = documents()
    files["within_task_ablation"]["city"]["1"]["matches"] = 12
    folder = write_documents(files, tmp_path / "results")
    command = ("report-published", folder, "--out", tmp_path / "out")
    assert (
        refusal(capsys, *command) == "within_task_ablation.json: city.1.matches: 12; expected at most the 10 attempts"
    )
    write_documents(documents(), folder)
    assert "--model: given without --model-shape; " in refusal(capsys, *command, "--model", "some/model")
    heads = folder / "older_heads.json"
    assert "1 follow from the ranking" in refusal(capsys, *command, "--heads", heads)
    shape = ("--model", "m", "--model-shape", "2,2")
    assert "layer 2, but the model has 2 layers" in refusal(capsys, *command, *shape)
    assert not (tmp_path / "out").exists()


def test_published_samples(tmp_path: Path, capsys: Capture) -> None:
    answers = [
        {"idx": f"{n}_1993.txt_headquarters_city_{n}", "task": "headquarters_city", "gold": "St. Louis", "pred": pred}
        for n, pred in enumerate(["St", "St. Louis", "Rome"])
    ]
    rows = [answer | {"correct": int(answer["pred"] != "Rome")} for answer in answers]
    folder = write_documents({"mine": {"method": "mine", "details": {"0": rows, "8": rows}}}, tmp_path / "results")
    assert main(["report-published", str(folder), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:4] == ["mine", "k=8", "3", "33.3%"] and " 66.7% " in line for line in lines)
    report = load(tmp_path / "out")
    assert report.data.configuration["scorer"] == "value"
    assert len(list(report.sample_lines())) == 6
    assert "leave it out" in refusal(capsys, "report-published", folder, "--heads", folder / "mine.json")


def printed(capsys: Capture, *argv: str) -> Draft202012Validator:
    assert main(["schema", *argv]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_a_report_and_its_samples_are_as_their_schemas_say(folder: Path, capsys: Capture) -> None:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    printed(capsys).validate(report)
    check = printed(capsys, "--samples")
    for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        check.validate(json.loads(line))
    with pytest.raises(ValidationError):
        check.validate(report)

"""The demo's rows as files, and rows of real filings."""

import json
from pathlib import Path

import pytest
from made_up_filing import FACTS, filing

from harness.cli import main
from harness.demo.filings import demo_rows
from harness.retrieval.prompts import build_prompt
from harness.retrieval.rows import read_rows
from harness.retrieval.tasks import EDGAR_TASKS
from harness.settings import Settings
from harness.study.asked_model import AskedModel

from .refusals import Capture, refusal, usage_error


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_rows_come_back_as_the_demo_has_them(ending: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / f"rows.{ending}"
    assert main(["rows", "--out", str(path), "--filings", "2", "--seed", "5", "--sentences", "3"]) == 0
    assert read_rows(path, EDGAR_TASKS, strict=True).rows == demo_rows(2, seed=5, n_sentences=3)
    assert capsys.readouterr().out == f"wrote {path}: 18 rows of 2 filings\n"


@pytest.mark.parametrize("side", ["identification", "evaluation"])
def test_all_rows_on_one_side(side: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert main(["rows", "--out", str(path), "--filings", "3", "--split", side]) == 0
    assert {row.split for row in read_rows(path, EDGAR_TASKS).rows} == {side}


def test_without_options_they_are_the_demos(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert main(["rows", "--out", str(path)]) == 0
    assert read_rows(path, EDGAR_TASKS).rows == demo_rows()


def test_bad_options(tmp_path: Path, capsys: Capture) -> None:
    assert "expected .csv, .parquet or .jsonl" in refusal(capsys, "rows", "--out", tmp_path / "rows.txt")
    lost = tmp_path / "none" / "rows.csv"
    assert "expected a folder that can be written" in refusal(capsys, "rows", "--out", lost)
    for option, value in (("--filings", 0), ("--seed", -1), ("--sentences", "two"), ("--split", "test")):
        line = usage_error(capsys, "rows", "--out", tmp_path / "rows.csv", option, value)
        assert f"argument {option}: " in line
    assert not list(tmp_path.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One made-up filing as a crawler writes it; its source says another state of incorporation."""
    place = tmp_path / "filings"
    place.mkdir()
    sections = {f"item_{section.name}": section.text for section in filing().sections}
    fields = {**FACTS, "state_of_inc": "DE", "filename": filing().name, **sections}
    (place / "a.json").write_text(json.dumps(fields), encoding="utf-8")
    return place


def test_rows_and_what_is_said_of_them(folder: Path, capsys: Capture) -> None:
    out = folder.parent / "rows.jsonl"
    assert main(["filings", str(folder), "--out", str(out), "--tasks", "ceo_lastname,incorporation_state"]) == 0
    rows = read_rows(out, EDGAR_TASKS, strict=True).rows
    assert [(row.task, row.needle_value) for row in rows] == [("incorporation_state", "Ohio"), ("ceo_lastname", "Doe")][
        ::-1
    ]
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        f"wrote {out}: 2 rows of 1 filing in 1 cluster",
        "task                       rows  filings that state it  sentences rejected",
        "incorporation_state           1                      1                   0",
        "ceo_lastname                  1                      1                   0",
        f"{filing().name}: incorporation_state: the filing states Ohio, its field state_of_inc is DE",
    ]
    assert shown.err == f"{folder}: 1 filing\n"


def test_the_list_of_candidates_has_every_reason(folder: Path) -> None:
    out = folder.parent
    assert main(["filings", str(folder), "--out", f"{out}/rows.jsonl", "--candidates", f"{out}/list.jsonl"]) == 0
    listed = [json.loads(line) for line in (out / "list.jsonl").read_text().splitlines()]
    assert len(listed) == 10
    (rejected,) = (each for each in listed if each["reason"])
    assert rejected["sentence"] == "Zeta Corp., a subsidiary, had 77 full-time employees."
    assert rejected["reason"] == "not said of the registrant as having or employing that many"


def test_a_draw_to_be_judged_holds_no_text(folder: Path) -> None:
    out = folder.parent
    assert main(["filings", str(folder), "--out", f"{out}/rows.jsonl", "--draw", f"{out}/drawn.csv"]) == 0
    lines = (out / "drawn.csv").read_text().splitlines()
    assert lines[0] == "task,value,filing,section,start,end,right,reason"
    assert len(lines) == 7
    assert any(line.startswith(f"holder_record_amount,345,{filing().name},5,0,") for line in lines)


def test_cut_to_tokens_of_a_model_and_made_again(folder: Path, checkpoint: Path, capsys: Capture) -> None:
    out = folder.parent
    cut = ["filings", str(folder), "--model", str(checkpoint), "--seq-len", "250", "--out", f"{out}/rows.jsonl"]
    assert main([*cut, "--write-manifest", f"{out}/manifest.json"]) == 0
    tokenizer = AskedModel(Settings(model=str(checkpoint))).tokenizer
    rows = read_rows(out / "rows.jsonl", EDGAR_TASKS).rows
    lengths = [len(build_prompt(row, EDGAR_TASKS[row.task], tokenizer, depth=0.5).token_ids) for row in rows]
    assert 150 < max(lengths) <= 250
    assert str(folder.parent) not in (out / "manifest.json").read_text()
    capsys.readouterr()
    again = ["filings", str(folder), "--manifest", f"{out}/manifest.json", "--out", f"{out}/again.jsonl"]
    assert main(again) == 0
    assert (out / "again.jsonl").read_bytes() == (out / "rows.jsonl").read_bytes()
    shown = capsys.readouterr().out
    assert shown == f"wrote {out}/again.jsonl: {len(rows)} rows, each as {out}/manifest.json has it\n"


def test_in_place_says_what_it_is_not_good_for(folder: Path, capsys: Capture) -> None:
    out = folder.parent / "rows.csv"
    assert main(["filings", str(folder), "--in-place", "--out", str(out)]) == 0
    assert {row.placement for row in read_rows(out, EDGAR_TASKS, strict=True).rows} == {"in_place"}
    assert capsys.readouterr().out.endswith("a prompt without its needle is no control\n")


def test_bad_input(folder: Path, capsys: Capture) -> None:
    out = folder.parent / "rows.jsonl"
    assert "no such file or folder" in refusal(capsys, "filings", folder / "none", "--out", out)
    assert "expected .csv, .parquet or .jsonl" in refusal(capsys, "filings", folder, "--out", out.with_suffix(".txt"))
    assert "expected a file in a folder that can be written" in refusal(
        capsys, "filings", folder, "--out", folder / "none" / "rows.csv"
    )
    line = refusal(capsys, "filings", folder, "--out", out, "--tasks", "shoe_size")
    assert "tasks: got 'shoe_size'; expected one or more of registrant_name" in line
    (folder.parent / "empty").mkdir()
    assert "got no filings" in refusal(capsys, "filings", folder.parent / "empty", "--out", out)
    (folder / "a.json").write_text('{"item_1": "We sell widgets."}')
    line = refusal(capsys, "filings", folder, "--out", out, "--candidates", folder.parent / "list.csv")
    assert line.startswith(f"{folder}: 1 filing and no row; expected sentences that state values of registrant_name, ")
    assert (folder.parent / "list.csv").exists()
    assert not out.exists()


def test_options_that_do_not_go_together(folder: Path, capsys: Capture) -> None:
    out = ("--out", folder.parent / "rows.jsonl")
    line = refusal(capsys, "filings", folder, *out, "--seq-len", "700")
    assert line.startswith("--seq-len: given without --model; expected --model beside it, ")
    assert refusal(capsys, "filings", folder, *out, "--model", "m").startswith("--model: given without --seq-len; ")
    assert refusal(capsys, "filings", folder, *out, "--draw-seed", "3").startswith("--draw-seed: given without --draw;")
    for option in (("--in-place",), ("--tasks", "ceo_lastname"), ("--model", "m"), ("--candidates", "c.csv")):
        line = refusal(capsys, "filings", folder, *out, "--manifest", "m.json", *option)
        assert line.startswith(f"{option[0]}: given beside --manifest; expected one of the two")
    for option in (("--depth", "0.2"), ("--insertion", "published"), ("--template", "a=1"), ("--revision", "main")):
        line = refusal(capsys, "filings", folder, *out, "--manifest", "m.json", *option)
        assert line.startswith(f"{option[0]}: given beside --manifest; expected one of the two")
        line = refusal(capsys, "filings", folder, *out, *option)
        assert line.startswith(f"{option[0]}: given without --seq-len; expected ")
    usage_error(capsys, "filings", folder, *out, "--manifest", "m.json", "--write-manifest", "n.json")
    usage_error(capsys, "filings", folder)

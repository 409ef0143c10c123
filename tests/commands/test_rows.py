"""The demo's rows as files."""

from pathlib import Path

import pytest

from harness.cli import main
from harness.demo.filings import demo_rows
from harness.retrieval.rows import read_rows
from harness.retrieval.tasks import EDGAR_TASKS

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

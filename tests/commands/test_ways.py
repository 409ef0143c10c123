"""The command `ways`: its table, its files, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import main
from harness.demo.filings import demo_rows
from harness.experiment.head_files import write_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import rank
from harness.retrieval.rows import write_rows

from .refusals import Capture, refusal, usage_error

TASK = "ceo_lastname"


@pytest.fixture
def argv(checkpoint: Path, tmp_path: Path) -> list[str]:
    rows = [replace(row, split="evaluation") for row in demo_rows(2, n_sentences=2) if row.task == TASK]
    write_rows(rows, tmp_path / "rows.jsonl")
    ranking = rank({TASK: [[float(layer + head) for head in range(4)] for layer in range(3)]}, top_k=2)
    write_ranking(replace(ranking, model=ModelShape(3, 4)), tmp_path / "heads.json")
    (tmp_path / "facts.toml").write_text('[[fact]]\nquestion = "Who?"\nvalue = "Lee"\n')
    given = {"model": checkpoint, "data": tmp_path / "rows.jsonl", "heads": tmp_path / "heads.json", "k": 1}
    given |= {"max-new-tokens": 2, "draws": 2, "store": tmp_path / "store.sqlite", "facts": tmp_path / "facts.toml"}
    return ["ways", *(f"--{name}={value}" for name, value in given.items())]


def test_a_table_a_file_and_a_figure(argv: list[str], tmp_path: Path, capsys: Capture) -> None:
    out = ["--json", str(tmp_path / "ways.json"), "--plot", str(tmp_path / "ways.svg")]
    assert main([*argv, *out]) == 0
    shown, said = capsys.readouterr()
    assert "own heads (k=1)" in shown
    assert shown.count("kept from the needle") == 3
    assert "facts and sums: the untouched model answers none of 1" in shown
    assert "zeroed: 1/2 rows" in said.splitlines()
    whole = json.loads((tmp_path / "ways.json").read_text())
    assert (whole["kind"], whole["schema_version"], len(whole["ways"])) == ("ways-of-ablating", 1, 8)
    assert (tmp_path / "ways.svg").read_text().startswith("<?xml")


def test_what_is_refused(argv: list[str], tmp_path: Path, capsys: Capture) -> None:
    assert refusal(capsys, *argv, "--plot", "ways.gif").startswith("--plot: ways.gif; expected a name that ends in ")
    assert refusal(capsys, *argv, "--json", tmp_path).startswith(f"--json: {tmp_path}: is a folder")
    assert "none.toml: No such file" in refusal(capsys, *argv, "--facts", tmp_path / "none.toml")
    assert "argument --draws: " in usage_error(capsys, *argv, "--draws", "1")

"""The commands `ways` and `rank-methods`: their tables, their files, and what they refuse."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import main
from harness.demo.filings import demo_rows
from harness.experiment.head_files import write_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import rank
from harness.retrieval.rows import filing_hash, split_of, write_rows

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


def test_the_usual_stores_folder_is_made(argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there was none, an option was refused that nobody had typed."""
    monkeypatch.chdir(tmp_path)
    assert main([each for each in argv if not each.startswith("--store")]) == 0
    assert (tmp_path / "reports" / "store.sqlite").is_file()


def test_a_store_that_cannot_be_made(argv: list[str], tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "taken").touch()
    assert refusal(capsys, *argv, f"--store={tmp_path / 'taken' / 'store.sqlite'}").startswith(
        f"{tmp_path}/taken/store"
    )


@pytest.fixture
def two_methods(tmp_path: Path) -> tuple[Path, Path]:
    """For every task; the second says its method."""
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text('[["2-3", 0.5], ["0-1", 0.25]]')
    ranked = [{"head": "L1H0", "score": 3, "rank": 1}, {"head": "L0H1", "score": 1, "rank": 2}]
    other.write_text(json.dumps({"method": "mine", "head_rankings": ranked}))
    return one, other


def methods_argv(checkpoint: Path, rows_file: Path, tmp_path: Path, *files: Path) -> list[str]:
    told = ["--model", checkpoint, "--data", rows_file, "--tasks", "ceo_lastname", "--max-new-tokens", "2"]
    told += ["--store", tmp_path / "store.sqlite", "--random-draws", "2", *files]
    return ["rank-methods", *map(str, told)]


def test_two_rankings(
    checkpoint: Path, rows_file: Path, two_methods: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    command = methods_argv(checkpoint, rows_file, tmp_path, *two_methods)
    out, figure = tmp_path / "areas.json", tmp_path / "areas.png"
    assert main([*command, "--k", "1,2", "--json", str(out), "--figure", str(figure)]) == 0
    shown = capsys.readouterr()
    assert "one.json: does not say which filings it was made from" in shown.err
    assert "4 of 4 rows" in shown.err
    lines = shown.out.splitlines()
    assert lines[0].startswith("4 rows of 4 clusters, ")
    assert any(line.startswith("in common of 2: ") and line.endswith(": 1.0") for line in lines)
    assert lines[-2:] == [f"wrote {out}", f"wrote {figure}"]
    document = json.loads(out.read_text())
    assert {method["name"] for method in document["methods"]} == {"one.json", "mine"}
    assert (document["n"], document["k"], len(document["random"]["2"])) == (4, 2, 2)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert main([*command, "--k", "1"]) == 0
    assert "rows," not in capsys.readouterr().err  # all of it is stored


def test_what_cannot_be_ranked(
    checkpoint: Path, rows_file: Path, two_methods: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    one, other = two_methods
    command = methods_argv(checkpoint, rows_file, tmp_path)
    assert "one.json: given twice; expected different rankings" in refusal(capsys, *command, one, one, "--k", "1")
    assert "2 heads of ceo_lastname; expected at least the largest k, 3" in refusal(
        capsys, *command, one, other, "--k", "3"
    )
    many = tmp_path / "many.json"
    many.write_text(json.dumps([[f"{layer}-{head}", 1.0] for layer in range(3) for head in range(4)][:10]))
    assert "2 heads are no ranking's candidates; expected at least 20" in refusal(capsys, *command, many, "--k", "10")
    filing = next(row.filename for row in demo_rows(6) if split_of(row, seed=0) == "evaluation")
    made: dict[str, object] = {"tasks": {"ceo_lastname": [{"layer": 2, "head": 3, "score": 0.5}]}, "split_seed": 0}
    made["filing_hashes"] = [filing_hash(filing, 0)]
    leaking = tmp_path / "leaking.json"
    leaking.write_text(json.dumps(made))
    assert "leaking.json: made from 1 of the filings that would be evaluated" in refusal(
        capsys, *command, leaking, "--k", "1"
    )
    assert "--figure: areas.gif; expected a file that ends in .png, .svg, .pdf" in refusal(
        capsys, *command, one, "--k", "1", "--figure", "areas.gif"
    )
    assert not (tmp_path / "store.sqlite").exists()

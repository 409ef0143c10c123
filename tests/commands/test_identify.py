"""From rows to a ranking's file, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from gguf_writing import save_gguf

from harness.cli import main
from harness.commands import identify
from harness.demo.filings import demo_rows
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import ModelShape
from harness.retrieval.rows import filing_hash, split_of, write_rows

from .refusals import Capture, refusal


@pytest.fixture
def sound(checkpoint: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Options that work, in the folder of the rows."""
    monkeypatch.chdir(rows_file.parent)
    return {"--model": str(checkpoint), "--data": "rows.jsonl", "--top-k": "2", "--out": "out.json"}


def test_a_ranking_from_rows_to_file(checkpoint: Path, rows_file: Path, capsys: Capture) -> None:
    out = rows_file.with_name("ranking.json")
    argv = ["identify", "--model", str(checkpoint), "--data", str(rows_file), "--out", str(out)]
    argv += ["--top-k", "3", "--seed", "1", "--tasks", "ceo_lastname,incorporation_year"]
    capsys.readouterr()
    assert main(argv) == 0
    shown = capsys.readouterr()
    ranking = read_ranking(out)
    identified = [row for row in demo_rows(6, n_sentences=2) if split_of(row, 1) == "identification"]
    n = len(identified) // 9
    assert 0 < n < 6
    assert list(ranking.tasks) == ["ceo_lastname", "incorporation_year"]
    assert ranking.samples == {"ceo_lastname": n, "incorporation_year": n}
    assert ranking.filing_hashes == frozenset(filing_hash(row.filename, 1) for row in identified)
    assert (ranking.split_seed, ranking.top_k, ranking.method) == (1, 3, "summed_attention")
    assert all(len(heads) == 3 for heads in ranking.tasks.values())
    assert {len(grid) for grid in (ranking.mean_scores or {}).values()} == {3}
    assert str(checkpoint.parent) not in out.read_text()
    lines = shown.out.splitlines()
    assert lines[0].startswith(f"{out}: 2 tasks x 3 heads, ")
    assert lines[5].startswith(f"ceo_lastname           {n}      3  ")
    assert f"control pool: {len(ranking.pool(ModelShape(3, 4)))} of 12 heads at top-k 3" in shown.out
    said = f"{checkpoint}: {2 * n} identification rows of {n} filings, 2 tasks\n"
    assert shown.err == said
    first = out.read_bytes()
    assert main(argv) == 0
    assert out.read_bytes() == first, "the same command gives the same file"
    assert sorted(path.name for path in rows_file.parent.iterdir()) == ["ranking.json", "rows.jsonl"]


def test_a_quantised_file(sound: dict[str, str], capsys: Capture) -> None:
    save_gguf(Path("tiny.gguf"), "Q8_0")
    argv = [f"{name}={value}" for name, value in {**sound, "--model": "tiny.gguf"}.items()]
    capsys.readouterr()
    assert main(["identify", *argv]) == 0
    assert "tiny.gguf: quantised weights (Q8_0), read as full ones" in capsys.readouterr().err
    model = read_ranking(Path("out.json")).model
    assert model is not None
    assert (model.id, model.n_layers, model.n_heads) == ("tiny.gguf", 3, 4)


def test_other_methods_and_rows_that_do_not_count(tmp_path: Path, capsys: Capture) -> None:
    """The demo's own model, of which years are asked, of four digits each; of one filing another number."""
    years = [row for row in demo_rows(3) if row.task == "incorporation_year"]
    rows = [replace(row, split="identification") for row in years]
    rows[1] = replace(rows[1], needle_sentence="Form 7 says that it was incorporated in 1895.", needle_value="7")
    data, out = tmp_path / "rows.jsonl", tmp_path / "out.json"
    write_rows(rows, data)
    argv = ["identify", "--data", str(data), "--out", str(out), "--top-k", "2"]
    for method in (["qr_score"], ["retrieval_score"], ["retrieval_score", "--variant", "authors"]):
        assert main([*argv, "--method", *method]) == 0
        shown = capsys.readouterr()
        counted = 3 if method == ["qr_score"] else 2
        ranking = read_ranking(out)
        assert (ranking.method, ranking.samples) == (method[0], {"incorporation_year": counted})
        assert ranking.variant == (None if len(method) == 1 else "authors")
        assert f"method: {ranking.full_method}" in shown.out.splitlines()
        told = f"2 of 3 rows count for {ranking.full_method}\n"
        assert shown.err.endswith(told if counted == 2 else "1 task\n")
    assert "none of its 3 rows was answered correctly" in refusal(
        capsys, *argv, "--method", "retrieval_score", "--max-new-tokens", "1"
    )


def test_excluded_rows_are_told(checkpoint: Path, tmp_path: Path, capsys: Capture) -> None:
    lines = []
    for index in range(8):
        row = {"filename": f"f{index}", "task": "ceo_lastname", "split": "identification"}
        row |= {
            "needle_sentence": "The CEO is Lee.",
            "needle_value": "Lee",
            "haystack_text": "No. It is.",
        }
        lines.append(row)
    lines[5]["haystack_text"] = "No. The CEO is Lee."
    data, out = tmp_path / "rows.jsonl", tmp_path / "out.json"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    argv = [
        "identify",
        "--model",
        str(checkpoint),
        "--data",
        str(data),
        "--out",
        str(out),
        "--top-k",
        "2",
    ]
    assert main([*argv, "--max-rows", "6"]) == 0
    err = capsys.readouterr().err
    assert "excluded: f5/ceo_lastname: the needle already stands in the haystack (1 x)\n" in err
    assert err.endswith("1 row excluded\n")
    assert read_ranking(out).samples == {"ceo_lastname": 6}
    assert "row 6: haystack_text" in refusal(capsys, *argv, "--strict-rows")


def test_paths_are_relative_to_the_working_folder(
    checkpoint: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rows_file.parent)
    (rows_file.parent / "tiny").symlink_to(checkpoint)
    argv = ["--model", "tiny", "--data", "rows.jsonl", "--top-k", "2", "--tasks", "ceo_lastname"]
    assert main(["identify", *argv]) == 0
    assert read_ranking(rows_file.parent / "retrieval_heads.json").top_k == 2


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        (
            "--out",
            "none/out.json",
            "--out: none/out.json: No such file or directory; expected a file in a",
        ),
        ("--out", ".", "is a folder; expected a file in a folder that can be written"),
        ("--data", "none.jsonl", "none.jsonl: No such file"),
        ("--model", "./none", "no such folder; expected a checkpoint's folder or a hub id"),
        ("--tasks", "ceo_firstname", "tasks: got 'ceo_firstname'; expected one or more of"),
        ("--task-file", "none.toml", "none.toml: No such file"),
        ("--method", "mean", "method: 'mean'; expected one of summed_attention"),
        ("--variant", "authors", "variant: 'authors' of summed_attention; expected none, for it has no variants"),
        ("--top-k", "13", "top_k: 13; expected 1 to 12"),
        ("--max-new-tokens", "0", "--max-new-tokens: '0'; expected a whole number of at least 1"),
        ("--max-rows", "8", "rows.jsonl: no rows for identification"),
        ("--max-rows", "two", "--max-rows: 'two'; expected a whole number of at least 1"),
        ("--seed", "-1", "--seed: '-1'; expected a whole number of at least 0"),
        ("--insertion", "end", "--insertion: 'end'; expected sentence or published"),
    ],
)
def test_what_cannot_be_used(option: str, value: str, words: str, sound: dict[str, str], capsys: Capture) -> None:
    argv = [f"{name}={text}" for name, text in (sound | {option: value}).items()]
    assert words in refusal(capsys, "identify", *argv)
    assert [path.name for path in Path.cwd().iterdir()] == ["rows.jsonl"], "nothing half-written"


def test_the_output_is_checked_first(tmp_path: Path, capsys: Capture) -> None:
    lost = ["--model=./none", f"--data={tmp_path}/none.csv", f"--out={tmp_path}/none/out.json"]
    assert refusal(capsys, "identify", *lost).startswith("--out: ")


def test_interrupted(rows_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*_arguments: object, **_options: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(identify, "identify_heads", interrupted)
    out = rows_file.with_name("out.json")
    assert main(["identify", "--data", str(rows_file), "--out", str(out)]) == 130
    assert capsys.readouterr().err.endswith("\nretrieval-heads: interrupted\n")
    assert not out.exists()

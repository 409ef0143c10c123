"""Head files shown, converted and refused, and rankings made."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from gguf_writing import save_gguf
from safetensors.torch import load_file

from harness.cli import main
from harness.commands import heads
from harness.commands.heads import DECODING_METHODS
from harness.demo.filings import demo_rows
from harness.experiment.head_files import read_ranking, write_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import rank
from harness.model.identification.identify import METHODS
from harness.model.identification.method import prompt_tokens
from harness.retrieval.rows import filing_hash, split_of, write_rows
from harness.retrieval.tasks import EDGAR_TASKS

from .refusals import Capture, refusal, usage_error

PUBLIC = Path(__file__).parents[3] / "shared" / "reference" / "edgar_haystack"
HEADS = b'{"ceo_lastname": [{"head": [2, 3], "avg_score": 0.5}'


@pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"no public head files in {PUBLIC}")
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ranked_heads.json", "9 tasks x 128 heads, 102 shared"),
        ("ranked_heads_v1.json", "9 tasks x 20 heads, 7 shared"),
    ],
)
def test_public_files(name: str, size: str, capsys: Capture) -> None:
    assert main(["heads", str(PUBLIC / name), "--model-shape", "32,32"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: {size}\n")
    assert all(f"\n{task} " in out for task in EDGAR_TASKS)
    assert "\ncontrol pool: " in out


def test_a_shape_that_fits(heads_file: Path, capsys: Capture) -> None:
    assert main(["heads", str(heads_file), "--model-shape", "3,4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "heads.json: 1 tasks x 2 heads, 2 shared"
    assert "control pool: 10 of 12 heads at top-k 2: enough for random controls up to k = 5" in lines


def test_a_shape_that_does_not_fit(heads_file: Path, capsys: Capture) -> None:
    line = refusal(capsys, "heads", heads_file, "--model-shape", "2,4")
    assert line == "heads.json: tasks.ceo_lastname[0]: layer 2, but the model has 2 layers (0-1)"


@pytest.mark.parametrize("shape", ["80", "80,0", "80,64,1", "a,b", "-1,4"])
def test_a_shape_that_is_none(heads_file: Path, shape: str, capsys: Capture) -> None:
    assert "argument --model-shape: " in usage_error(capsys, "heads", heads_file, "--model-shape", shape)


def test_conversion_keeps_the_heads_and_the_shape(heads_file: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours.json"
    assert main(["heads", str(heads_file), "--model-shape", "3,4", "--convert", str(ours)]) == 0
    before, after = read_ranking(heads_file), read_ranking(ours)
    assert (after.tasks, after.top_k) == (before.tasks, before.top_k)
    assert after.model == ModelShape(3, 4)
    assert json.loads(ours.read_text())["schema_version"] == 1


@pytest.fixture
def rankings(tmp_path: Path) -> tuple[Path, Path]:
    """Two methods' rankings of 2 layers of 2 heads."""
    paths = tmp_path / "one.json", tmp_path / "two.json"
    for path, method, scores in zip(
        paths, ("a", "b"), ([[4.0, 3.0], [2.0, 1.0]], [[4.0, 1.0], [3.0, 2.0]]), strict=True
    ):
        write_ranking(rank({"city": scores}, top_k=2, method=method, samples={"city": 3}), path)
    return paths


def test_against_another_method(rankings: tuple[Path, Path], capsys: Capture) -> None:
    one, two = rankings
    assert main(["heads", str(one), "--against", str(two)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1: one.json: a",
        "2: two.json: b",
        "Spearman's rank correlation over all heads, and how many of the top 2 are common",
        "task             1-2",
        "city      0.400  1/2",
        "all rows  0.400  1/2",
    ]
    assert main(["heads", str(one), "--against", str(two), str(one), "--top-k", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all rows  0.400  2/3  1.000  3/3  0.400  2/3"


def test_what_cannot_be_compared(rankings: tuple[Path, Path], heads_file: Path, capsys: Capture) -> None:
    one, two = rankings
    against = (one, "--against", two)
    assert "--top-k: given without --against" in refusal(capsys, "heads", one, "--top-k", "2")
    assert "no task in common" in refusal(capsys, "heads", one, "--against", heads_file)
    assert "expected 5; compare fewer with --top-k" in refusal(capsys, "heads", *against, "--top-k", "5")
    assert "expected a ranking of this model's heads" in refusal(
        capsys, "heads", one, "--against", two, "--model-shape", "2,3"
    )
    assert "none.json: " in refusal(capsys, "heads", one, "--against", one.with_name("none.json"))


@pytest.mark.parametrize("content", [None, b"", b"\x80\x81\x00", HEADS, b'{"a": 1}'], ids=str)
def test_a_file_that_is_none(content: bytes | None, tmp_path: Path, capsys: Capture) -> None:
    path, ours = tmp_path / "bad.json", tmp_path / "ours.json"
    if content is not None:
        path.write_bytes(content)
    assert "bad.json" in refusal(capsys, "heads", path, "--convert", ours)
    assert not ours.exists()


def test_a_conversion_that_cannot_be_written(heads_file: Path, capsys: Capture) -> None:
    line = refusal(capsys, "heads", heads_file, "--convert", heads_file / "ours.json")
    assert "expected a file that can be written" in line


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
        ("--variant", "authors", "variant: 'authors' of summed_attention; expected none, for it has no variants"),
        ("--top-k", "13", "--top-k: 13; expected at most 12, the heads of "),
        ("--max-new-tokens", "9", "--max-new-tokens: given without --method retrieval_score or logit_contribution; "),
        ("--gpus", "2", "--gpus: given without --ray; expected "),
        ("--ray-mixed", "", "--ray-mixed: given without --ray; expected "),
        ("--max-rows", "8", "rows.jsonl: no rows for identification"),
        ("--max-rows", "two", "--max-rows: 'two'; expected a whole number of at least 1"),
        ("--seed", "-1", "--seed: '-1'; expected a whole number of at least 0"),
        ("--insertion", "end", "--insertion: 'end'; expected sentence or published"),
    ],
)
def test_what_cannot_be_used(option: str, value: str, words: str, sound: dict[str, str], capsys: Capture) -> None:
    argv = [f"{name}={text}" if text else name for name, text in (sound | {option: value}).items()]
    assert words in refusal(capsys, "identify", *argv)
    assert [path.name for path in Path.cwd().iterdir()] == ["rows.jsonl"], "nothing half-written"


def test_methods_that_have_the_model_answer() -> None:
    assert set(DECODING_METHODS) == {name for name, method in METHODS.items() if method.n_tokens is not prompt_tokens}


def test_the_output_is_checked_first(tmp_path: Path, capsys: Capture) -> None:
    lost = ["--model=./none", f"--data={tmp_path}/none.csv", f"--out={tmp_path}/none/out.json"]
    assert refusal(capsys, "identify", *lost).startswith("--out: ")


def test_interrupted(rows_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*_arguments: object, **_options: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(heads, "identify_heads", interrupted)
    out = rows_file.with_name("out.json")
    assert main(["identify", "--data", str(rows_file), "--out", str(out)]) == 130
    assert capsys.readouterr().err.endswith("\nretrieval-heads: interrupted\n")
    assert not out.exists()


def test_a_model_without_heads(checkpoint: Path, heads_file: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "cut"
    for chosen, told in (
        (["L0H1, L2H3"], "L0H1, L2H3"),
        ([str(heads_file)], "L0H1, L2H3"),
        ([str(heads_file), "--k", "1"], "L2H3"),
        ([str(heads_file), "--list", "ceo_lastname", "--k", "1"], "L2H3"),
        ([str(heads_file), "--list", "shared", "--k", "1"], "L2H3"),
    ):
        assert main(["export-checkpoint", str(checkpoint), "--heads", *chosen, "--out", str(out)]) == 0
        assert capsys.readouterr().out == f"wrote {out}: {checkpoint} without {told}\n"
        shutil.rmtree(out)


def test_a_model_with_heads_at_their_means(checkpoint: Path, rows_file: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "cut"
    argv = ["export-checkpoint", str(checkpoint), "--heads", "L0H1", "--mode", "mean", "--out", str(out)]
    assert main([*argv, "--data", str(rows_file), "--split-share", "0.5"]) == 0
    assert " identification rows\n" in capsys.readouterr().err
    held = load_file(out / "model.safetensors")
    assert held["model.layers.0.self_attn.o_proj.bias"].any()
    assert not held["model.layers.0.self_attn.q_proj.bias"].any()


def test_models_that_cannot_be_written(checkpoint: Path, heads_file: Path, tmp_path: Path, capsys: Capture) -> None:
    argv = ["export-checkpoint", checkpoint, "--out", tmp_path / "cut", "--heads"]
    assert refusal(capsys, *argv, "L0H4") == "--heads L0H4: head 4, but the model has 4 heads (0-3)"
    assert refusal(capsys, *argv, "L0").endswith("; or a file of ranked heads, and there is none of this name")
    assert refusal(capsys, *argv, heads_file, "--k", "3").startswith("--k: 3; expected 1 to 2, the heads of global in ")
    for named in (("--k", "3"), ("--list", "shared")):
        line = refusal(capsys, *argv, "L0H1", *named)
        assert line.startswith(f"{named[0]}: given with heads by name, which are all meant; expected it with a file;")
    assert refusal(capsys, *argv, "L0H1", "--seed", "3").startswith("--seed: given without --mode mean; expected ")
    assert "no task year; expected one of ceo_lastname" in refusal(capsys, *argv, heads_file, "--list", "year")
    assert not (tmp_path / "cut").exists()

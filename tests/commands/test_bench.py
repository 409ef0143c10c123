"""The benchmark's command: from options to table, JSON and figure, and what is refused."""

import json
from pathlib import Path

import pytest

from harness.cli import main

from .refusals import Capture, refusal, usage_error

QUICK = ["--rows", "1", "--rounds", "1", "--k", "1", "--max-new-tokens", "3"]


def test_the_demo_from_options_to_files(tmp_path: Path, capsys: Capture) -> None:
    argv = [*QUICK, "--growth", "1,2", "--json", str(tmp_path / "bench.json"), "--figure", str(tmp_path / "growth.png")]
    assert main(["bench", *argv, "--experiments", "within_task,general"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("demo, float32, sdpa, on ")
    assert out[-2:] == [f"wrote {tmp_path / 'bench.json'}", f"wrote {tmp_path / 'growth.png'}"]
    document = json.loads((tmp_path / "bench.json").read_text())
    assert (document["model"], document["baseline"]["name"], document["n_conditions"]) == ("demo", "reference", 2)
    assert document["baseline"]["layer_passes"] == 2 * 8
    assert document["tokens_identical"] is True
    assert [each["n_conditions"] for each in document["growth"]] == [1, 2]
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_any_model(checkpoint: Path, rows_file: Path, heads_file: Path, capsys: Capture) -> None:
    argv = ["--model", checkpoint, "--data", rows_file, "--heads", heads_file, "--tasks", "ceo_lastname"]
    assert main(["bench", *QUICK, *map(str, argv), "--baseline", "published", "--own-flips"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny, float32, sdpa, on ")
    assert "the plain loop differs from itself in a batch of 2 in " in out


def test_fewer_bits_are_the_same_operations_and_less_to_read(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra 'quant'")
    measured = []
    for bits in ([], ["--quantization", "4bit"]):
        assert main(["bench", *QUICK, *bits, "--json", str(tmp_path / "bench.json")]) == 0
        measured.append(json.loads((tmp_path / "bench.json").read_text()))
    plain, packed = measured
    assert (plain["quantization"], packed["quantization"]) == (None, "4bit")
    assert plain["flops"] == packed["flops"]
    assert packed["read_bytes"] / packed["engine"]["steps"] < plain["read_bytes"] / plain["engine"]["steps"]


def test_a_shape_needs_heads(capsys: Capture) -> None:
    line = refusal(capsys, "bench", "--shape", "llama-3-8b")
    assert line.startswith("--heads: none given for the shape llama-3-8b; expected a file")


def test_what_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    assert "--experiments: 'within'" in refusal(capsys, "bench", "--experiments", "within")
    assert "expected --growth and --json beside it" in refusal(capsys, "bench", "--figure", tmp_path / "a.png")
    assert "--figure: a.bmp; expected a file that ends in" in refusal(
        capsys, "bench", "--figure", "a.bmp", "--growth", "1", "--json", tmp_path / "a.json"
    )
    assert "method: 'none'; expected one of" in refusal(capsys, "bench", "--identify", "none")
    assert "--quantization: 8bit; expected 4bit" in refusal(capsys, "bench", "--quantization", "8bit")
    assert "--json: " in refusal(capsys, "bench", "--json", tmp_path / "none" / "a.json")
    assert "argument --growth" in usage_error(capsys, "bench", "--growth", "1,x")


@pytest.mark.parametrize("option", ["--model", "--adapter", "--seq-len", "--depth"])
def test_a_shape_takes_no_option_of_a_model(option: str, capsys: Capture) -> None:
    line = refusal(capsys, "bench", "--shape", "llama-3-8b", option, "1")
    assert line.startswith(f"{option}: given beside --shape llama-3-8b; expected one of the two")


def test_a_model_takes_no_length_of_random_prompts(capsys: Capture) -> None:
    line = refusal(capsys, "bench", "--prompt-tokens", "100")
    assert line.startswith("--prompt-tokens: given without --shape; ")


@pytest.mark.parametrize("option", ["--rows", "--rounds", "--prompt-tokens"])
def test_numbers_start_at_one(option: str, capsys: Capture) -> None:
    assert f"argument {option}" in usage_error(capsys, "bench", option, "0")

"""The benchmark's command: from options to table, JSON and figure, and what is refused."""

import dataclasses
import json
from pathlib import Path

import pytest
from bench_results import SETTING, make_result

from harness.cli import main
from harness.commands.bench import bench_lines, growth_lines, whole_lines
from harness.experiment.bench_result import IdentifyCost, Measured
from harness.study.whole import WholeResult

from .refusals import Capture, refusal, usage_error

QUICK = ["--rows", "1", "--k", "1", "--max-new-tokens", "3"]


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
    assert packed["read_bytes"] / packed["least_steps"] < plain["read_bytes"] / plain["least_steps"]


def test_a_model_needs_heads(checkpoint: Path, rows_file: Path, capsys: Capture) -> None:
    """The command's own option is named, not pytest's."""
    line = refusal(capsys, "bench", "--model", checkpoint, "--data", rows_file)
    assert line.endswith("make one with `retrieval-heads identify` and name it with --heads")


def test_a_shape_needs_heads(capsys: Capture) -> None:
    line = refusal(capsys, "bench", "--shape", "llama-3-8b")
    assert line.startswith("--heads: none given for the shape llama-3-8b; expected a file")


def test_what_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    assert "--experiments: 'within'" in refusal(capsys, "bench", "--experiments", "within")
    alone = ("bench", "--figure", tmp_path / "a.png")
    assert refusal(capsys, *alone).startswith("--figure: given without --growth; expected ")
    assert refusal(capsys, *alone, "--growth", "1").startswith("--figure: given without --json; expected ")
    assert "--figure: a.bmp; expected a file that ends in" in refusal(
        capsys, "bench", "--figure", "a.bmp", "--growth", "1", "--json", tmp_path / "a.json"
    )
    assert "--identify: qr_score, which also reads" in refusal(capsys, "bench", "--identify", "qr_score")
    assert "--quantization: 8bit; expected 4bit" in refusal(capsys, "bench", "--quantization", "8bit")
    assert "--json: " in refusal(capsys, "bench", "--json", tmp_path / "none" / "a.json")
    assert "argument --identify: invalid choice: 'none'" in usage_error(capsys, "bench", "--identify", "none")
    assert "argument --growth" in usage_error(capsys, "bench", "--growth", "1,x")
    assert "'9'; expected a whole number of at least 10" in usage_error(capsys, "bench", "--prompt-tokens", "10-9")


@pytest.mark.parametrize("option", ["--model", "--adapter", "--seq-len", "--depth", "--max-rows"])
def test_a_shape_takes_no_option_of_a_model(option: str, capsys: Capture) -> None:
    line = refusal(capsys, "bench", "--shape", "llama-3-8b", option, "1")
    assert line.startswith(f"{option}: given beside --shape llama-3-8b; expected one of the two")


@pytest.mark.parametrize(("option", "value"), [("--prompt-tokens", "100-200"), ("--one-filing", "in_place")])
def test_a_model_takes_no_option_of_a_shape(option: str, value: str, capsys: Capture) -> None:
    line = refusal(capsys, "bench", option, value)
    assert line.startswith(f"{option}: given without --shape llama-3-8b or llama-3.3-70b; expected ")


@pytest.mark.parametrize("option", ["--rows", "--prompt-tokens"])
def test_numbers_start_at_one(option: str, capsys: Capture) -> None:
    assert f"argument {option}" in usage_error(capsys, "bench", option, "0")


def test_the_whole_command_is_measured_alone(tmp_path: Path, capsys: Capture) -> None:
    assert "--growth: given beside --whole; " in refusal(capsys, "bench", "--whole", tmp_path, "--growth", "1")
    assert "--whole: --shape llama-3-8b; " in refusal(capsys, "bench", "--whole", tmp_path, "--shape", "llama-3-8b")
    assert "--whole: no folder none; expected" in refusal(capsys, "bench", "--whole", "none")


def test_where_a_whole_commands_time_goes() -> None:
    result = WholeResult("pytest evals", 10.0, 4.0, 5.0, 1.0, 20, 3, 60, "plain", 2, 6, 4.5)
    assert list(whole_lines(SETTING, result)) == [
        "demo, float32, on a card: pytest evals, 20 rows, up to 3 conditions each, 60 completions",
        "whole command 10.0 s: 4.0 s before the first row, 5.0 s rows,",
        "  1.0 s from the last row to the end, report, figures and page written",
        "plain: 45.0 s for the rows, by 6 completions of 2 rows; with the same start and end 5.00 x the command",
    ]


def test_every_line() -> None:
    sides = [
        "               seconds  layer passes  short passes  peak GiB",
        "reference        4.000          48.0         120.0      1.00",
        "shared           1.000          23.5           4.5      1.00",
        "4.00 x as fast (from 4.00 to 4.00)",
        "the least time: 0.400 s at the 1 TFLOP/s and 100 GB/s measured now, in 2 passes; the engine takes 2.50 x that",
    ]
    whole = [
        "demo, float32, sdpa, on a card: 2 rows of 20-30 tokens, up to 6 conditions each, 20 new tokens at most",
        *sides,
        "12 of 12 completions equal, token by token",
    ]
    assert list(bench_lines(Measured(SETTING, make_result()))) == whole
    held = [*bench_lines(Measured(SETTING, dataclasses.replace(make_result(), held_flops=5e11)))]
    assert held == [
        *whole[:-1],
        "at the 0.5 TFLOP/s that it holds for seconds: 0.700 s; the engine takes 1.43 x that",
        whole[-1],
    ]
    with_prefill = list(bench_lines(Measured(SETTING, make_result(), make_result())))
    assert with_prefill == [*whole, "to the first new token alone, on 2 rows of another filing", *sides]


def test_bits_and_adapter_are_named() -> None:
    first, *_ = bench_lines(Measured({**SETTING, "quantization": "4bit", "adapter": "lora"}, make_result()))
    assert first.startswith("demo with lora, 4bit and float32, sdpa, on a card: ")


def test_differences_are_told_and_memory_may_be_unknown() -> None:
    result = dataclasses.replace(make_result(peak=None), n_different=3, n_ties=2, own_flips=1)
    *_, side, _, _, answers = bench_lines(Measured(SETTING, result))
    assert side.endswith("-")
    assert answers == (
        "9 of 12 completions equal, token by token; 2 of the others differ at a tie; "
        "the plain loop differs from itself in a batch of 2 in 1"
    )


def test_identification_is_told_where_it_was_measured() -> None:
    cost = IdentifyCost("summed_attention", (1.2, 2.4), (1.0, 2.0), 3 * 2**29, 2**30)
    *_, line = bench_lines(Measured(SETTING, dataclasses.replace(make_result(), identify=cost)))
    assert line == "identify (summed_attention): 1.20 x the time of reading each prompt, +0.50 GiB at most"


def test_growth() -> None:
    assert list(growth_lines({})) == []
    assert list(growth_lines({1: make_result(1), 64: make_result(50, seconds=9.0)})) == [
        "conditions    engine s  baseline s   ratio  engine GiB  baseline GiB",
        "1                1.000       4.000    4.00        1.00          1.00",
        "50               1.000       9.000    9.00        1.00          1.00",
    ]

"""A benchmark as text."""

import dataclasses

from bench_results import SETTING, make_result

from harness.experiment.bench_result import IdentifyCost
from harness.findings.bench_table import bench_lines, growth_lines


def test_every_line() -> None:
    assert list(bench_lines(SETTING, make_result())) == [
        "demo, float32, sdpa, on a card: 2 rows of 20-30 tokens, up to 6 conditions each, 20 new tokens at most",
        "               seconds  layer passes  short passes  peak GiB",
        "reference        4.000            48         120.0      1.00",
        "shared           1.000            23           4.5      1.00",
        "4.00 x as fast (rounds: 4.00 to 5.00)",
        "the least time: 0.400 s at the 1 TFLOP/s and 100 GB/s measured now; the engine takes 2.50 x that",
        "12 of 12 completions equal, token by token",
    ]


def test_bits_and_adapter_are_named() -> None:
    first, *_ = bench_lines({**SETTING, "quantization": "4bit", "adapter": "lora"}, make_result())
    assert first.startswith("demo with lora, 4bit and float32, sdpa, on a card: ")


def test_differences_are_told_and_memory_may_be_unknown() -> None:
    result = dataclasses.replace(make_result(peak=None), n_different=3, n_ties=2, own_flips=1)
    *_, side, _, _, answers = bench_lines(SETTING, result)
    assert side.endswith("-")
    assert answers == (
        "9 of 12 completions equal, token by token; 2 of the others differ at a tie; "
        "the plain loop differs from itself in a batch of 2 in 1"
    )


def test_identification_is_told_where_it_was_measured() -> None:
    cost = IdentifyCost("summed_attention", (1.1, 2.4), (1.0, 2.0), 3 * 2**29, 2**30)
    *_, line = bench_lines(SETTING, dataclasses.replace(make_result(), identify=cost))
    assert line == "identify (summed_attention): 1.15 x the time of reading the prompts, +0.50 GiB at most"


def test_growth() -> None:
    assert list(growth_lines({})) == []
    assert list(growth_lines({1: make_result(1), 64: make_result(50, seconds=9.0)})) == [
        "conditions    engine s  baseline s   ratio  engine GiB  baseline GiB",
        "1                1.000       4.000    4.00        1.00          1.00",
        "50               1.000       9.000    9.00        1.00          1.00",
    ]

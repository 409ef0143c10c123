"""What follows from a benchmark's figures, and its file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import card_paces as committed
import pytest
from bench_results import SETTING, make_result

from harness.errors import ReportError
from harness.experiment.bench_result import (
    CARD_PACES,
    GrowthPoint,
    Measured,
    card_paces,
    read_growth,
    read_pace,
    write_bench,
)


def test_what_follows_from_the_figures() -> None:
    result = make_result()
    slower = replace(result, baseline=replace(result.baseline, seconds=(0.8, 2.4)))
    assert slower.ratios == pytest.approx((2.0, 4.0))
    assert slower.ratio == pytest.approx(3.2)
    assert result.floor_seconds == pytest.approx(0.4)
    assert result.fraction_of_floor == pytest.approx(0.4)
    assert result.held_floor_seconds is None
    assert replace(result, held_flops=5e11).held_floor_seconds == pytest.approx(0.7)


def test_the_file_holds_what_a_reader_looks_for(tmp_path: Path) -> None:
    write_bench(tmp_path / "bench.json", Measured(SETTING, make_result()))
    document = json.loads((tmp_path / "bench.json").read_text())
    assert document["ratio"] == 4.0
    assert document["tokens_identical"] is True
    assert document["engine"]["layer_passes"] == 23.5
    assert document["fraction_of_floor"] == pytest.approx(0.4)
    assert document["device"] == "a card"
    assert not {"growth", "prefill"} & set(document)


def test_what_is_measured_beside_the_rest_stands_beside_it(tmp_path: Path) -> None:
    write_bench(
        tmp_path / "bench.json", Measured(SETTING, make_result(), make_result(seconds=2.0), {1: make_result(1)})
    )
    document = json.loads((tmp_path / "bench.json").read_text())
    assert (document["ratio"], document["prefill"]["ratio"]) == (4.0, 2.0)
    assert [each["asked"] for each in document["growth"]] == [1]


def test_the_pace_is_what_hours_come_from(tmp_path: Path) -> None:
    write_bench(tmp_path / "bench.json", Measured(SETTING, make_result()))
    pace = read_pace(tmp_path / "bench.json")
    assert pace.device == "a card"
    # 3 hours of products and 1 of reading, at 0.4 of the best
    assert pace.hours(3 * 3600 * 1e12, 3600 * 1e11) == pytest.approx(4 / 0.4)


def test_an_earlier_benchmark_tells_a_pace_too(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    write_bench(path, Measured(SETTING, make_result(), growth={1: make_result(1)}))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 1}))
    assert read_pace(path).fraction_of_floor == pytest.approx(0.4)
    with pytest.raises(ReportError, match="schema_version: 1; expected version 2; measure again"):
        read_growth(path)


def test_growth_a_row(tmp_path: Path) -> None:
    growth = {1: make_result(1, peak=None), 8: make_result(6, seconds=8.0)}
    write_bench(tmp_path / "bench.json", Measured(SETTING, make_result(), growth=growth))
    found = read_growth(tmp_path / "bench.json")
    assert (found.title, found.baseline) == ("demo on a card", "reference")
    assert found.points == (
        GrowthPoint(1, (0.5, 2.0), (None, None)),
        GrowthPoint(6, (0.5, 4.0), (2**30, 2**30)),
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"schema_version": 3}', "bench.json: schema_version: 3; expected version 2"),
        ('{"schema_version": true}', "bench.json: schema_version: True; expected an integer"),
        ('{"schema_version": 1.0}', "bench.json: schema_version: 1.0; expected an integer"),
        ('{"schema_version": 1}', "expected an object with 'speed'"),
        (
            '{"schema_version": 1, "device": "x", "speed": {"flops": 0, "bandwidth": 1}, "fraction_of_floor": 1}',
            "bench.json: speed.flops: 0; expected a number above 0",
        ),
        ("", "bench.json: an empty file"),
        (
            '{"schema_version": 2, "command": "pytest"}',
            "bench.json: the times of a whole command, as `retrieval-heads ",
        ),
        (
            '{"schema_version": 2, "kind": "ablation-report"}',
            "bench.json: of the kind ablation-report; expected a benc",
        ),
        ("[]", "bench.json: []; expected an object with 'schema_version'"),
    ],
)
def test_a_file_that_is_none(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(content)
    with pytest.raises(ReportError) as error:
        read_pace(path)
    assert words in str(error.value)


def test_a_side_without_a_group(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    write_bench(path, Measured(SETTING, make_result(), growth={1: make_result(1)}))
    content = json.loads(path.read_text())
    content["growth"][0]["engine"]["seconds"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(ReportError, match=r"growth\[0\]\.engine\.seconds: .*expected a list of at least 1"):
        read_growth(path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="expected a file that can be written"):
        write_bench(tmp_path / "none" / "bench.json", Measured(SETTING, make_result()))


@pytest.mark.parametrize(
    ("device", "card", "gigabytes", "same"),
    [
        ("NVIDIA H100 80GB HBM3", "H100", 80, True),
        ("NVIDIA H100 80GB HBM3", "h100", 80, True),
        ("NVIDIA H100 80GB HBM3", "H100", 94, False),
        ("NVIDIA H200", "H200", 141, True),
        ("NVIDIA H200", "H20", 96, False),
        ("NVIDIA A100-SXM4-40GB", "A100", 40, True),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4", 40, True),
        ("NVIDIA A100-SXM4-80GB", "A100", 40, False),
        ("NVIDIA GeForce RTX 4090", "RTX 4090", 24, True),
    ],
)
def test_a_card_is_known_by_its_name(device: str, card: str, gigabytes: int, same: bool, tmp_path: Path) -> None:
    write_bench(tmp_path / "bench.json", Measured(SETTING | {"device": device}, make_result()))
    assert read_pace(tmp_path / "bench.json").is_of(card, gigabytes) is same


def test_the_committed_paces_are_those_of_the_benchmarks() -> None:
    """`python -m tests.card_paces` writes them."""
    assert CARD_PACES.read_text(encoding="utf-8") == committed.card_paces()
    h200 = [pace for pace in card_paces() if pace.is_of("H200", 141) and pace.gpus == 1]
    assert {8, 32, 80} <= {pace.n_layers for pace in h200}


def test_paces_are_taken_out_of_benchmarks(tmp_path: Path) -> None:
    """Of one kind that of most completions; several GPUs apart; of a CPU or one filing none; of version 1 told anew."""
    few, many = make_result(), replace(make_result(), n_completions=99, flops=6e11)
    for name, result, setting in (
        ("a", few, {"device": "X"}),
        ("b", many, {"device": "X"}),
        ("c", few, {"device": "X", "gpus": 2}),
        ("d", few, {"device": "x86 CPU"}),
        ("e", few, {"device": "Y"}),
        ("h", replace(many, n_completions=999), {"device": "X", "one_filing": "middle"}),
    ):
        write_bench(tmp_path / f"{name}.json", Measured(SETTING | setting, result))
    (tmp_path / "other.json").write_text("{}")
    flight: dict[str, Any] = {"shape": "split", "cards": ["Z", "Z"], "stages": [[0, 5], [1, 3]], "dtype": "float32"}
    flight |= {
        "prompt_tokens": [20, 30],
        "speed": {"flops": 1e12, "bandwidth": 1e11},
        "flops": 3e11,
        "read_bytes": 1e10,
    }
    flight |= {"n_rows": 16, "in_flight_1": {"seconds": 1.0}, "in_flight_3": {"seconds": 0.5}}
    (tmp_path / "f.json").write_text(json.dumps(flight))
    way: dict[str, Any] = {name: flight[name] for name in ("stages", "dtype", "speed", "flops", "read_bytes")}
    way |= {"cards_each": 2, "seconds": 0.5}
    side: dict[str, Any] = {"shape": "split", "cards": ["Z"] * 4, "n_rows": 64, "prompt_tokens": [20, 30]}
    side["ways"] = {
        "one": way | {"models": 2, "rows": 2},
        "processes": way | {"models": 2, "rows": 64},
        "whole": way | {"models": 1, "rows": 32, "cards_each": 4},
        "ray": {"models": 2, "rows": 64, "cards_each": 2, "seconds": 0.1},
        "killed": {"error": "RuntimeError: gone"},
    }
    (tmp_path / "g.json").write_text(json.dumps(side))
    old = json.loads((tmp_path / "e.json").read_text()) | {"schema_version": 1}
    (tmp_path / "e.json").write_text(json.dumps(old))
    told = json.loads(committed.card_paces(tmp_path))["paces"]
    found = {each["file"]: each for each in told if each["model"] != "split"}
    assert {name: each["gpus"] for name, each in found.items()} == {"b.json": 1, "c.json": 2, "e.json": 1}
    assert found["b.json"]["fraction_of_floor"] == pytest.approx(0.7)
    # 2 rows x 20 tokens instead of 4.5 passes: 0.3 s of products and 0.1 s x 40 / 4.5, in rounds of 0.5 s
    assert found["e.json"]["fraction_of_floor"] == pytest.approx((0.3 + 0.1 * 40 / 4.5) / 0.5)
    pair, four = (each for each in told if each["model"] == "split")
    assert (pair["file"], pair["gpus"], pair["n_layers"], pair["prompt_tokens"]) == ("g.json", 2, 8, "20-30")
    assert pair["fraction_of_floor"] == pytest.approx(0.4)  # two models' 0.5 s for 0.4 s of work
    assert (four["file"], four["gpus"]) == ("g.json", 4)
    assert four["fraction_of_floor"] == pytest.approx(0.2 / 0.5)
    (tmp_path / "g.json").unlink()
    (pair,) = (each for each in json.loads(committed.card_paces(tmp_path))["paces"] if each["model"] == "split")
    assert (pair["file"], pair["fraction_of_floor"]) == ("f.json", pytest.approx(0.8))

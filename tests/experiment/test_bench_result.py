"""What follows from a benchmark's figures, and its file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bench_results import SETTING, make_result

from harness.errors import ReportError
from harness.experiment.bench_result import GrowthPoint, Measured, read_growth, read_pace, write_bench


def test_what_follows_from_the_figures() -> None:
    result = make_result()
    slower = replace(result, baseline=replace(result.baseline, seconds=(0.8, 2.4)))
    assert slower.ratios == pytest.approx((2.0, 4.0))
    assert slower.ratio == pytest.approx(3.2)
    assert result.floor_seconds == pytest.approx(0.4)
    assert result.fraction_of_floor == pytest.approx(0.4)


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

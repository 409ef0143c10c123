"""The figure of a benchmark's growth."""

from pathlib import Path

import pytest
from bench_results import SETTING, make_result

from harness.errors import ReportError
from harness.experiment.bench_result import write_bench
from harness.findings.figures.growth_plot import draw_growth


@pytest.mark.parametrize("peak", [2**30, None])
def test_it_is_drawn(peak: int | None, tmp_path: Path) -> None:
    growth = {n: make_result(n, seconds=float(n), peak=peak) for n in (1, 2, 4)}
    write_bench(tmp_path / "bench.json", SETTING, make_result(), growth)
    draw_growth(tmp_path / "bench.json", tmp_path / "growth.svg")
    drawn = (tmp_path / "growth.svg").read_text()
    assert all(words in drawn for words in ("time of a row (reference at 1 = 1)", "peak memory, GiB", "demo on a card"))
    assert "$" not in drawn


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    write_bench(tmp_path / "bench.json", SETTING, make_result(), {})
    with pytest.raises(ReportError, match="expected an object with 'growth'"):
        draw_growth(tmp_path / "bench.json", tmp_path / "growth.png")
    write_bench(tmp_path / "bench.json", SETTING, make_result(), {1: make_result()})
    with pytest.raises(ReportError, match="expected a file that can be written"):
        draw_growth(tmp_path / "bench.json", tmp_path / "none" / "growth.png")

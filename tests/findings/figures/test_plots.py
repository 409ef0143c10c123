"""The figures of a report: drawn only from what is there, legible, and saying what they show."""

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from bench_results import SETTING, make_result
from changed_section import changed
from fake_study import TASKS, make_report, whole_report
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from harness.errors import ReportError
from harness.experiment.bench_result import Measured, write_bench
from harness.findings.figures.plot_style import house_style
from harness.findings.figures.plots import CAPTIONS, FIGURES, caption, draw_growth, draw_plots, of_experiments
from harness.findings.report.report_data import ReportData
from harness.findings.statistics import wilson


@pytest.fixture(autouse=True)
def _styled() -> Iterator[None]:
    with house_style():
        yield


def drawn_texts(figure: Figure) -> list[tuple[str, float, float, float, float]]:
    """Every visible text with its box in pixels, after a real drawing."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    boxes = []
    hidden = [axes for axes in figure.axes if not axes.get_visible()]
    beyond = [
        label
        for axes in figure.findobj(Axes)
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    ]
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if not text.get_text().strip() or not text.get_visible() or text.axes in hidden or text in beyond:
            continue
        box = text.get_window_extent()
        boxes.append((text.get_text(), box.x0, box.y0, box.x1, box.y1))
    return boxes


def shown(figure: Figure) -> list[tuple[str, float, float, float, float]]:
    """Texts without the ticks' labels that matplotlib keeps but does not draw."""
    width, height = figure.bbox.width, figure.bbox.height
    return [t for t in drawn_texts(figure) if t[1] < width and t[2] < height and t[3] > 0 and t[4] > 0]


@pytest.mark.parametrize("width", [None, 3.3])
@pytest.mark.parametrize("name", FIGURES)
def test_no_two_texts_overlap_and_none_is_cut_off(name: str, width: float | None) -> None:
    """Nine tasks, all experiments, five draws: as full as a figure gets; of its own width, and in a paper's column."""
    with house_style(for_paper=width is not None):
        figure = FIGURES[name](whole_report(), width)
        assert figure is not None
        texts = shown(figure)
    for text, x0, y0, x1, y1 in texts:
        inside = x0 >= -1 and y0 >= -1 and x1 <= figure.bbox.width + 1 and y1 <= figure.bbox.height + 1
        assert inside, f"{text!r} is cut off"
    for (one, ax0, ay0, ax1, ay1), (two, bx0, by0, bx1, by1) in combinations(texts, 2):
        apart = ax1 <= bx0 + 1 or bx1 <= ax0 + 1 or ay1 <= by0 + 1 or by1 <= ay0 + 1
        assert apart, f"{one!r} overlaps {two!r}"


def test_every_figure_says_model_rows_and_filings() -> None:
    for draw in FIGURES.values():
        figure = draw(whole_report(), None)
        assert figure is not None
        assert "demo · 216 rows of 24 filings" in [text.get_text() for text in figure.texts]


def test_missing_rows_are_said_in_every_figure() -> None:
    report = changed(whole_report(), {"run.missing": ["general[k05]"]})
    for draw in FIGURES.values():
        figure = draw(report, None)
        assert figure is not None
        assert any("unfinished: 1 condition with rows missing" in text.get_text() for text in figure.texts)


SMALL: list[tuple[ReportData, list[str]]] = [
    (make_report(TASKS[:2], (1,), (), 2)[0], ["head_map"]),
    (
        make_report(TASKS[:1], (5,), ("within_task", "random_control"), 2)[0],
        ["accuracy_by_k", "accuracy_by_task", "retrieval_against_random", "forest", "head_map"],
    ),
    (make_report(TASKS[:4], (1, 2), ("transfer",), 2)[0], ["head_map", "transfer_map"]),
    (make_report(TASKS[:5], (1, 20), ("general",), 1)[0], ["accuracy_by_k", "accuracy_by_task", "head_map"]),
]


@pytest.mark.parametrize(("report", "names"), SMALL)
def test_only_what_is_in_the_report_is_drawn(report: ReportData, names: list[str], tmp_path: Path) -> None:
    paths = draw_plots(report, tmp_path / "plots", formats=("png",))
    assert [path.name for path in paths] == [f"{name}.png" for name in names]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(f"{name}.png" for name in names)


def test_a_report_of_nothing_has_no_figures(tmp_path: Path) -> None:
    report = changed(SMALL[0][0], {"conditions": [], "contrasts": [], "model": None, "ranking": None})
    assert draw_plots(report, tmp_path) == ()


def test_a_report_without_any_record_has_only_the_map(tmp_path: Path) -> None:
    none: dict[str, object] = {"matches": 0, "accuracy": None, "interval": None}
    nothing = {"n": 0, "published_rule": none, **none}
    conditions = []
    for condition in SMALL[1][0].conditions:
        per_task = {task: changed(result, nothing) for task, result in condition.per_task.items()}
        conditions.append(changed(condition, nothing | {"per_task": per_task}))
    report = changed(SMALL[1][0], {"conditions": conditions, "contrasts": []})
    assert [path.name for path in draw_plots(report, tmp_path, formats=("png",))] == ["head_map.png"]


def test_equal_reports_give_equal_files(tmp_path: Path) -> None:
    report = SMALL[1][0]
    once = draw_plots(report, tmp_path / "one")
    twice = draw_plots(report, tmp_path / "two")
    assert len(once) == 10
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]


def test_a_folder_that_cannot_be_one_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ReportError, match="taken: the plots cannot be written"):
        draw_plots(SMALL[0][0], tmp_path / "taken")


def test_drawing_never_imports_pyplot() -> None:
    """Its windows and global state have no place in a test run."""
    code = "import sys, harness.findings.figures.plots; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_dollar_in_a_name_is_a_dollar(tmp_path: Path) -> None:
    """Between two of them matplotlib once read a formula, and ended in a traceback where it was none."""
    report = changed(SMALL[1][0], {"model.id": r"models/$\frac_{b$"})
    assert len(draw_plots(report, tmp_path, formats=("png",))) == 5


def test_what_cannot_be_drawn_is_named_and_the_rest_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_report: ReportData, _width: float | None) -> Figure:
        raise IndexError("list index out of range")

    monkeypatch.setattr("harness.findings.figures.plots.FIGURES", {**FIGURES, "forest": broken})
    expected = r"no forest \(IndexError: list index out of range\).*the report stands: draw them again"
    with pytest.raises(ReportError, match=expected):
        draw_plots(SMALL[1][0], tmp_path, formats=("png",))
    assert "forest.png" not in {path.name for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 4


def test_drawing_stops_between_two_figures(tmp_path: Path) -> None:
    expected = r"no accuracy_by_task, .*, transfer_map \(interrupted\)"
    with pytest.raises(ReportError, match=expected):
        draw_plots(SMALL[1][0], tmp_path, formats=("png",), stopped=lambda: any(tmp_path.iterdir()))
    assert [path.name for path in tmp_path.iterdir()] == ["accuracy_by_k.png"]


@pytest.mark.parametrize("peak", [2**30, None])
def test_it_is_drawn(peak: int | None, tmp_path: Path) -> None:
    growth = {n: make_result(n, seconds=float(n), peak=peak) for n in (1, 2, 4)}
    write_bench(tmp_path / "bench.json", Measured(SETTING, make_result(), growth=growth))
    draw_growth(tmp_path / "bench.json", tmp_path / "growth.svg")
    drawn = (tmp_path / "growth.svg").read_text()
    assert all(words in drawn for words in ("time of a row (reference at 1 = 1)", "peak memory, GiB", "demo on a card"))
    assert "$" not in drawn


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    write_bench(tmp_path / "bench.json", Measured(SETTING, make_result()))
    with pytest.raises(ReportError, match="expected an object with 'growth'"):
        draw_growth(tmp_path / "bench.json", tmp_path / "growth.png")
    write_bench(tmp_path / "bench.json", Measured(SETTING, make_result(), growth={1: make_result()}))
    with pytest.raises(ReportError, match="expected a file that can be written"):
        draw_growth(tmp_path / "bench.json", tmp_path / "none" / "growth.png")


def test_figures_of_a_paper(tmp_path: Path) -> None:
    """Of the width asked for, with letters as TrueType in the file, and a caption beside each."""
    report = SMALL[1][0]
    paths = draw_plots(report, tmp_path, formats=("pdf",), width=3.3, captions=True)
    files = [path for path in paths if path.suffix == ".pdf"]
    assert {path.stem for path in files} >= {"accuracy_by_k", "head_map"}
    for file in files:
        content = file.read_bytes()
        (box,) = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", content)
        assert float(box[0]) == pytest.approx(3.3 * 72)
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
        assert file.with_suffix(".txt").read_text(encoding="utf-8").endswith("\n")


def test_experiments_alone() -> None:
    report = make_report(TASKS[:1], (5,), ("within_task", "general", "random_control"), 2)[0]
    some = of_experiments(report, ["general"])
    assert {each.experiment for each in some.conditions} - {"baseline", "needle_absent"} == {"general"}
    assert all(each.experiment == "general" for each in some.contrasts)
    with pytest.raises(ReportError, match=r"no experiment genral in the report; expected some of baseline, "):
        of_experiments(report, ["genral"])


TASKS = ("ceo_lastname", "incorporation_year")


@pytest.fixture(scope="module")
def report() -> ReportData:
    return make_report(TASKS, (1, 20), None, 6)[0]


def test_every_figure_has_one(report: ReportData) -> None:
    assert CAPTIONS.keys() == FIGURES.keys()
    for name in FIGURES:
        text = caption(name, report)
        assert text.endswith("12 rows of 6 filings.")
        assert "None" not in text
        assert len(text) < 1000


def test_accuracies_are_pooled_over_tasks(report: ReportData) -> None:
    parts = [each for each in report.conditions if (each.experiment, each.k) == ("within_task", 20)]
    right, n = sum(each.matches for each in parts), sum(each.n for each in parts)
    interval = wilson(right, n)
    assert interval is not None
    ends = f"{interval.low:.1%} to {interval.high:.1%}"
    for name in ("accuracy_by_k", "retrieval_against_random"):
        assert f"within_task, k = 20: {right / n:.1%} ({right} of {n}; {ends})." in caption(name, report)
    (baseline,) = [each for each in report.conditions if each.name == "baseline"]
    assert f"The untouched model answers {baseline.accuracy:.1%} ({baseline.matches} of {baseline.n}; " in caption(
        "accuracy_by_k", report
    )


def test_several_draws_are_a_mean_and_a_range(report: ReportData) -> None:
    draws = [each.accuracy or 0.0 for each in report.conditions if (each.experiment, each.k) == ("random_control", 20)]
    said = re.search(
        r"random_control, k = 20: (\S+)% in the mean of (\d+) draws \((\S+)% to (\S+)%\)",
        caption("accuracy_by_k", report),
    )
    assert said is not None
    mean, n, low, high = map(float, said.groups())
    assert n == len(draws) == 5
    assert (mean, low, high) == pytest.approx((100 * sum(draws) / 5, 100 * min(draws), 100 * max(draws)), abs=0.051)


def test_captions_speak_of_random_draws_where_some_are_drawn() -> None:
    report, said = whole_report(), "of random draws, from the least to the greatest."
    assert said in caption("accuracy_by_k", report)
    alone = caption("accuracy_by_k", of_experiments(report, ["within_task", "global"]))
    assert "Bands: 95 % Wilson intervals. " in alone


def test_fewer_heads_than_k_are_said(report: ReportData) -> None:
    assert "general, k = 20 (7 heads): " in caption("accuracy_by_k", whole_report())
    assert "Hollow marks: fewer than k heads" in caption("accuracy_by_k", whole_report())


def test_a_transfers_means(report: ReportData) -> None:
    own = [each.accuracy or 0.0 for each in report.conditions if (each.experiment, each.k) == ("within_task", 20)]
    transfers = [each for each in report.conditions if (each.experiment, each.k) == ("transfer", 20)]
    others = [each.accuracy or 0.0 for each in transfers if each.tasks != (each.source_task,)]
    means = [f"{sum(values) / len(values):.1%}" for values in (own, others)]
    assert f"k = 20: {means[0]} in the mean without a task's own heads, {means[1]} without another's." in caption(
        "transfer_map", report
    )


def test_a_list_without_all_scores_says_so(report: ReportData) -> None:
    assert report.ranking is not None
    cut = changed(report, {"ranking": changed(report.ranking, {"mean_scores": None}).model_dump()})
    assert "Hatched" in caption("head_map", cut)
    assert "Hatched" not in caption("head_map", report)

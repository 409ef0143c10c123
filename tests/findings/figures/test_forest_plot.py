"""The forest plot tells the report's own differences, intervals, draws and margins."""

import copy

import numpy as np
import pytest
from fake_study import KS, make_report, whole_report
from matplotlib.colors import same_color

from harness.findings.figures.forest_plot import forest
from harness.findings.figures.plot_style import FAINT
from harness.findings.verdicts.verdict_data import GateMargins, GateResult


def lines(report: object) -> list[tuple[list[float], list[float]]]:
    figure = forest(report)  # type: ignore[arg-type]  # a report
    assert figure is not None
    (axes,) = figure.axes
    return [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in axes.lines]


def test_every_contrast_has_its_line() -> None:
    report = whole_report()
    contrasts = report["contrasts"]
    assert [each["experiment"] for each in contrasts].count("within_task") == len(KS)
    drawn = lines(report)
    for i, contrast in enumerate(contrasts):
        place = len(contrasts) - i
        assert contrast["interval"] is not None
        assert ([100 * end for end in contrast["interval"]], [place, place]) in drawn
        assert ([100 * contrast["difference"]], [place]) in drawn
        assert [100 * each for each in contrast["draw_differences"]] in [xs for xs, _ in drawn]


def test_every_draw_is_a_point_of_its_own() -> None:
    """Four of six draws are equal; with 30 equal ones the points still end above the next line."""
    report = copy.deepcopy(whole_report())
    report["contrasts"] = [{**report["contrasts"][0], "draw_differences": [0.1, 0.2, 0.1, 0.1, 0.3, 0.1]}] * 2
    (points,) = [(xs, ys) for xs, ys in lines(report) if len(xs) == 6 and ys[0] < 1]
    assert len(set(zip(*points, strict=True))) == 6
    assert sorted(y for x, y in zip(*points, strict=True) if x == 10) == pytest.approx([0.43, 0.54, 0.65, 0.76])
    report["contrasts"] = [{**report["contrasts"][0], "draw_differences": [0.1] * 30}]
    (ys,) = [ys for xs, ys in lines(report) if len(xs) == 30]
    assert len(set(ys)) == 30
    assert min(ys) > 0.2


def test_margins_and_verdicts_of_gates() -> None:
    report = copy.deepcopy(whole_report())
    margins: GateMargins = {"margin": 0.2, "flat": 0.1, "floor": 0.5}
    gate: GateResult = {"experiment": "own", "k": 10, "verdict": "pass", "margins": margins}  # type: ignore[typeddict-item]  # all that is read
    report["gates"] = [gate, {**gate, "experiment": "shared", "k": 5, "verdict": "fail"}]
    figure = forest(report)
    assert figure is not None
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    notes = {text.get_text(): text.xy[1] for text in axes.texts}  # type: ignore[attr-defined]  # annotations
    assert notes == {
        "pass": len(labels) - labels.index("within_task  k=10"),
        "fail": len(labels) - labels.index("general  k=5"),
    }
    grey = [line for line in axes.lines if same_color(line.get_color(), FAINT)]
    dashed = [np.asarray(line.get_xdata()).tolist() for line in grey if line.get_linestyle() == "--"]
    assert dashed == [[20.0, 20.0]]


def test_without_gates_the_margin_is_the_settings() -> None:
    report = copy.deepcopy(whole_report())
    assert ([10.0, 10.0], [0, 1]) not in lines(report)
    report["configuration"]["gate_margin"] = 0.1
    assert ([10.0, 10.0], [0, 1]) in lines(report)


def test_nothing_to_draw_without_random_heads() -> None:
    assert forest(make_report(experiments=("within_task",), n_filings=2)[0]) is None

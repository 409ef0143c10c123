"""The forest plot tells the report's own differences, intervals, draws and margins."""

import copy

import numpy as np
from fake_study import KS, make_report, whole_report
from matplotlib.colors import same_color

from harness.findings.forest_plot import forest
from harness.findings.plot_style import FAINT
from harness.findings.verdict_data import GateMargins, GateResult


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

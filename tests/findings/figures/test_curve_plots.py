"""Figures of accuracy against k tell the report's own numbers."""

import numpy as np
import pytest
from changed_section import changed
from fake_gates import GATE, SOUND, make_answers, make_rows
from fake_study import KS, TASKS, make_report, whole_report
from matplotlib.colors import same_color

from harness.findings.figures.curve_plots import accuracy_by_k, accuracy_by_task, forest, retrieval_against_random
from harness.findings.figures.plot_style import FAINT
from harness.findings.report.curves import level
from harness.findings.report.report_data import ReportData
from harness.findings.verdicts.gate_results import gate_result
from harness.findings.verdicts.verdict_data import Margins


def test_accuracy_by_k_draws_the_reports_numbers() -> None:
    figure = accuracy_by_k(whole_report())
    assert figure is not None
    (axes,) = figure.axes
    lines = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
    by_name = {c.name: c for c in whole_report().conditions}
    assert [by_name[f"global[k{k:02d}]"].accuracy for k in KS] in lines
    assert [by_name["baseline"].accuracy] * 2 in lines
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(k) for k in KS]
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("7") == 2  # `general` at k = 10 and 20 has seven heads
    assert {"baseline", "needle left out", "random_control, mean of 5", "within_task"} <= set(texts)


def test_accuracy_by_task_has_a_panel_a_task() -> None:
    figure = accuracy_by_task(whole_report())
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"{task} (n = 24)" for task in TASKS]


def test_a_legend_of_many_long_names_stays_inside_the_figure() -> None:
    conditions = list(whole_report().conditions)
    general = [each for each in conditions if each.experiment == "general"]
    for i in range(7):
        conditions += [changed(each, {"experiment": f"an_experiment_of_a_long_name_{i}"}) for each in general]
    figure = accuracy_by_task(changed(whole_report(), {"conditions": conditions}))
    assert figure is not None
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_random_heads_are_compared_only_where_as_many_were_zeroed() -> None:
    """`general` has seven heads at k = 20, its control twenty: the gap is read at k = 5."""
    figure = retrieval_against_random(whole_report())
    assert figure is not None
    by_name = {c.name: c.accuracy or 0.0 for c in whole_report().conditions}
    for axes, name, k in ((figure.axes[2], "general", 5), (figure.axes[3], "global", 20)):
        mean = sum(by_name[f"random_control[seed{seed}-k{k:02d}]"] for seed in range(5)) / 5
        gap = round(100 * (by_name[f"{name}[k{k:02d}]"] - mean))
        assert f"\N{MINUS SIGN}{-gap} points" in [text.get_text() for text in axes.texts]


def lines(report: ReportData) -> list[tuple[list[float], list[float]]]:
    figure = forest(report)
    assert figure is not None
    (axes,) = figure.axes
    return [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in axes.lines]


def test_every_contrast_has_its_line() -> None:
    report = whole_report()
    contrasts = report.contrasts
    assert [each.experiment for each in contrasts].count("within_task") == len(KS)
    drawn = lines(report)
    for i, contrast in enumerate(contrasts):
        place = len(contrasts) - i
        assert contrast.interval is not None
        assert ([100 * end for end in contrast.interval], [place, place]) in drawn
        assert ([100 * contrast.difference], [place]) in drawn
        assert [100 * each for each in contrast.draw_differences] in [xs for xs, _ in drawn]


def test_every_draw_is_a_point_of_its_own() -> None:
    """Four of six draws are equal; with 30 equal ones the points still end above the next line."""
    first = whole_report().contrasts[0]
    six = changed(first, {"draw_differences": [0.1, 0.2, 0.1, 0.1, 0.3, 0.1]})
    report = changed(whole_report(), {"contrasts": [six, six]})
    (points,) = [(xs, ys) for xs, ys in lines(report) if len(xs) == 6 and ys[0] < 1]
    assert len(set(zip(*points, strict=True))) == 6
    assert sorted(y for x, y in zip(*points, strict=True) if x == 10) == pytest.approx([0.43, 0.54, 0.65, 0.76])
    report = changed(report, {"contrasts": [changed(first, {"draw_differences": [0.1] * 30})]})
    (ys,) = [ys for xs, ys in lines(report) if len(xs) == 30]
    assert len(set(ys)) == 30
    assert min(ys) > 0.2


def test_margins_and_verdicts_of_gates() -> None:
    rows = make_rows(2)
    gate = gate_result(GATE, rows, make_answers(GATE, rows, {}, {}), Margins(margin=0.2), SOUND)
    own = changed(gate, {"k": 10, "verdict": "pass", "baseline": 0.8})
    shared = changed(gate, {"heads": "shared", "experiment": "general", "k": 5, "verdict": "fail", "baseline": 0.8})
    figure = forest(changed(whole_report(), {"gates": [own, shared]}))
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
    assert np.asarray(dashed) == pytest.approx(np.asarray([[16.0, 16.0]])), "a fifth of 80 %"


def test_without_gates_the_margin_is_that_share_of_the_baseline() -> None:
    report = changed(whole_report(), {"configuration.gate_margin": 0.1})
    untouched = level(report, "baseline")
    assert untouched is not None
    assert untouched.accuracy is not None
    points = 100 * (0.1 * untouched.accuracy)
    assert ([points, points], [0, 1]) not in lines(whole_report())
    assert ([points, points], [0, 1]) in lines(report)


def test_nothing_to_draw_without_random_heads() -> None:
    assert forest(make_report(experiments=("within_task",), n_filings=2)[0]) is None

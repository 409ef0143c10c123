"""Figures of accuracy against k tell the report's own numbers."""

import numpy as np
from changed_section import changed
from fake_study import KS, TASKS, whole_report

from harness.findings.figures.curve_plots import accuracy_by_k, accuracy_by_task, retrieval_against_random


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

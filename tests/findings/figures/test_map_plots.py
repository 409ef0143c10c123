"""Maps of heads and of pairs of tasks tell the report's own numbers, each in its place."""

import numpy as np
import pytest
from changed_section import changed
from fake_study import TASKS, make_report, whole_report

from harness.experiment.heads import ModelShape
from harness.findings.figures.map_plots import Grid, head_map, transfer_map


def test_head_map_shows_scores_and_zeroed_heads() -> None:
    figure = head_map(whole_report())
    ranking = whole_report().ranking
    assert figure is not None
    assert ranking is not None
    assert ranking.mean_scores is not None
    axes = figure.axes[0]
    mean = np.mean([np.array(grid) for grid in ranking.mean_scores.values()], axis=0)
    assert np.array_equal(np.asarray(axes.images[0].get_array()), mean)
    marked = {
        (int(layer), int(head))
        for line in axes.lines[:1]
        for head, layer in zip(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), strict=True)
    }
    (general,) = [c for c in whole_report().conditions if c.name == "general[k20]"]
    assert marked == {(layer, head) for layer, head in general.heads}
    assert "general (k = 20, 7 heads)" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_head_map_of_cut_lists_counts_a_missing_head_as_the_lowest() -> None:
    report, _ = make_report(TASKS[:2], (1,), (), 2, ModelShape(2, 16))
    lists = {"a": [[0, 1, 0.9], [1, 2, 0.3]], "b": [[0, 1, 0.5], [0, 2, 0.1]]}
    figure = head_map(changed(report, {"ranking.mean_scores": None, "ranking.tasks": lists}))
    assert figure is not None
    scores: Grid = np.ma.asarray(figure.axes[0].images[0].get_array()).filled(np.nan)
    assert scores[0, 1] == pytest.approx(0.7)
    assert scores[1, 2] == pytest.approx((0.3 + 0.1) / 2)
    assert scores[0, 2] == pytest.approx((0.3 + 0.1) / 2)
    assert np.isnan(scores[0, 0])


def test_transfer_map_has_source_rows_and_target_columns() -> None:
    figure = transfer_map(whole_report())
    assert figure is not None
    (panel,) = [axes for axes in figure.axes if axes.get_title(loc="left") == "k = 10"]
    (cell,) = [c for c in whole_report().conditions if c.name == "transfer[registrant_name:ceo_lastname-k10]"]
    values = np.asarray(panel.images[0].get_array())
    assert values[0, 8] == cell.accuracy
    (corner,) = [axes for axes in figure.axes if axes.get_title(loc="left") == "k = 5"]
    assert [label.get_text() for label in corner.get_yticklabels()] == list(TASKS)
    assert [label.get_text() for label in corner.get_xticklabels()] == list(TASKS)


def test_transfer_map_takes_a_tasks_own_heads_from_within_task() -> None:
    whole = whole_report().conditions
    kept = [c for c in whole if c.experiment != "transfer" or (c.source_task,) != c.tasks]
    report = changed(whole_report(), {"conditions": kept})
    one, other = transfer_map(report), transfer_map(whole_report())
    assert one is not None
    assert other is not None
    for mine, theirs in zip(one.axes[:6], other.axes[:6], strict=True):
        for a, b in zip(mine.images, theirs.images, strict=True):
            assert np.array_equal(np.asarray(a.get_array()), np.asarray(b.get_array()))

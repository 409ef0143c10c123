"""The figure of a simulation: lines are means over settings, bands reach from the least to the greatest."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.findings.figures.plot_style import save
from harness.findings.figures.simulation_plot import draw_simulation
from harness.findings.verdicts.simulation import Cell, Simulation, Truth, simulate


def cell(truth: Truth, filings: int, baseline: float, passed: int) -> Cell:
    return {
        "truth": {"name": truth.name, "effect": truth.effect, "draw_sd": truth.draw_sd, "draws": truth.draws},
        "filings": filings,
        "baseline": baseline,
        "clustering": 0.0,
        "verdicts": {"pass": passed, "fail": 0, "inconclusive": 10 - passed, "invalid": 0},
    }


@pytest.fixture
def figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    """Of ten experiments a cell: an effect of 30 points in two settings, one that is no effect, and one more draw."""
    there, none, draw = Truth("effect", 0.3, 0.02), Truth("no effect", 0.0, 0.0), Truth("one more draw", None, 0.02)
    made: Simulation = {
        "schema_version": 1,
        "seed": 0,
        "experiments": 10,
        "draws": 5,
        "rows_a_filing": 9,
        "margins": {"margin": 0.1, "flat": 0.1, "floor": 0.5},
        "cells": [
            *(cell(there, 10, baseline, passed) for baseline, passed in ((0.7, 2), (0.95, 4))),
            *(cell(there, 50, baseline, passed) for baseline, passed in ((0.7, 8), (0.95, 10))),
            *(cell(truth, n, 0.7, 0) for truth in (none, draw) for n in (10, 50)),
        ],
    }
    drawn: list[Figure] = []

    def keep(one: Figure, path: Path) -> None:
        drawn.append(one)
        save(one, path)

    monkeypatch.setattr("harness.findings.figures.simulation_plot.save", keep)
    assert draw_simulation(made, tmp_path) == (tmp_path / "gate_simulation.png", tmp_path / "gate_simulation.svg")
    assert (tmp_path / "gate_simulation.png").read_bytes().startswith(b"\x89PNG")
    return drawn[0]


def heights(line: Line2D) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata(), dtype=float)]


def test_power_is_the_share_of_passes(figure: Figure) -> None:
    power = figure.axes[2]
    (line,) = power.get_lines()
    assert line.get_label() == "30 points"
    assert heights(line) == pytest.approx([30.0, 90.0])
    (band,) = (each for each in power.collections if isinstance(each, PolyCollection))
    edges = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert sorted({round(y) for y in edges.tolist()}) == [20, 40, 80, 100]
    assert [label.get_text() for label in power.get_xticklabels()] == ["10", "50"]


def test_what_is_no_effect_never_passes_here(figure: Figure) -> None:
    false_passes, _, _, undecided = figure.axes
    by_label = {str(line.get_label()): heights(line) for line in false_passes.get_lines()}
    assert by_label["no effect"] == [0.0, 0.0]
    by_label = {str(line.get_label()): heights(line) for line in undecided.get_lines()}
    assert by_label == {"no effect": [100.0, 100.0], "30 points": pytest.approx([70.0, 10.0])}


def test_every_truth_that_is_simulated_has_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr("harness.findings.figures.simulation_plot.save", lambda figure, path: drawn.append(figure))
    draw_simulation(simulate(experiments=1, filings=(5,)), tmp_path)
    assert [len(axes.get_lines()) for axes in drawn[0].axes] == [4 + 1, 2 * 4 + 1, 3, 4]

"""The figure of a simulation: lines are means over settings, bands reach from the least to the greatest."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.findings.figures.plot_style import save
from harness.findings.figures.simulation_plot import draw_simulation
from harness.findings.verdicts.simulation import Cell, Setting, Simulation
from harness.findings.verdicts.worlds import Draws, Heads, World


def cell(world: World, clusters: int, accuracy: float, passed: int, before: int = 0) -> Cell:
    return {
        "world": "draws" if isinstance(world, Draws) else "heads",
        "truth": asdict(world),
        "setting": asdict(Setting(clusters, "even", accuracy, 0.0)),
        "verdicts": {"pass": passed, "fail": 0, "inconclusive": 10 - passed, "invalid": 0},
        "earlier": {"pass": before, "fail": 0, "inconclusive": 10 - before, "invalid": 0},
        "above_margin": passed,
        "unusual": passed,
        "flat": 10,
    }


@pytest.fixture
def figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    """Of ten experiments a cell: an effect in two settings (and one that has too little to lose), and a normal draw."""
    needed = Heads("effect", 8, 16, "identical", "normal", 0.02, effect=0.3)
    made: Simulation = {
        "schema_version": 2,
        "seed": 0,
        "experiments": 10,
        "draws": 19,
        "rows_a_cluster": 9,
        "margins": {"margin": 0.1, "flat": 0.1},
        "cells": [
            cell(needed, 20, 0.7, 2, before=1),
            cell(needed, 20, 0.95, 4),
            cell(needed, 20, 0.2, 0),
            cell(needed, 50, 0.7, 8, before=7),
            cell(needed, 50, 0.95, 10, before=7),
            *(cell(Draws("at the margin", "normal", 0.05, 0.1), n, 0.7, 1) for n in (20, 50)),
            *(cell(Draws("at the margin", "normal", 0.02, 0.1), n, 0.7, 0) for n in (20, 50)),
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


def test_power_is_the_share_of_passes_beside_the_earlier_rules(figure: Figure) -> None:
    power = figure.axes[3]
    now, before = power.get_lines()
    assert now.get_label() == "30 % of right answers"
    assert heights(now) == pytest.approx([30.0, 90.0])
    assert heights(before) == pytest.approx([5.0, 70.0])
    (band,) = (each for each in power.collections if isinstance(each, PolyCollection))
    edges = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert sorted({round(y) for y in edges.tolist()}) == [20, 40, 80, 100]


def test_false_passes_are_a_mean_over_all_worlds_of_one_law(figure: Figure) -> None:
    by_label = {str(line.get_label()): heights(line) for line in figure.axes[0].get_lines()}
    assert by_label["normal draws"] == [5.0, 5.0]
    assert "gamma draws" not in by_label  # none was simulated

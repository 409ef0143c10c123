"""The figure of a simulation of gates: false passes, power, and how often nothing is decided.

Takes a simulation (`harness.findings.verdicts.simulation`) alone; knows nothing of how it was made.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes

from harness.findings.figures.plot_style import FAINT, Line, house_style, new_figure, save
from harness.findings.verdicts.simulation import Cell, Simulation

NAME = "gate_simulation"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00")
MARKERS = ("o", "s", "^", "D")
SOLID: Line = "-"
DASHED: Line = (0, (4, 2))

Selection = Callable[[Cell], bool]
"""Which cells a line is drawn of."""
Place = Literal["upper left", "upper right", "lower right"]


def draw_simulation(simulation: Simulation, folder: Path) -> tuple[Path, ...]:
    """Draw it into the folder as PNG and SVG; return the paths."""
    paths = []
    with house_style():
        for ending in ("png", "svg"):
            figure = new_figure(
                9.6,
                2.75,
                "What a gate's verdicts are worth: simulated experiments with a known truth",
                [
                    f"{simulation['experiments']:,} experiments a cell, {simulation['rows_a_filing']} rows a filing, "
                    f"{simulation['draws']} random draws; line: mean over settings (two baselines, three degrees of "
                    "clustering); band: the least and the greatest of them; dotted: what is allowed; SD in points"
                ],
            )
            panels = figure.subplots(1, 4, squeeze=False)[0]
            for axes, draw in zip(panels, (_null, _exchangeable, _power, _undecided), strict=True):
                draw(axes, simulation)
            figure.supxlabel("filings", fontsize=8.5)
            paths.append(folder / f"{NAME}.{ending}")
            save(figure, paths[-1])
    return tuple(paths)


def _null(axes: Axes, simulation: Simulation) -> None:
    axes.set_title("False passes: too small an effect", loc="left")
    _line(axes, simulation, _truth("no effect", 0.0, "normal"), "pass", 0, "no effect")
    for place, sd in enumerate(_sds(simulation, "at the margin"), start=1):
        label = f"at the margin, draws' SD {100 * sd:.0f}"
        _line(axes, simulation, _truth("at the margin", sd, "normal"), "pass", place, label)
    _limit(axes, 0.025)
    axes.set_ylabel("% of experiments")


def _exchangeable(axes: Axes, simulation: Simulation) -> None:
    axes.set_title("False passes: one more draw", loc="left")
    for place, sd in enumerate(_sds(simulation, "one more draw")):
        _line(axes, simulation, _truth("one more draw", sd, "normal"), "pass", place, f"draws' SD {100 * sd:.0f}")
        label = "the same, skewed" if place == 0 else None
        _line(axes, simulation, _truth("one more draw", sd, "skewed"), "pass", place, label, line=DASHED)
    _limit(axes, 0.05)


def _power(axes: Axes, simulation: Simulation) -> None:
    axes.set_title("Passes: an effect that is there", loc="left")
    for place, effect in enumerate(_effects(simulation)):
        _line(axes, simulation, _effect(effect), "pass", place, f"{100 * effect:.0f} points")
    axes.set_ylim(-3, 103)
    _legend(axes, "lower right")


def _undecided(axes: Axes, simulation: Simulation) -> None:
    axes.set_title("Inconclusive", loc="left")
    _line(axes, simulation, _truth("no effect", 0.0, "normal"), "inconclusive", 3, "no effect")
    for place, effect in enumerate(_effects(simulation)):
        _line(axes, simulation, _effect(effect), "inconclusive", place, f"{100 * effect:.0f} points")
    axes.set_ylim(-3, 103)
    _legend(axes, "upper right")


def _line(
    axes: Axes,
    simulation: Simulation,
    of: Selection,
    verdict: str,
    place: int,
    label: str | None,
    *,
    line: Line = SOLID,
) -> None:
    """One truth's share of a verdict against the number of filings, evenly spaced."""
    cells = [cell for cell in simulation["cells"] if of(cell)]
    filings = sorted({cell["filings"] for cell in cells})
    shares = [
        [100 * cell["verdicts"][verdict] / simulation["experiments"] for cell in cells if cell["filings"] == n]
        for n in filings
    ]
    xs, colour = range(len(filings)), COLOURS[place]
    axes.fill_between(xs, list(map(min, shares)), list(map(max, shares)), color=colour, alpha=0.13, linewidth=0)
    means = [sum(each) / len(each) for each in shares]
    axes.plot(
        xs, means, color=colour, linestyle=line, linewidth=1.3, marker=MARKERS[place], markersize=3.5, label=label
    )
    axes.set_xticks(list(xs), [str(n) for n in filings])


def _limit(axes: Axes, share: float) -> None:
    axes.axhline(100 * share, color=FAINT, linestyle=(0, (1, 2)), linewidth=1.2)
    axes.set_ylim(-0.3, 10)
    _legend(axes, "upper left")


def _legend(axes: Axes, place: Place) -> None:
    axes.legend(loc=place, fontsize=6.8, handlelength=2.6, borderaxespad=0.2)


def _truth(name: str, sd: float, draws: str) -> Selection:
    wanted = (name, sd, draws)
    return lambda cell: (cell["truth"]["name"], cell["truth"]["draw_sd"], cell["truth"]["draws"]) == wanted


def _effect(effect: float) -> Selection:
    return lambda cell: (cell["truth"]["name"], cell["truth"]["effect"]) == ("effect", effect)


def _sds(simulation: Simulation, name: str) -> Sequence[float]:
    return _known(simulation, name, "draw_sd")


def _effects(simulation: Simulation) -> Sequence[float]:
    return _known(simulation, "effect", "effect")


def _known(simulation: Simulation, name: str, what: str) -> Sequence[float]:
    found = {cell["truth"][what] for cell in simulation["cells"] if cell["truth"]["name"] == name}
    return sorted(value for value in found if isinstance(value, float))

"""The figure of a simulation of gates: false passes, and power beside that of version 0.1.0's rule.

Takes a simulation (`harness.findings.verdicts.simulation`) alone; knows nothing of how it was made.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes

from harness.findings.figures.plot_style import FAINT, Line, house_style, new_figure, save
from harness.findings.verdicts.simulation import Cell, Simulation

NAME = "gate_simulation"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v")
SOLID: Line = "-"
DASHED: Line = (0, (4, 2))

Selection = Callable[[Cell], bool]
"""Which cells a line is drawn of."""
Rule = Literal["verdicts", "earlier"]
Place = Literal["upper left", "upper right", "lower right"]

LAWS = ("normal", "gamma", "left-skewed", "rare")


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
                    f"{simulation['experiments']:,} experiments a cell, {simulation['draws']} controls and as many "
                    "permutations; line: mean over settings; band: the least and the greatest of them; dotted: what is "
                    "allowed; dashed: the rule of version 0.1.0"
                ],
            )
            panels = figure.subplots(1, 4, squeeze=False)[0]
            for axes, draw in zip(panels, (_margin, _exchangeable, _one_in, _power), strict=True):
                draw(axes, simulation)
            figure.supxlabel("clusters", fontsize=8.5)
            paths.append(folder / f"{NAME}.{ending}")
            save(figure, paths[-1])
    return tuple(paths)


def _margin(axes: Axes, simulation: Simulation) -> None:
    axes.set_title("False passes: at the margin", loc="left")
    for place, law in enumerate(LAWS):
        _line(axes, simulation, _drawn("at the margin", law), place, f"{law} draws")
    _limit(axes, 0.025)
    axes.set_ylabel("% of experiments")


def _exchangeable(axes: Axes, simulation: Simulation) -> None:
    axes.set_title("False passes: any other set", loc="left")
    for place, law in enumerate(LAWS):
        _line(axes, simulation, _drawn("exchangeable", law), place, f"{law} draws")
    _limit(axes, 0.05)


def _one_in(axes: Axes, simulation: Simulation) -> None:
    axes.set_title("The same, one head in n matters", loc="left")
    for place, n in enumerate((60, 100, 120)):
        cells = _of_heads("exchangeable", one_in=n)
        _line(axes, simulation, cells, place, f"n = {n}")
        _line(axes, simulation, cells, place, None, rule="earlier")
    _limit(axes, 0.05)
    axes.set_ylim(-0.6, 25)


def _power(axes: Axes, simulation: Simulation) -> None:
    axes.set_title("Passes: an effect that is there", loc="left")
    for place, effect in enumerate((0.2, 0.3, 0.5)):
        cells = _spread(effect)
        _line(axes, simulation, cells, place, f"{100 * effect:.0f} % of right answers")
        _line(axes, simulation, cells, place, None, rule="earlier")
    axes.set_ylim(-3, 103)
    _legend(axes, "lower right")


def _line(
    axes: Axes,
    simulation: Simulation,
    of: Selection,
    place: int,
    label: str | None,
    *,
    rule: Rule = "verdicts",
) -> None:
    """The share of passes in these cells against the number of clusters, evenly spaced; nothing without cells."""
    cells = [cell for cell in simulation["cells"] if of(cell)]
    if not cells:
        return
    clusters = sorted({int(cell["setting"]["clusters"]) for cell in cells})
    shares = [
        [100 * cell[rule]["pass"] / simulation["experiments"] for cell in cells if cell["setting"]["clusters"] == n]
        for n in clusters
    ]
    xs, colour = range(len(clusters)), COLOURS[place]
    if rule == "verdicts":
        axes.fill_between(xs, list(map(min, shares)), list(map(max, shares)), color=colour, alpha=0.13, linewidth=0)
    means = [sum(each) / len(each) for each in shares]
    line = SOLID if rule == "verdicts" else DASHED
    axes.plot(
        xs, means, color=colour, linestyle=line, linewidth=1.3, marker=MARKERS[place], markersize=3.5, label=label
    )
    axes.set_xticks(list(xs), [str(n) for n in clusters])


def _limit(axes: Axes, share: float) -> None:
    axes.axhline(100 * share, color=FAINT, linestyle=(0, (1, 2)), linewidth=1.2)
    axes.set_ylim(-0.3, 12)
    _legend(axes, "upper left")


def _legend(axes: Axes, place: Place) -> None:
    if axes.get_legend_handles_labels()[0]:  # every Nth cell alone may leave a panel empty
        axes.legend(loc=place, fontsize=6.8, handlelength=2.6, borderaxespad=0.2)


def _drawn(kind: str, law: str) -> Selection:
    return lambda cell: cell["world"] == "draws" and (cell["truth"]["kind"], cell["truth"]["law"]) == (kind, law)


def _of_heads(kind: str, **truth: float | bool) -> Selection:
    wanted = {"kind": kind} | truth
    return lambda cell: cell["world"] == "heads" and wanted.items() <= cell["truth"].items()


def _spread(effect: float) -> Selection:
    """An effect spread over all judged heads, without clustering, where enough is right to lose."""
    of = _of_heads("effect", effect=effect, by_one_head=False)
    return lambda cell: of(cell) and float(cell["setting"]["accuracy"]) > 0.5 and cell["setting"]["clustering"] == 0.0

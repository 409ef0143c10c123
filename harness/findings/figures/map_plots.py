"""Figures of heads and of pairs of tasks: where the scores lie, and whose heads which task needs.

Each function takes a report alone and returns `None` where it holds nothing to draw. Lightness alone carries
the values: both colour maps rise evenly in it, in colour, in grey and for the colour-blind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from harness.experiment.conditions import RANDOM
from harness.findings.figures.plot_style import INK, new_figure, provenance, scaled
from harness.findings.report.report_data import ConditionResult, RankingSection, ReportData
from harness.findings.wording import participle, span

Grid = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Mark:
    """How the heads that an experiment zeroed are marked: a sign, and its width as a part of a cell's."""

    sign: Literal["o", "s", "x"]
    part: float
    filled: bool
    of: str


MARKS: Mapping[str, Mark] = {
    "general": Mark("s", 0.80, filled=False, of=""),
    "global": Mark("o", 0.58, filled=False, of=""),
    "within_task": Mark("o", 0.20, filled=True, of=" of any task"),
    RANDOM: Mark("x", 0.34, filled=False, of=" of any draw"),
}


TWO_PANELS = 5.0
"""How wide a figure of a width asked for is at least, in inches, for pairs of tasks at more than the largest k."""


def head_map(report: ReportData, width: float | None = None) -> Figure | None:
    """Layers x heads by mean score over tasks; marked are the heads that experiments zeroed at the largest k.

    Where the full scores are unknown, a head counts with a list's lowest score where that list lacks it, and
    one on no list is left blank.
    """
    model, ranking = report.model, report.ranking
    if model is None or ranking is None or not ranking.tasks:
        return None
    n_layers, n_heads = model.n_layers, model.n_heads
    marked = {name: found for name in MARKS if (found := _at_largest_k(report, name))}
    cell = min(0.36, (7.2 if width is None else width - 0.95) / n_heads, 8.4 / n_layers)  # inches
    reading = "colour: mean score over tasks, on a square-root scale"
    blank = "" if ranking.mean_scores else "; hatched: on no task's list"
    figure = new_figure(
        width or max(5.4, n_heads * cell + 1.5),
        n_layers * cell + (1.15 if width is None else 0.5 + 0.16 * len(marked)),
        f"Which heads score, and which were {participle(report.configuration)}" if marked else "Which heads score",
        [provenance(report), reading + blank],
        bare=width is not None,
    )
    axes = figure.add_subplot()
    _draw_scores(axes, _mean_scores(ranking, n_layers, n_heads), ranking.method or "score")
    handles = [_mark_heads(axes, name, conditions, cell * 72) for name, conditions in marked.items()]
    if handles:
        columns = 2 if width is None or width > 4.5 else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.5)
    return figure


def transfer_map(report: ReportData, width: float | None = None) -> Figure | None:
    """Source x target tasks: the target's accuracy that is left without the source's heads; a panel a k.

    A narrow one has the largest k alone.
    """
    cells = transfer_cells(report)
    tasks = [task for task in report.data.tasks if any(task in pair[:2] for pair in cells)]
    ks = sorted({k for _, _, k in cells})
    if len(tasks) < 2:
        return None
    if width is not None and width < TWO_PANELS:
        ks = ks[-1:]
    columns = min(3, len(ks)) if width is None else max(1, min(3, len(ks), int((width - 1.75) / 1.4)))
    rows = -(-len(ks) // columns)
    side = max(1.3, 0.26 * len(tasks)) if width is None else (width - 1.75) / columns - 0.1  # inches
    figure = new_figure(
        width or columns * (side + 0.2) + 2.7,
        rows * (side + 0.3) + (1.9 if width is None else 1.2),
        f"Accuracy left when another task's heads are {participle(report.configuration)}, %",
        [
            provenance(report),
            f"a row: the task whose top k heads are {participle(report.configuration)}; a column: the task asked; "
            "framed: its own heads",
        ],
        compressed=True,
        bare=width is not None,
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    # Empty places go to the end of the first row, so that every column has its names at the bottom.
    first = columns - (rows * columns - len(ks))
    for axes in panels[first:columns]:
        axes.set_visible(False)
    used = panels[:first] + panels[columns:]
    for axes, k in zip(used, ks, strict=True):
        _transfer_panel(axes, cells, tasks, k, numbers=side >= 0.17 * len(tasks))
    figure.supxlabel("task asked", fontsize=scaled(8.5))
    figure.supylabel(f"task whose heads are {participle(report.configuration)}", fontsize=scaled(8.5))
    bar = figure.colorbar(used[0].images[0], ax=grid, shrink=0.6, aspect=30, pad=0.02)
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25", "50", "75", "100 %"])
    bar.outline.set_visible(False)
    return figure


def _mean_scores(ranking: RankingSection, n_layers: int, n_heads: int) -> Grid:
    """(layers, heads): each head's mean over tasks, nan where nothing is known of it."""
    if ranking.mean_scores:
        return np.asarray(np.mean([np.array(grid) for grid in ranking.mean_scores.values()], axis=0))
    lists = []
    for scored in ranking.tasks.values():
        grid = np.full((n_layers, n_heads), np.nan)
        for layer, head, score in scored:
            grid[int(layer), int(head)] = score
        lists.append(grid)
    listed = np.any([~np.isnan(grid) for grid in lists], axis=0)
    filled = [np.where(np.isnan(grid), np.nanmin(grid), grid) for grid in lists]
    return np.where(listed, np.mean(filled, axis=0), np.nan)


def _draw_scores(axes: Axes, scores: Grid, method: str) -> None:
    n_layers, n_heads = scores.shape
    low, high = min(0.0, float(np.nanmin(scores))), float(np.nanmax(scores))
    axes.grid(visible=False)
    axes.patch.set(facecolor="#F4F4F4", hatch="////", edgecolor="#D8D8D8")
    image = axes.imshow(
        scores,
        cmap="Blues",
        norm=PowerNorm(0.5, vmin=low, vmax=high if high > low else low + 1),
        origin="lower",
        interpolation="none",
    )
    axes.set_xticks(_ticks(n_heads))
    axes.set_yticks(_ticks(n_layers))
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    axes.spines[["top", "right"]].set_visible(True)
    beside = axes.inset_axes((1.02, 0, 0.025, 1))
    bar = axes.figure.colorbar(image, cax=beside, label=method.replace("_", " "))
    bar.outline.set_visible(False)


def _ticks(n: int) -> list[int]:
    """At most about sixteen evenly spaced indices from 0."""
    step = next(step for step in (1, 2, 4, 8, 16, 32, 64) if n <= 17 * step or step == 64)
    return list(range(0, n, step))


def _at_largest_k(report: ReportData, experiment: str) -> list[ConditionResult]:
    own = [c for c in report.conditions if c.experiment == experiment and c.k is not None]
    largest = max((c.k or 0 for c in own), default=0)
    return [condition for condition in own if condition.k == largest]


def _mark_heads(axes: Axes, experiment: str, conditions: Sequence[ConditionResult], cell: float) -> Line2D:
    """Mark the heads that these conditions zeroed, `cell` points a cell; returns the legend's handle."""
    mark = MARKS[experiment]
    heads = sorted({(layer, head) for condition in conditions for layer, head in condition.heads})
    width = max(0.5, min(1.1, cell * 0.06))
    axes.plot(
        [head for _, head in heads],
        [layer for layer, _ in heads],
        linestyle="none",
        marker=mark.sign,
        markersize=mark.part * cell,
        markerfacecolor=INK if mark.filled else "none",
        markeredgecolor=INK,
        markeredgewidth=width,
        path_effects=[withStroke(linewidth=width + 1.2, foreground="white")],
    )
    k, counts = conditions[0].k, {condition.k_effective for condition in conditions}
    short = "" if counts == {k} else f", {span(min(counts), max(counts))} heads"
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=mark.sign,
        markersize=max(4.0, 22 * mark.part * 0.6),
        markerfacecolor=INK if mark.filled else "none",
        markeredgecolor=INK,
        label=f"{experiment}{mark.of} (k = {k}{short})",
    )


def transfer_cells(report: ReportData) -> dict[tuple[str, str, int], ConditionResult]:
    """(source, target, k) -> its condition. A task's own heads may stand under `within_task` alone."""
    cells: dict[tuple[str, str, int], ConditionResult] = {}
    if not any(condition.experiment == "transfer" for condition in report.conditions):
        return cells
    for condition in report.conditions:
        source, tasks, k = condition.source_task, condition.tasks, condition.k
        if condition.experiment in ("transfer", "within_task") and source and tasks and k is not None:
            cells.setdefault((source, tasks[0], k), condition)
    return {key: cell for key, cell in cells.items() if key[2] in _transfer_ks(report)}


def _transfer_ks(report: ReportData) -> set[int | None]:
    return {condition.k for condition in report.conditions if condition.experiment == "transfer"}


def _transfer_panel(
    axes: Axes,
    cells: Mapping[tuple[str, str, int], ConditionResult],
    tasks: Sequence[str],
    k: int,
    *,
    numbers: bool,
) -> None:
    """One k's square; with `numbers`, where there is room for them, each cell's in it."""
    values = np.full((len(tasks), len(tasks)), np.nan)
    for i, source in enumerate(tasks):
        for j, target in enumerate(tasks):
            cell = cells.get((source, target, k))
            if cell is not None and cell.accuracy is not None:
                values[i, j] = cell.accuracy
                if not numbers:
                    continue
                light = cell.accuracy > 0.55
                axes.text(
                    j,
                    i,
                    f"{100 * cell.accuracy:.0f}",
                    ha="center",
                    va="center",
                    fontsize=scaled(6.5),
                    color="black" if light else "white",
                )
        for colour, width in (("white", 2.4), ("black", 1.1)):
            axes.add_patch(Rectangle((i - 0.44, i - 0.44), 0.88, 0.88, fill=False, edgecolor=colour, linewidth=width))
    axes.grid(visible=False)
    axes.patch.set(facecolor="#F4F4F4", hatch="////", edgecolor="#D8D8D8")
    axes.imshow(values, cmap="cividis", vmin=0, vmax=1, interpolation="none")
    axes.set_xticks(range(len(tasks)), tasks, rotation=90, fontsize=scaled(7.0))
    axes.set_yticks(range(len(tasks)), tasks, fontsize=scaled(7.0))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    used = {cell.k_effective for (_, _, at), cell in cells.items() if at == k}
    short = "" if used == {k} else f" ({span(min(used), max(used))} heads)"
    axes.set_title(f"k = {k}{short}", loc="left", pad=4)

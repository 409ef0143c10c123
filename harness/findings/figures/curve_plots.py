"""Figures of accuracy: all experiments against k, task by task, retrieval against random heads, and the forest plot.

The forest plot holds every experiment and k against as many random heads, with intervals and the gates' verdicts. Each
function takes a report alone and returns `None` where it holds nothing to draw.
"""

from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation

from harness.errors import counted
from harness.experiment.conditions import RANDOM
from harness.findings.figures.curve_drawing import (
    LEVELS,
    Places,
    Series,
    axis_of_ks,
    draw_level,
    draw_series,
    handle,
    label_ends,
    level_handle,
    mark_short,
    series,
)
from harness.findings.figures.plot_style import (
    FAINT,
    INK,
    as_percent,
    darker,
    narrow,
    new_figure,
    provenance,
    say,
    scaled,
    style_of,
)
from harness.findings.report.curves import level
from harness.findings.report.report_data import ReportData
from harness.findings.verdicts.verdict_data import Contrast, GateResult
from harness.findings.wording import participle, points, points_between, span

RETRIEVAL = ("within_task", "across_task", "general", "global")
ANSWERED = "questions answered correctly"
DODGE = 0.055
LEAST_PANEL = 1.5
"""How wide a panel is at least in a figure of a width asked for, in inches."""


def accuracy_by_k(report: ReportData, width: float | None = None) -> Figure | None:
    """Every experiment's pooled accuracy against k, with Wilson's intervals and the baseline."""
    drawn = series(report, dodge=DODGE)
    if not drawn:
        return None
    figure = new_figure(
        width or 7.2,
        3.9 if width is None else 0.6 * width + 0.35 + 0.08 * len(drawn),
        f"Accuracy when k heads are {participle(report.configuration)}",
        [provenance(report), _how_to_read(drawn)],
        bare=width is not None,
    )
    axes = figure.add_subplot()
    places = axis_of_ks(axes, drawn)
    as_percent(axes)
    axes.set_xlabel(_heads(report))
    axes.set_ylabel(ANSWERED)
    labels = [draw_level(axes, report, name) for name in LEVELS]
    for one in drawn:
        draw_series(axes, one, places, band=True)
        mark_short(axes, one, places)
        labels.append(one.end_label(places))
    if width is None:
        label_ends(axes, [label for label in labels if label is not None])
    else:
        _legend(figure, report, drawn)
    return figure


def accuracy_by_task(report: ReportData, width: float | None = None) -> Figure | None:
    """One small panel a task: the same curves on that task's rows alone."""
    everything = series(report)
    tasks = [task for task in report.data.tasks if series(report, {task})]
    if not tasks:
        return None
    columns = {1: 1, 2: 2, 4: 2}.get(len(tasks), 3)
    columns = columns if width is None else max(1, min(columns, int(width / LEAST_PANEL)))
    rows = -(-len(tasks) // columns)
    hollow = "; hollow: fewer than k heads" if _short(everything) else ""
    figure = new_figure(
        width or max(5.2, 2.5 * columns),
        1.75 * rows + 0.8 if width is None else 0.72 * width / columns * rows + 0.6 + 0.08 * len(everything),
        f"Accuracy when k heads are {participle(report.configuration)}, task by task",
        [provenance(report), f"n: rows of the task{hollow}"],
        bare=width is not None,
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    ks = axis_of_ks(grid[0, 0], everything)  # all panels' axes, as they are shared
    as_percent(grid[0, 0])
    for place, axes in enumerate(grid.flat):
        if place >= len(tasks):
            axes.set_visible(False)
            continue
        _task_panel(axes, report, tasks[place], ks, None if width is None else width / columns - 0.3)
        lowest = place + columns >= len(tasks)
        axes.tick_params(labelbottom=lowest)
        axes.set_xlabel(_heads(report) if lowest else "")
    figure.supylabel(ANSWERED, fontsize=scaled(8.5))
    _legend(figure, report, everything)
    return figure


def _legend(figure: Figure, report: ReportData, drawn: Sequence[Series]) -> None:
    """What each line is, below the panels, as many in a line as there is room for."""
    handles = [handle(one) for one in drawn]
    handles += [level_handle(name) for name in LEVELS if level(report, name) is not None]
    longest = max(len(str(each.get_label())) for each in handles)
    widest = 0.4 + 0.047 * longest if narrow() else 0.75 + 0.062 * longest  # inches, its line included
    per_line = max(1, min(4, len(handles), int(figure.get_figwidth() / widest)))
    figure.legend(handles=handles, loc="outside lower center", ncols=per_line, handlelength=2.4 if narrow() else 3.4)


def retrieval_against_random(report: ReportData, width: float | None = None) -> Figure | None:
    """A panel each: an experiment's heads, and as many random ones on the same tasks' rows."""
    drawn = [one for one in series(report) if one.experiment in RETRIEVAL]
    random = next((one for one in series(report) if one.experiment == RANDOM), None)
    if not drawn or random is None:
        return None
    kinds = sorted({c.random_match for c in report.conditions if c.experiment == RANDOM and c.random_match})
    kind = " and ".join(kinds) or "uniform"
    several = ", mean and envelope" if len(random.draws) > 1 else ""
    reading = (
        f"grey: {counted(len(random.draws), 'draw')} of random heads ({kind}){several}; "
        "coloured band: 95 % Wilson interval"
    )
    hollow = "; hollow: fewer than k heads, their number beside" if _short(drawn) else ""
    columns = len(drawn) if width is None else max(1, min(len(drawn), int(width / LEAST_PANEL)))
    rows = -(-len(drawn) // columns)
    figure = new_figure(
        width or max(5.2, 2.35 * len(drawn) + 0.4),
        2.6 if width is None else 0.95 * width / columns * rows + 0.3,
        "Heads that retrieve, against as many random heads",
        [provenance(report), reading + hollow],
        bare=width is not None,
    )
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(drawn) :]:
        axes.set_visible(False)
    for axes, one in zip(grid.flat, drawn, strict=False):
        _random_panel(axes, report, one)
    if width is None:
        grid[0, 0].set_ylabel(ANSWERED)
    else:
        figure.supylabel(ANSWERED, fontsize=scaled(8.5))
    figure.supxlabel(_heads(report), fontsize=scaled(8.5))
    return figure


def _task_panel(axes: Axes, report: ReportData, task: str, places: Places, width: float | None) -> None:
    """One task's panel; its title says how many rows, where there is no caption for that, or fits into a `width`."""
    title = f"{task} (n = {report.data.tasks[task].rows})" if width is None else task
    size = scaled(min(8.0, 8.0 * 36 / len(title)))
    axes.set_title(title, loc="left", pad=4, fontsize=size if width is None else min(size, 110 * width / len(title)))
    for name in LEVELS:
        draw_level(axes, report, name, {task})
    for one in series(report, {task}, dodge=DODGE):
        draw_series(axes, one, places, band=False, size=4.0)


def _random_panel(axes: Axes, report: ReportData, one: Series) -> None:
    tasks = {
        task for condition in report.conditions if condition.experiment == one.experiment for task in condition.per_task
    }
    random = next((other for other in series(report, tasks) if other.experiment == RANDOM), None)
    places = axis_of_ks(axes, [one] if random is None else [one, random])
    as_percent(axes)
    axes.set_title(one.experiment, loc="left", color=darker(one.style.colour), fontweight="bold")
    draw_level(axes, report, "baseline", tasks)
    if random is not None:
        for draw in random.draws:
            points = [(places[p.k], p.accuracy) for p in draw.points if p.accuracy is not None]
            axes.plot(*zip(*points, strict=True), ".", color=random.style.colour, markersize=2.6, alpha=0.7)
        draw_series(axes, random, places, band=len(random.draws) > 1, size=4.5)
        _write_gap(axes, one, random, places)
        left, right = axes.get_xlim()
        axes.set_xlim(left, right + 0.25)  # room for the gap, right of the last k
    draw_series(axes, one, places, band=True)
    mark_short(axes, one, places)


def _write_gap(axes: Axes, one: Series, random: Series, places: Places) -> None:
    """At the largest k at which both zeroed k heads, an arrow from random to retrieval and the gap."""
    short = {point.k for point in (*one.points, *random.points) if point.is_short}
    both = sorted(set(one.ks) & set(random.ks) - short)
    if not both:
        return
    k = both[-1]
    if narrow() and k != one.ks[-1]:  # it would stand among the marks of larger k
        return
    mine, theirs = one.values[one.ks.index(k)], random.values[random.ks.index(k)]
    points = round(100 * (mine - theirs))
    if abs(points) < 15:  # no room for an arrow between the two markers
        return
    beside = axes.transData + ScaledTranslation(8 / 72, 0, axes.figure.dpi_scale_trans)  # 8 points
    axes.annotate(
        "",
        (places[k], mine),
        xytext=(places[k], theirs),
        xycoords=beside,
        textcoords=beside,
        arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0},
    )
    axes.annotate(
        f"{points:+d}".replace("-", "\N{MINUS SIGN}") + " points",
        (places[k], (mine + theirs) / 2),
        xycoords=beside,
        xytext=(3, 0),
        textcoords="offset points",
        rotation="vertical",
        ha="left",
        va="center",
        fontsize=scaled(8.0),
        path_effects=[withStroke(linewidth=2.0, foreground="white")],
    )


def _how_to_read(drawn: Sequence[Series]) -> str:
    envelopes = any(len(one.draws) > 1 for one in drawn)
    return (
        "bands: 95 % Wilson intervals"
        + ("; of random draws: least to greatest" if envelopes else "")
        + ("; hollow: fewer than k heads, their number beside" if _short(drawn) else "")
    )


def _short(drawn: Sequence[Series]) -> bool:
    return any(point.is_short for one in drawn for point in one.points)


def _heads(report: ReportData) -> str:
    """What k counts."""
    return f"heads {participle(report.configuration)} (k)"


def forest(report: ReportData, width: float | None = None) -> Figure | None:
    """A line a contrast: the difference of drops, its interval, and the difference from each draw as a point."""
    found = report.contrasts
    if not found:
        return None
    figure = new_figure(
        width or 7.2,
        0.75 + 0.26 * len(found) if width is None else 0.55 + 0.19 * len(found),
        "Drop in accuracy beyond that by as many random heads",
        [
            provenance(report),
            "marker and line: difference from the mean of the random draws, and its 95 % interval over filings and "
            "draws; grey: from each draw, one below the other where they are equal; dashed: what a gate asks for; "
            "right: verdicts of gates",
        ],
        bare=width is not None,
    )
    axes = figure.add_subplot()
    places = range(len(found), 0, -1)
    for place, contrast in zip(places, found, strict=True):
        _draw_contrast(axes, place, contrast, found)
    axes.set_yticks(list(places), [_contrast_label(contrast) for contrast in found])
    axes.set_ylim(0.15, len(found) + 0.7)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    for margin in _margins(report):
        axes.axvline(100 * margin, color=FAINT, linestyle=(0, (4, 2)), linewidth=1.0, zorder=1)
    axes.set_xlabel("points of accuracy")
    for gate in report.gates:
        _note_verdict(axes, gate, found)
    return figure


def _draw_contrast(axes: Axes, place: int, contrast: Contrast, every: Sequence[Contrast]) -> None:
    style = style_of(contrast.experiment, [each.experiment for each in every])
    draws = contrast.draw_differences
    step = min(0.11, 0.55 / max(Counter(draws).values(), default=1))  # of a line's height: before the next line
    below = [place - 0.24 - step * draws[:i].count(draw) for i, draw in enumerate(draws)]
    axes.plot([100 * draw for draw in draws], below, "o", color=FAINT, markersize=1.9, markeredgewidth=0, zorder=2)
    if contrast.interval is not None:
        axes.plot([100 * end for end in contrast.interval], [place, place], color=style.colour, linewidth=1.8)
    (mark,) = axes.plot(
        [100 * contrast.difference],
        [place],
        marker=style.marker,
        color=style.colour,
        markersize=5.5,
        markeredgecolor="white",
        markeredgewidth=0.5,
        zorder=3,
    )
    said = f"{points(contrast.difference)} points {points_between(contrast.interval)}"
    say(mark, f"{_contrast_label(contrast)}: {said} beyond as many random heads")


def _contrast_label(contrast: Contrast) -> str:
    """The experiment and k, and how many heads there were where they are fewer."""
    fewest, most = contrast.k_effective
    short = "" if fewest == contrast.k else f" ({span(fewest, most)} heads)"
    return f"{contrast.experiment}  k={contrast.k}{short}"


def _margins(report: ReportData) -> list[float]:
    """The margins of the gates in points, as they are shares of what the untouched model gets right.

    Without gates, that of the settings where they say one.
    """
    if report.gates:
        return sorted({gate.margins.margin * gate.baseline for gate in report.gates if gate.baseline is not None})
    asked, untouched = report.configuration.get("gate_margin"), level(report, "baseline")
    accuracy = None if untouched is None else untouched.accuracy
    return [asked * accuracy] if isinstance(asked, float) and accuracy is not None else []


def _note_verdict(axes: Axes, gate: GateResult, every: Sequence[Contrast]) -> None:
    """The verdict right of the line whose heads the gate judges."""
    for i, contrast in enumerate(every):
        if (contrast.experiment, contrast.k) == (gate.experiment, gate.k):
            axes.annotate(
                gate.verdict,
                (1.0, len(every) - i),
                xycoords=axes.get_yaxis_transform(),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=scaled(8.0),
                fontweight="bold",
                color=darker(style_of(contrast.experiment, []).colour),
                annotation_clip=False,
            )

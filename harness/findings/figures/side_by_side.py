"""Figures that set things side by side: ways of ablating, and rankings by different methods.

Of ways, what each costs own, shared and random heads, right answers beside likelihood. Of methods, accuracy without
each one's k best heads, k to scale, and random heads' above it: the area between a method's line and the mean of the
random draws is what is measured (`harness.findings.rankings.ranking_comparison`).
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from harness.choices import GateOutcome
from harness.errors import counted
from harness.experiment.conditions import RANDOM
from harness.findings.damage import OUTCOMES, WHOSE, DamageShare, WaysData, elsewhere_text, groups_of, of_group
from harness.findings.figures.curve_drawing import EndLabel, label_ends
from harness.findings.figures.plot_style import (
    FAINT,
    INK,
    STYLES,
    Style,
    as_percent,
    darker,
    house_style,
    new_figure,
    save,
    say,
    style_of,
)
from harness.findings.rankings.ranking_comparison import MethodArea, MethodAreas
from harness.findings.wording import percent, points, points_between

LABELS: dict[GateOutcome, str] = {
    "accuracy": "points of right answers lost",
    "likelihood": "nats of the right value's likelihood lost",
}
DODGE = 0.22


def ways_plot(data: WaysData) -> Figure:
    """A line a way, a mark a group of heads with its 95 % interval over clusters; in grey, what zeroing costs each."""
    figure = new_figure(
        7.6,
        0.9 + 0.42 * len(data.ways),
        "What heads cost, ablated in different ways",
        [
            f"{data.model} · {counted(data.rows, 'row')} in {counted(data.clusters, 'cluster')} · k={data.k}",
            f"random heads: mean of {counted(data.draws, 'draw')} from the layers of the own heads; lines: 95 % "
            "intervals over clusters; grey: what zeroing costs",
            *(f"{WHOSE[each.experiment]} zeroed, {elsewhere_text(each)}" for each in data.elsewhere),
        ],
    )
    places = list(range(len(data.ways), 0, -1))
    every = figure.subplots(1, len(OUTCOMES), sharey=True)
    for axes, outcome in zip(every, OUTCOMES, strict=True):
        for number, (experiment, k) in enumerate(groups_of(data)):
            found = [of_group(way, experiment, k).get(outcome) for way in data.ways]
            shift = DODGE * (1 - number)
            for place, way, share in zip(places, data.ways, found, strict=True):
                if share is not None:
                    _mark_way(axes, place + shift, share, f"{WHOSE[experiment]}, {way.way}")
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(LABELS[outcome])
        axes.set_yticks(places, [way.way for way in data.ways])
        axes.set_ylim(0.4, len(data.ways) + 0.6)
    names = dict.fromkeys(experiment for experiment, _ in groups_of(data))
    handles = [
        every[0].plot([], [], marker=style_of(name, names).marker, color=style_of(name, names).colour)[0]
        for name in names
    ]
    every[0].legend(handles, [WHOSE[name] for name in names], loc="best")
    return figure


def _mark_way(axes: Axes, place: float, share: DamageShare, whose: str) -> None:
    scale, style = 100 if share.outcome == "accuracy" else 1, style_of(share.experiment, WHOSE)
    if share.drop_interval is not None:
        axes.plot([scale * end for end in share.drop_interval], [place, place], color=style.colour, linewidth=1.6)
    axes.plot([scale * share.zeroed] * 2, [place - 0.1, place + 0.1], color=FAINT, linewidth=1.0, zorder=1)
    (mark,) = axes.plot([scale * share.drop], [place], marker=style.marker, color=style.colour, markersize=5)
    say(mark, f"{whose}: {scale * share.drop:+.1f} over {counted(share.n, 'row')}")


LINES = (*(style for name, style in STYLES.items() if name != RANDOM),)


def draw_methods(found: MethodAreas, model: str, path: Path) -> None:
    """Draw the methods' curves beside their areas into the file, whose ending says the format."""
    with house_style():
        figure = methods_figure(found, model)
        save(figure, path)


def methods_figure(found: MethodAreas, model: str) -> Figure:
    """Curves on the left, areas with their intervals on the right."""
    styles = {one.name: LINES[i % len(LINES)] for i, one in enumerate(found.methods)}
    figure = new_figure(
        8.6,
        3.6,
        "Which method ranks best: accuracy without its k best heads",
        [
            f"{model} · {counted(found.n, 'row')} of {counted(found.clusters, 'cluster')} of filings",
            "Left: the band is the least and the greatest of the random draws. Right: the area between the mean of "
            "random heads and a method's line, over the largest k, with the 95 % interval that holds for other filings "
            "and draws.",
        ],
    )
    curves, areas = figure.subplots(1, 2, width_ratios=(1.55, 1))
    _draw_curves(curves, found, styles)
    _draw_areas(areas, found, styles)
    return figure


def _draw_curves(axes: Axes, found: MethodAreas, styles: dict[str, Style]) -> None:
    ks, random = [0, *found.random], STYLES[RANDOM]
    means = [found.baseline, *(sum(draws) / len(draws) for draws in found.random.values())]
    axes.fill_between(
        ks,
        [found.baseline, *(draws[0] for draws in found.random.values())],
        [found.baseline, *(draws[-1] for draws in found.random.values())],
        color=random.colour,
        alpha=0.15,
        linewidth=0,
    )
    axes.plot(ks, means, color=random.colour, marker=random.marker, linestyle=random.line, markersize=4)
    labels = [EndLabel("random heads", random.colour, ks[-1], means[-1])]
    for one in found.methods:
        style, values = styles[one.name], [found.baseline, *one.accuracies.values()]
        (line,) = axes.plot(ks, values, color=style.colour, marker=style.marker, linestyle=style.line, markersize=4)
        say(line, f"{one.name}: " + ", ".join(f"k={k} {percent(rate)}" for k, rate in one.accuracies.items()))
        labels.append(EndLabel(one.name, style.colour, ks[-1], values[-1]))
    as_percent(axes)
    axes.set_xticks(ks)
    axes.set_xlabel("heads zeroed, of each task's own list")
    axes.set_ylabel("questions answered")
    label_ends(axes, labels)


def _draw_areas(axes: Axes, found: MethodAreas, styles: dict[str, Style]) -> None:
    for place, one in enumerate(reversed(found.methods)):
        style = styles[one.name]
        if one.interval is not None:
            axes.plot([100 * end for end in one.interval], [place, place], color=style.colour, linewidth=2)
        (mark,) = axes.plot(100 * one.area, place, color=style.colour, marker=style.marker, markersize=6)
        say(mark, f"{one.name}: {points(one.area)} points {points_between(one.interval)}")
        for text, above, colour, size in ((one.name, 7, darker(style.colour), 8), (_behind(one), -13, FAINT, 7)):
            axes.annotate(
                text,
                (100 * one.area, place),
                (0, above),
                textcoords="offset points",
                ha="center",
                color=colour,
                fontsize=size,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks([])
    axes.set_ylim(-0.6, len(found.methods) - 0.4)
    axes.grid(axis="x")
    axes.set_xlabel("area, in points")


def _behind(one: MethodArea) -> str:
    if one.behind is None:
        return "the best"
    return f"{points(one.behind).lstrip('+')} behind {points_between(one.behind_interval)}"

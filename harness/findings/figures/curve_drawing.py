"""Pieces of a figure of accuracy against k: lines with bands, levels, marks and labels that do not overlap.

k is drawn as evenly spaced places, not to scale: 1, 2, 5, 10, 20 would crowd at the left.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from harness.findings.figures.plot_style import FAINT, INK, Line, Style, darker, say, scaled, style_of
from harness.findings.report.curves import Curve, Point, curves, envelope, level
from harness.findings.report.report_data import ReportData
from harness.findings.wording import percent

LEVELS: Mapping[str, tuple[str, str, Line]] = {
    "baseline": ("baseline", INK, (0, (6, 3))),
    "needle_absent": ("needle left out", FAINT, (0, (1, 2.5))),
}
"""Conditions without k that are drawn as level lines: label, colour, line."""

WIDEST = 0.4
"""How far apart the first and the last of the lines at one k are moved at most."""

Places = Mapping[int, int]
"""Where on the x axis each k stands."""


@dataclass(frozen=True, slots=True)
class EndLabel:
    """A line's name, to stand at its right end."""

    text: str
    colour: str
    x: float
    y: float


@dataclass(frozen=True)
class Series:
    """What is drawn as one line: a curve, or the mean of several random draws and their envelope.

    `low` and `high` bound the band: Wilson's interval of a curve, the least and greatest of several draws.
    `shift` moves it sideways, so that lines of equal height stay apart.
    """

    experiment: str
    style: Style
    ks: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    points: tuple[Point, ...]
    draws: tuple[Curve, ...]
    shift: float = 0.0

    @property
    def label(self) -> str:
        """The experiment's name, and of how many draws it is the mean."""
        return self.experiment if len(self.draws) < 2 else f"{self.experiment}, mean of {len(self.draws)}"

    def xs(self, places: Places) -> list[float]:
        """Where its points stand."""
        return [places[k] + self.shift for k in self.ks]

    def end_label(self, places: Places) -> EndLabel:
        """The label, to stand at the line's last point."""
        return EndLabel(self.label, self.style.colour, self.xs(places)[-1], self.values[-1])


def series(report: ReportData, tasks: Collection[str] | None = None, *, dodge: float = 0.0) -> tuple[Series, ...]:
    """What there is to draw over the rows of these tasks (`None`: all), in the order of the report.

    dodge: how far apart neighbours are moved, where 1 is from one k to the next of five or more; with fewer, the axis
    is shorter, and so is the move. Many lines share `WIDEST`.

    The draws of one experiment are one series. Points without rows are left out.
    """
    names = [condition.experiment for condition in report.conditions if condition.k is not None]
    groups: dict[str, list[Curve]] = {}
    for curve in curves(report, tasks):
        groups.setdefault(curve.experiment, []).append(curve)
    found: list[Series] = []
    for experiment, draws in groups.items():
        style = style_of(experiment, names)
        one = _of_draws(experiment, style, draws) if len(draws) > 1 else _of_curve(draws[0], style)
        if one.ks:
            found.append(one)
    middle = (len(found) - 1) / 2
    step = min(dodge, WIDEST / max(1, len(found) - 1)) * min(1.0, len({k for one in found for k in one.ks}) / 5)
    return tuple(replace(one, shift=step * (i - middle)) for i, one in enumerate(found))


def _of_curve(curve: Curve, style: Style) -> Series:
    known = [(p, p.accuracy, p.interval) for p in curve.points if p.accuracy is not None and p.interval is not None]
    return Series(
        curve.experiment,
        style,
        ks=tuple(point.k for point, _, _ in known),
        values=tuple(accuracy for _, accuracy, _ in known),
        low=tuple(interval.low for _, _, interval in known),
        high=tuple(interval.high for _, _, interval in known),
        points=tuple(point for point, _, _ in known),
        draws=(curve,),
    )


def _of_draws(experiment: str, style: Style, draws: Sequence[Curve]) -> Series:
    points = envelope(draws)
    return Series(
        experiment,
        style,
        ks=tuple(point.k for point in points),
        values=tuple(point.mean for point in points),
        low=tuple(point.low for point in points),
        high=tuple(point.high for point in points),
        points=tuple(point for draw in draws[:1] for point in draw.points if point.n),
        draws=tuple(draws),
    )


def axis_of_ks(axes: Axes, drawn: Iterable[Series]) -> Places:
    """Give the x axis a place for every k, and return the places."""
    ks = sorted({k for one in drawn for k in one.ks})
    places = {k: place for place, k in enumerate(ks)}
    axes.set_xticks(list(places.values()), [str(k) for k in ks])
    axes.set_xlim(-0.35, len(ks) - 1 + 0.35)
    return places


def draw_series(axes: Axes, one: Series, places: Places, *, band: bool, size: float = 5.0) -> None:
    """The line, its band if asked for, and its markers; a marker is hollow where heads were fewer than k."""
    colour, short = one.style.colour, {point.k for point in one.points if point.is_short}
    xs = one.xs(places)
    if band:
        axes.fill_between(xs, one.low, one.high, color=colour, alpha=0.13, linewidth=0)
        if len(xs) == 1:  # a band of one place has no width
            axes.vlines(xs, one.low, one.high, color=colour, alpha=0.5, linewidth=1.2)
    axes.plot(xs, one.values, color=colour, linestyle=one.style.line, linewidth=1.5)
    for k, x, value, low, high in zip(one.ks, xs, one.values, one.low, one.high, strict=True):
        (mark,) = axes.plot(
            [x],
            [value],
            marker=one.style.marker,
            markersize=scaled(size),
            color=colour,
            markerfacecolor="white" if k in short else colour,
            markeredgecolor=colour if k in short else "white",
            markeredgewidth=1.1 if k in short else 0.5,
            linestyle="none",
            clip_on=False,
            zorder=4,
        )
        say(mark, f"{one.label}, k = {k}: {percent(value)} [{percent(low)}, {percent(high)}]")


def mark_short(axes: Axes, one: Series, places: Places) -> None:
    """Over each hollow marker, or under it near the top, how many heads were really ablated."""
    values = dict(zip(one.ks, one.values, strict=True))
    for point in one.points:
        if point.is_short and point.k in values:
            axes.annotate(
                point.heads,
                (places[point.k] + one.shift, values[point.k]),
                xytext=(0, 5.5 if values[point.k] < 0.85 else -12.5),
                textcoords="offset points",
                ha="center",
                fontsize=scaled(7.5),
                color=darker(one.style.colour),
                path_effects=[withStroke(linewidth=1.8, foreground="white")],
            )


def draw_level(axes: Axes, report: ReportData, name: str, tasks: Collection[str] | None = None) -> EndLabel | None:
    """A level line across the axes at what the condition reached on these tasks' rows, if it is there."""
    found = level(report, name, tasks)
    if found is None or found.accuracy is None:
        return None
    label, colour, line = LEVELS[name]
    axes.axhline(found.accuracy, color=colour, linestyle=line, linewidth=1.0, zorder=1.5)
    return EndLabel(label, colour, axes.get_xlim()[1], found.accuracy)


def label_ends(axes: Axes, labels: Iterable[EndLabel], *, gap: float = 0.058) -> None:
    """Write each line's name right of the axes, at its end's height where no other name is.

    gap: the least distance of two names, as a part of the axes' height.
    """
    low, high = axes.get_ylim()
    ordered = sorted(labels, key=lambda label: (label.y, label.text))
    heights = spread([label.y for label in ordered], gap * (high - low), high)
    edge = axes.get_xlim()[1]
    for label, height in zip(ordered, heights, strict=True):
        axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=(1.045, height),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=scaled(8.0),
            color=darker(label.colour),
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": label.colour,
                "linewidth": 0.6,
                "alpha": 0.55,
                "shrinkA": 1,
                "shrinkB": 5 if label.x < edge else 0,
            },
        )


def spread(wanted: Sequence[float], gap: float, high: float) -> list[float]:
    """Rising heights pushed apart until neighbours are `gap` apart and none is above `high`.

    What is in the way is pushed up, then back down from `high`; too many for the room overrun downwards.
    """
    heights = list(wanted)
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    ceiling = high
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], ceiling)
        ceiling = heights[i] - gap
    return heights


def handle(one: Series) -> Line2D:
    """The series as a legend shows it."""
    return Line2D(
        [],
        [],
        color=one.style.colour,
        linestyle=one.style.line,
        linewidth=1.5,
        marker=one.style.marker,
        markersize=scaled(4.5),
        markeredgecolor="white",
        markeredgewidth=0.5,
        label=one.label,
    )


def level_handle(name: str) -> Line2D:
    """A level line as a legend shows it."""
    label, colour, line = LEVELS[name]
    return Line2D([], [], color=colour, linestyle=line, linewidth=1.0, label=label)

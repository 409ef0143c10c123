"""The forest plot: every experiment and k against as many random heads, with intervals and the gates' verdicts.

Takes a report alone and returns `None` where it holds nothing to draw.
"""

from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.findings.figures.plot_style import FAINT, INK, darker, new_figure, provenance, say, style_of
from harness.findings.report.curves import level
from harness.findings.report.report_data import ReportData
from harness.findings.verdicts.verdict_data import Contrast, GateResult
from harness.findings.wording import points, points_between, span


def forest(report: ReportData) -> Figure | None:
    """A line a contrast: the difference of drops, its interval, and the difference from each draw as a point."""
    found = report.contrasts
    if not found:
        return None
    figure = new_figure(
        7.2,
        0.75 + 0.26 * len(found),
        "Drop in accuracy beyond that by as many random heads",
        [
            provenance(report),
            "marker and line: difference from the mean of the random draws, and its 95 % interval over filings and "
            "draws; grey: from each draw, one below the other where they are equal; dashed: what a gate asks for; "
            "right: verdicts of gates",
        ],
    )
    axes = figure.add_subplot()
    places = range(len(found), 0, -1)
    for place, contrast in zip(places, found, strict=True):
        _draw(axes, place, contrast, found)
    axes.set_yticks(list(places), [_label(contrast) for contrast in found])
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


def _draw(axes: Axes, place: int, contrast: Contrast, every: Sequence[Contrast]) -> None:
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
    say(mark, f"{_label(contrast)}: {said} beyond as many random heads")


def _label(contrast: Contrast) -> str:
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
                fontsize=8,
                fontweight="bold",
                color=darker(style_of(contrast.experiment, []).colour),
                annotation_clip=False,
            )

"""The figure of ways of ablating: what each costs own, shared and random heads, right answers beside likelihood."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.errors import counted
from harness.findings.damage import OUTCOMES, DamageShare, Outcome
from harness.findings.figures.plot_style import FAINT, INK, new_figure, say, style_of
from harness.findings.ways import WHOSE, WaysData, elsewhere_text, groups_of, of_group

LABELS: dict[Outcome, str] = {
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
                    _mark(axes, place + shift, share, f"{WHOSE[experiment]}, {way.way}")
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


def _mark(axes: Axes, place: float, share: DamageShare, whose: str) -> None:
    scale, style = 100 if share.outcome == "accuracy" else 1, style_of(share.experiment, WHOSE)
    if share.drop_interval is not None:
        axes.plot([scale * end for end in share.drop_interval], [place, place], color=style.colour, linewidth=1.6)
    axes.plot([scale * share.zeroed] * 2, [place - 0.1, place + 0.1], color=FAINT, linewidth=1.0, zorder=1)
    (mark,) = axes.plot([scale * share.drop], [place], marker=style.marker, color=style.colour, markersize=5)
    say(mark, f"{whose}: {scale * share.drop:+.1f} over {counted(share.n, 'row')}")

"""How figures look: colours, markers, lines, titles, and how they are saved.

Colours are those of M. Okabe and K. Ito (2008), Color universal design (https://jfly.uni-koeln.de/color/).
No figure rests on colour alone: every experiment has its own marker and line too, and survives print in grey.
Figures are matplotlib `Figure` objects; pyplot, with its global state and windows, is never imported.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from harness.errors import counted
from harness.experiment.conditions import RANDOM
from harness.files import replacing
from harness.findings.report.report_data import ReportData
from harness.findings.wording import manner_note

_SAY = "say: "
_SAID = re.compile(rf'<g id="{_SAY}([^"]*)">')  # matplotlib escapes what is special in XML

INK = "#222222"
FAINT = "#6E6E6E"

Colour = str | tuple[float, float, float]
Line = Literal["-"] | tuple[float, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Style:
    """An experiment's colour, marker and line."""

    colour: str
    marker: str
    line: Line


STYLES = {
    "within_task": Style("#D55E00", "o", "-"),
    "across_task": Style("#CC79A7", "s", (0, (5, 1.6))),
    "general": Style("#0072B2", "^", (0, (6, 1.4, 1.2, 1.4))),
    "global": Style("#009E73", "D", (0, (2.6, 1.2))),
    RANDOM: Style("#5F5F5F", "X", (0, (1, 1.2))),
    "bottom": Style("#56B4E9", "v", (0, (5, 1.2, 1, 1.2, 1, 1.2))),
    "across_exclusive": Style("#E69F00", "P", (0, (3, 1.2, 1, 1.2))),
}
OTHERS = (
    Style("#E69F00", "p", "-"),
    Style("#56B4E9", "h", (0, (4, 2))),
    Style("#CC79A7", "<", (0, (1, 1))),
    Style("#000000", ">", (0, (4, 1, 1, 1))),
)
"""For experiments of users' own, in the order of the report."""


PLAIN, NARROW = 8.5, 7.0
"""The size of most letters in points: of figures of their own width, and of those of a width asked for, in a paper."""


@contextmanager
def house_style(*, for_paper: bool = False) -> Iterator[None]:
    """Draw and save with our settings, whatever a user's own matplotlib settings are; then theirs again.

    for_paper: smaller letters and thinner lines, for a column of a paper.
    """
    size = NARROW if for_paper else PLAIN
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.size": size,
                "axes.titlesize": size,
                "axes.labelsize": size,
                "axes.edgecolor": FAINT,
                "axes.labelcolor": INK,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.linewidth": 0.8,
                "axes.grid": True,
                "axes.grid.axis": "y",
                "axes.axisbelow": True,
                "grid.color": "#E4E4E4",
                "grid.linewidth": 0.7,
                "text.color": INK,
                "text.parse_math": False,  # names are names: `$` begins no formula
                "xtick.color": INK,
                "ytick.color": INK,
                "xtick.labelsize": scaled(8.0, size),
                "ytick.labelsize": scaled(8.0, size),
                "legend.frameon": False,
                "legend.fontsize": scaled(7.3 if for_paper else 8.0, size),
                "figure.facecolor": "white",
                "savefig.dpi": 200,
                "svg.fonttype": "path",
                "pdf.fonttype": 42,  # TrueType, embedded: journals refuse Type 3
                "svg.hashsalt": "retrieval-heads",
            }
        )
        yield


def scaled(points: float, size: float | None = None) -> float:
    """A size that is this many points where most letters have `PLAIN`, beside letters of `size`, or those drawn now."""
    return points * (float(mpl.rcParams["font.size"]) if size is None else size) / PLAIN


def narrow() -> bool:
    """Whether what is drawn now is for a column of a paper."""
    return scaled(1.0) < 1.0


def style_of(experiment: str, experiments: Iterable[str]) -> Style:
    """The experiment's own style, or the next free one for an experiment that is a user's own."""
    if experiment in STYLES:
        return STYLES[experiment]
    others = [name for name in dict.fromkeys(experiments) if name not in STYLES]
    return OTHERS[others.index(experiment) % len(OTHERS)]


def provenance(report: ReportData) -> str:
    """Which model, how many rows of how many filings, an unusual way of ablating, and what is missing."""
    data, model = report.data, report.model
    parts = [] if model is None else [Path(model.id).name or model.id]
    of = "" if data.filings is None else f" of {counted(data.filings, 'filing')}"
    parts.append(counted(data.rows, "row") + of)
    if (note := manner_note(report.configuration)) is not None:
        parts.append(note)
    if (part := report.run.part) is not None:
        parts.append(f"part {part.number} of {part.of}: {counted(part.rows, 'row')}")
    elif report.run.missing:
        parts.append(f"unfinished: {counted(len(report.run.missing), 'condition')} with rows missing")
    return " · ".join(parts)


def new_figure(
    width: float, height: float, title: str, notes: Sequence[str], *, compressed: bool = False, bare: bool = False
) -> Figure:
    """A figure of this size in inches, a heading on top of it, and a layout that keeps clear of the heading.

    bare: without a heading, for a paper, where a caption says what it would.

    The title is bold; each note begins a line of its own below, and is broken where the figure ends.
    compressed: for grids of square panels, which then stand close together.
    """
    layout: Literal["compressed", "constrained"] = "compressed" if compressed else "constrained"
    if bare:
        return Figure(figsize=(width, height), layout=layout)
    lines = [line for note in notes for line in textwrap.wrap(note, width=int(width * 16))]
    heading = 0.38 + 0.155 * len(lines)  # inches
    figure = Figure(figsize=(width, height + heading), layout=layout)
    whole = height + heading
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, 0, 1, height / whole))
    left = 0.09 / width
    figure.text(left, 1 - 0.09 / whole, title, va="top", fontsize=10.5, fontweight="bold")
    for i, line in enumerate(lines):
        figure.text(left, 1 - (0.31 + 0.155 * i) / whole, line, va="top", fontsize=8, color=FAINT)
    return figure


def darker(colour: str) -> Colour:
    """The colour as text on white: dark enough to read."""
    red, green, blue = to_rgb(colour)
    return (0.75 * red, 0.75 * green, 0.75 * blue)


def as_percent(axes: Axes) -> None:
    """The y axis from 0 to 100 %, with a little air for markers at its ends."""
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])


def lay_out(figure: Figure) -> None:
    """Settle where everything stands, once for all files: each `save` would work it out anew, in two more draws."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def save(figure: Figure, path: Path) -> None:
    """Write the figure at once under its name; the ending says the format. Equal figures give equal files.

    In an SVG, what `say` says of a mark is its title, which viewers show under the pointer and read aloud.
    """
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata=metadata[path.suffix])
        if path.suffix == ".svg":
            text = temporary.read_text(encoding="utf-8")
            temporary.write_text(_SAID.sub(r"<g><title>\1</title>", text), encoding="utf-8", newline="\n")


def say(artist: Artist, text: str) -> None:
    """Give a mark of a figure its numbers in words, for whoever points at it."""
    artist.set_gid(_SAY + text)

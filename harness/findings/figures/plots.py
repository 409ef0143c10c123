"""The figures of a report, drawn from `report.json` alone and saved as files; and that of a benchmark's growth.

What a report does not hold is not drawn. How time and memory grow with the number of conditions is drawn from a
benchmark's JSON alone. Knows nothing of how a figure looks (`curve_plots`, `map_plots`).
"""

import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.errors import ReportError
from harness.experiment.bench_result import Growth, read_growth
from harness.files import write_text
from harness.findings.figures.captions import caption
from harness.findings.figures.curve_drawing import LEVELS
from harness.findings.figures.curve_plots import accuracy_by_k, accuracy_by_task, forest, retrieval_against_random
from harness.findings.figures.map_plots import head_map, transfer_map
from harness.findings.figures.plot_style import STYLES, Style, house_style, new_figure, save
from harness.findings.report.report_data import ReportData

Format = Literal["png", "svg", "pdf"]

FIGURES: Mapping[str, Callable[[ReportData, float | None], Figure | None]] = MappingProxyType(
    {
        "accuracy_by_k": accuracy_by_k,
        "accuracy_by_task": accuracy_by_task,
        "retrieval_against_random": retrieval_against_random,
        "forest": forest,
        "head_map": head_map,
        "transfer_map": transfer_map,
    }
)
"""Every figure by its file's name."""


def draw_plots(
    report: ReportData,
    folder: Path,
    *,
    formats: Sequence[Format] = ("png", "svg"),
    width: float | None = None,
    captions: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Path, ...]:
    """Draw every figure that the report has data for into the folder, which is made; return their paths.

    width: in inches, for a paper: letters are smaller and there is no heading; without it each has its own width.
    captions: write what each shows beside it, as text (`captions`).

    Between two figures `stopped` is asked whether to leave out the rest.

    Raises ReportError, which names the figures that are missing and why, where one cannot be drawn or written; the
    others are there.
    """
    paths: list[Path] = []
    missing: dict[str, str] = {}
    with house_style(for_paper=width is not None):
        for name, draw in FIGURES.items():
            if stopped():
                missing[name] = "interrupted"
                continue
            try:
                drawn = list(_draw(draw(report, width), folder / name, formats))
                paths += drawn
                if drawn and captions:
                    paths.append(_write_caption(report, folder / name))
            except OSError as error:
                missing[name] = error.strerror or str(error)
            except Exception as error:  # whatever a drawing library makes of a name or a figure
                missing[name] = f"{type(error).__name__}: {error}"
    if missing:
        reasons = "; ".join(dict.fromkeys(missing.values()))
        raise ReportError(
            f"{folder}: the plots cannot be written: no {', '.join(missing)} ({reasons}); expected room in a folder "
            "that can be written; the report stands: draw them again with `retrieval-heads plot`"
        )
    return tuple(paths)


def of_experiments(report: ReportData, names: Collection[str]) -> ReportData:
    """The report with these experiments alone, beside the conditions that ablate nothing: for figures of some lines.

    Raises ReportError where it has none of a name.
    """
    known = dict.fromkeys(each.experiment for each in report.conditions)
    if unknown := [name for name in names if name not in known]:
        raise ReportError(f"no experiment {', '.join(unknown)} in the report; expected some of {', '.join(known)}")
    return report.model_copy(
        update={
            "conditions": tuple(
                each for each in report.conditions if each.experiment in names or each.experiment in LEVELS
            ),
            "contrasts": tuple(each for each in report.contrasts if each.experiment in names),
            "gates": tuple(each for each in report.gates if each.experiment in names),
        }
    )


def _write_caption(report: ReportData, stem: Path) -> Path:
    path = stem.with_name(f"{stem.name}.txt")
    write_text(path, textwrap.fill(caption(stem.name, report), width=100) + "\n")
    return path


def _draw(figure: Figure | None, stem: Path, formats: Sequence[Format]) -> Iterator[Path]:
    """The figure's files, saved one after the other."""
    if figure is None:
        return
    stem.parent.mkdir(parents=True, exist_ok=True)
    for ending in formats:
        path = stem.with_name(f"{stem.name}.{ending}")
        save(figure, path)
        yield path


_ENGINE, _BASELINE = STYLES["within_task"], STYLES["random_control"]


def draw_growth(source: Path, target: Path) -> None:
    """Draw a benchmark's growth into a .png, .svg or .pdf file.

    Raises:
        ReportError: the source is no benchmark with points of growth, or the target cannot be written.
    """
    growth = read_growth(source)
    try:
        with house_style():
            figure = new_figure(7.2, 3.2, "Cost of a row against its number of conditions", [growth.title])
            time, memory = figure.subplots(1, 2)
            alone = growth.points[0].seconds[1]
            for side, style, name in ((0, _ENGINE, "engine"), (1, _BASELINE, growth.baseline)):
                _draw_side(time, growth, [point.seconds[side] / alone for point in growth.points], style, name)
                held = [peak / 2**30 for point in growth.points if (peak := point.peak_bytes[side]) is not None]
                if len(held) == len(growth.points):
                    _draw_side(memory, growth, held, style, name)
            time.set_yscale("log", base=2)
            time.yaxis.set_major_formatter("{x:g}")
            time.set_ylabel(f"time of a row ({growth.baseline} at {growth.points[0].n_conditions} = 1)")
            memory.set_ylabel("peak memory, GiB")
            memory.set_ylim(bottom=0)
            time.legend(frameon=False, loc="upper left")
            save(figure, target)
    except OSError as error:
        raise ReportError(f"{target}: {error.strerror or error}; expected a file that can be written") from error


def _draw_side(axes: Axes, growth: Growth, values: list[float], style: Style, name: str) -> None:
    ns = [point.n_conditions for point in growth.points]
    axes.plot(ns, values, color=style.colour, marker=style.marker, markersize=4, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ns, [str(n) for n in ns])
    axes.minorticks_off()
    axes.set_xlabel("conditions")

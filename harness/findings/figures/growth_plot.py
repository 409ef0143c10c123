"""How time and memory grow with the number of conditions: a figure from a benchmark's JSON alone."""

from pathlib import Path

from matplotlib.axes import Axes

from harness.errors import ReportError
from harness.experiment.bench_result import Growth, read_growth
from harness.findings.figures.plot_style import STYLES, Style, house_style, new_figure, save

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
                _draw(time, growth, [point.seconds[side] / alone for point in growth.points], style, name)
                held = [peak / 2**30 for point in growth.points if (peak := point.peak_bytes[side]) is not None]
                if len(held) == len(growth.points):
                    _draw(memory, growth, held, style, name)
            time.set_yscale("log", base=2)
            time.yaxis.set_major_formatter("{x:g}")
            time.set_ylabel(f"time of a row ({growth.baseline} at {growth.points[0].n_conditions} = 1)")
            memory.set_ylabel("peak memory, GiB")
            memory.set_ylim(bottom=0)
            time.legend(frameon=False, loc="upper left")
            save(figure, target)
    except OSError as error:
        raise ReportError(f"{target}: {error.strerror or error}; expected a file that can be written") from error


def _draw(axes: Axes, growth: Growth, values: list[float], style: Style, name: str) -> None:
    ns = [point.n_conditions for point in growth.points]
    axes.plot(ns, values, color=style.colour, marker=style.marker, markersize=4, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ns, [str(n) for n in ns])
    axes.minorticks_off()
    axes.set_xlabel("conditions")

"""The figures of a report, drawn from `report.json` alone and saved as files; and that of a benchmark's growth.

What a report does not hold is not drawn. How time and memory grow with the number of conditions is drawn from a
benchmark's JSON alone. Knows nothing of how a figure looks (`curve_plots`, `map_plots`).

Each figure of a report has a caption in words: what is shown of which model on how many questions, and the main
numbers, all of them the report's. A figure of a paper has no heading: its caption says what that would.
"""

import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.errors import ReportError, counted
from harness.experiment.bench_result import Growth, read_growth
from harness.experiment.conditions import RANDOM
from harness.files import write_text
from harness.findings.figures.curve_drawing import LEVELS
from harness.findings.figures.curve_plots import accuracy_by_k, accuracy_by_task, forest, retrieval_against_random
from harness.findings.figures.drawn_figure import DrawnFigure, files_of
from harness.findings.figures.map_plots import head_map, transfer_cells, transfer_map
from harness.findings.figures.plot_style import STYLES, Style, house_style, lay_out, new_figure, provenance, save
from harness.findings.report.curves import Curve, Level, curves, envelope, level
from harness.findings.report.report_data import ReportData
from harness.findings.wording import participle, percent, points, points_between, span

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
    captions: write what each shows beside it, as text (`caption`).

    Between two figures `stopped` is asked whether to leave out the rest.

    Raises ReportError, which names the figures that are missing and why, where one cannot be drawn or written; the
    others are there.
    """
    drawn = {
        name: DrawnFigure(missing="interrupted")
        if stopped()
        else draw_figure(name, report, folder, formats=formats, width=width, captions=captions)
        for name in FIGURES
    }
    return files_of(drawn, folder)


def draw_figure(
    name: str,
    report: ReportData,
    folder: Path,
    *,
    formats: Sequence[Format] = ("png", "svg"),
    width: float | None = None,
    captions: bool = False,
) -> DrawnFigure:
    """Draw one of `FIGURES` into the folder, as `draw_plots` does; what goes wrong is in what is returned."""
    try:
        with house_style(for_paper=width is not None):
            files = list(_draw(FIGURES[name](report, width), folder / name, formats))
            if files and captions:
                files.append(_write_caption(report, folder / name))
    except OSError as error:
        return DrawnFigure(missing=error.strerror or str(error))
    except Exception as error:  # whatever a drawing library makes of a name or a figure
        return DrawnFigure(missing=f"{type(error).__name__}: {error}")
    return DrawnFigure(tuple(files))


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
    lay_out(figure)
    for ending in formats:
        path = stem.with_name(f"{stem.name}.{ending}")
        save(figure, path)
        yield path


_ENGINE, _BASELINE = STYLES["within_task"], STYLES[RANDOM]


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


def caption(name: str, report: ReportData) -> str:
    """The caption of the figure of this name: a few sentences."""
    said = [*CAPTIONS[name](report), f"Data: {provenance(report)}."]
    return " ".join(said)


def _accuracy_by_k(report: ReportData) -> Iterator[str]:
    yield f"Questions answered correctly when k attention heads are {participle(report.configuration)}."
    yield from _levels(report)
    yield from _curves(report)
    experiments = [curve.experiment for curve in curves(report)]
    of_draws = "; of random draws, from the least to the greatest" if len(set(experiments)) < len(experiments) else ""
    yield f"Bands: 95 % Wilson intervals{of_draws}."
    yield from _short(curves(report))


def _accuracy_by_task(report: ReportData) -> Iterator[str]:
    yield f"Questions answered correctly when k attention heads are {participle(report.configuration)}, task by task."
    tasks, names = list(report.data.tasks), [curve.experiment for curve in curves(report)]
    for curve in [each for each in _alone(curves(report)) if names.count(each.experiment) == 1]:
        k = curve.points[-1].k
        found = [
            (point.accuracy, task)
            for task in tasks
            for own in curves(report, {task})
            if own.experiment == curve.experiment and (point := own.at(k)) is not None and point.accuracy is not None
        ]
        if found:
            (low, worst), (high, best) = min(found), max(found)
            yield f"{curve.experiment}, k = {k}: from {percent(low)} ({worst}) to {percent(high)} ({best})."
    yield f"n is the number of questions of a task, {_n_tasks(report)}."


def _retrieval_against_random(report: ReportData) -> Iterator[str]:
    yield "Accuracy without an experiment's heads (colour), and without as many random ones (grey)."
    yield from _levels(report)
    yield from _curves(report)
    draws = sum(curve.experiment == RANDOM for curve in curves(report))
    yield f"Grey points: the {counted(draws, 'draw')}; coloured bands: 95 % Wilson intervals."
    yield from _short(curves(report))


def _forest(report: ReportData) -> Iterator[str]:
    yield "The drop in accuracy beyond that by as many random heads, in points; 95 % intervals over filings and draws."
    verdicts = {(gate.experiment, gate.k): gate.verdict for gate in report.gates}
    for _, group in groupby(report.contrasts, key=lambda each: each.experiment):
        last = list(group)[-1]
        verdict = verdicts.get((last.experiment, last.k))
        judged = "" if verdict is None else f", judged: {verdict}"
        difference = f"{points(last.difference)} {points_between(last.interval)}"
        yield f"{last.experiment}, k = {last.k}{_fewer(last.k, *last.k_effective)}: {difference}{judged}."
    yield "Grey: the difference from each single draw."
    if report.gates:
        yield "Dashed: what a gate asks for."


def _head_map(report: ReportData) -> Iterator[str]:
    model, ranking = report.model, report.ranking
    if model is None or ranking is None:
        return
    method = (ranking.method or "score").replace("_", " ")
    yield (
        f"Mean {method} over {counted(len(ranking.tasks), 'task')} of the {model.n_layers * model.n_heads} heads "
        f"({model.n_layers} layers of {model.n_heads}), on a square-root scale."
    )
    if ranking.global_heads:
        best = ", ".join(f"L{layer}H{head} ({score:.3g})" for layer, head, score in ranking.global_heads[:3])
        yield f"Over all rows the highest are {best}."
    if report.conditions:
        yield f"Marked: the heads that experiments {participle(report.configuration)} at their largest k."
    if ranking.mean_scores is None:
        yield "Hatched: heads on no task's list, whose scores are unknown."


def _transfer_map(report: ReportData) -> Iterator[str]:
    done = participle(report.configuration)
    yield f"Accuracy left on a task (columns) when the top k heads of another (rows) are {done}, in per cent."
    cells = {pair: cell.accuracy for pair, cell in transfer_cells(report).items() if cell.accuracy is not None}
    for k in sorted({k for _, _, k in cells}):
        own = [accuracy for (source, target, at), accuracy in cells.items() if at == k and source == target]
        others = [accuracy for (source, target, at), accuracy in cells.items() if at == k and source != target]
        if own and others:
            means = [percent(sum(values) / len(values)) for values in (own, others)]
            yield f"k = {k}: {means[0]} in the mean without a task's own heads, {means[1]} without another's."
    yield "Framed: a task's own heads. Where there is one square, it is of the largest k."


CAPTIONS: Mapping[str, Callable[[ReportData], Iterator[str]]] = MappingProxyType(
    {
        "accuracy_by_k": _accuracy_by_k,
        "accuracy_by_task": _accuracy_by_task,
        "retrieval_against_random": _retrieval_against_random,
        "forest": _forest,
        "head_map": _head_map,
        "transfer_map": _transfer_map,
    }
)
"""By the figure's file name."""


def _levels(report: ReportData) -> Iterator[str]:
    words = {"baseline": "The untouched model answers", "needle_absent": "With the needle left out it answers"}
    for name, answers in words.items():
        found = level(report, name)
        if found is not None and found.accuracy is not None:
            yield f"{answers} {_level(found)}."


def _curves(report: ReportData) -> Iterator[str]:
    """Of every curve its last point, and of several draws their mean and range there."""
    every = curves(report)
    for curve in _alone(every):
        draws = [other for other in every if other.experiment == curve.experiment]
        if len(draws) > 1:
            last = envelope(draws)[-1]
            mean, ends = percent(last.mean), f"{percent(last.low)} to {percent(last.high)}"
            yield f"{curve.experiment}, k = {last.k}: {mean} in the mean of {last.n_draws} draws ({ends})."
        else:
            point = curve.points[-1]
            yield f"{curve.experiment}, k = {point.k}{_fewer(point.k, point.fewest, point.most)}: {_level(point)}."


def _alone(every: Sequence[Curve]) -> list[Curve]:
    """The first curve of each experiment that has any answer."""
    first = {curve.experiment: curve for curve in reversed(every) if any(point.n for point in curve.points)}
    return [first[name] for name in dict.fromkeys(curve.experiment for curve in every) if name in first]


def _level(found: Level) -> str:
    if found.accuracy is None or found.interval is None:
        return "unknown"
    ends = " to ".join(percent(end) for end in (found.interval.low, found.interval.high))
    return f"{percent(found.accuracy)} ({found.matches} of {found.n}; {ends})"


def _fewer(k: int | None, fewest: int, most: int) -> str:
    return "" if fewest == k else f" ({span(fewest, most)} heads)"


def _short(every: Sequence[Curve]) -> Iterator[str]:
    if any(point.is_short for curve in every for point in curve.points):
        yield "Hollow marks: fewer than k heads, their number beside."


def _n_tasks(report: ReportData) -> str:
    rows = [task.rows for task in report.data.tasks.values()]
    return span(min(rows), max(rows))

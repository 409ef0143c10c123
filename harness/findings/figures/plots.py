"""The figures of a report, drawn from `report.json` alone and saved as files.

What a report does not hold is not drawn. Knows nothing of how a figure looks (`curve_plots`, `forest_plot`,
`map_plots`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from matplotlib.figure import Figure

from harness.errors import ReportError
from harness.findings.figures.curve_plots import accuracy_by_k, accuracy_by_task, forest, retrieval_against_random
from harness.findings.figures.map_plots import head_map, transfer_map
from harness.findings.figures.plot_style import house_style, save
from harness.findings.report.report_data import ReportData

Format = Literal["png", "svg", "pdf"]

FIGURES: Mapping[str, Callable[[ReportData], Figure | None]] = MappingProxyType(
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
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Path, ...]:
    """Draw every figure that the report has data for into the folder, which is made; return their paths.

    Between two figures `stopped` is asked whether to leave out the rest.

    Raises ReportError, which names the figures that are missing and why, where one cannot be drawn or written; the
    others are there.
    """
    paths: list[Path] = []
    missing: dict[str, str] = {}
    with house_style():
        for name, draw in FIGURES.items():
            if stopped():
                missing[name] = "interrupted"
                continue
            try:
                paths += _draw(draw(report), folder / name, formats)
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


def _draw(figure: Figure | None, stem: Path, formats: Sequence[Format]) -> Iterator[Path]:
    """The figure's files, saved one after the other."""
    if figure is None:
        return
    stem.parent.mkdir(parents=True, exist_ok=True)
    for ending in formats:
        path = stem.with_name(f"{stem.name}.{ending}")
        save(figure, path)
        yield path

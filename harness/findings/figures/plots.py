"""The figures of a report, drawn from `report.json` alone and saved as files.

What a report does not hold is not drawn. Knows nothing of how a figure looks (`curve_plots`, `forest_plot`,
`map_plots`).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from matplotlib.figure import Figure

from harness.errors import ReportError
from harness.findings.figures.curve_plots import accuracy_by_k, accuracy_by_task, retrieval_against_random
from harness.findings.figures.forest_plot import forest
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


def draw_plots(report: ReportData, folder: Path, *, formats: Sequence[Format] = ("png", "svg")) -> tuple[Path, ...]:
    """Draw every figure that the report has data for into the folder, which is made; return their paths.

    Raises ReportError where the folder cannot be written.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with house_style():
            for name, draw in FIGURES.items():
                figure = draw(report)
                if figure is None:
                    continue
                for ending in formats:
                    paths.append(folder / f"{name}.{ending}")
                    save(figure, paths[-1])
    except OSError as error:
        raise ReportError(
            f"{folder}: the plots cannot be written ({error.strerror or error}); expected room in a folder "
            "that can be written; the report stands: draw them again with `retrieval-heads plot`"
        ) from error
    return tuple(paths)

"""What a study leaves to look at beside its report: tables, figures, what its rows asked, and the page.

All of it is made of the report, its samples and its rows, and can be made again; knows nothing of pytest.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import ReportError
from harness.files import is_file
from harness.findings.figures.drawing_process import DrawingProcess
from harness.findings.page.page_data import page_data
from harness.findings.page.page_writing import read_figures, write_page
from harness.findings.report.markdown_summary import write_markdown
from harness.findings.report.report_data import ReportData
from harness.findings.report.report_files import PAGE_FILE, PLOTS, REPORT_FILE, ROWS_FILE
from harness.findings.report.row_texts import RowText, row_text, write_row_texts
from harness.findings.report.tables import export_csv
from harness.findings.samples import Sample
from harness.retrieval.placement import place_needle
from harness.study.memory import Memory
from harness.study.run import Run


def row_texts(run: Run) -> tuple[RowText, ...]:
    """What each row asked, as the model was given it; none where the settings leave texts out of the report."""
    inputs, settings = run.inputs, run.inputs.settings
    if settings.no_texts:
        return ()
    return tuple(
        row_text(
            row,
            inputs.tasks[row.task].question,
            place_needle(row, depth=inputs.prompts.placed_depth(row), insertion=settings.insertion),
        )
        for row in inputs.rows
    )


def write_to_look_at(
    report: ReportData,
    samples: Sequence[Sample],
    texts: Sequence[RowText],
    folder: Path,
    *,
    memory: Memory,
    drawing: DrawingProcess | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Write tables, figures, `rows.jsonl`, `summary.md` and the page beside the report, which is written already.

    Figures that `memory` knows to be there, of an equal report, are not drawn again; others by `drawing`, or here.

    Without texts there is no `rows.jsonl`, and one of an earlier run goes: its rows may be others.

    Where figures are missing, as they are once `stopped` says so, there is no page, nor one of an earlier run.

    Raises ReportError where something cannot be written.
    """
    if texts:
        write_row_texts(texts, folder)
    else:
        (folder / ROWS_FILE).unlink(missing_ok=True)
    write_markdown(report, folder)
    export_csv(report, folder / PLOTS)
    try:
        drawn = _figures(report, folder / PLOTS, memory, stopped, drawing)
    except ReportError as error:
        (folder / PAGE_FILE).unlink(missing_ok=True)
        raise ReportError(
            f"{error}; without them there is no {PAGE_FILE}, which `retrieval-heads show` writes"
        ) from None
    write_page(report, page_data(report, samples, texts), folder, read_figures(drawn))


_OF_ONE_SESSION = frozenset({"started", "seconds", "commit", "command", "rows_from", "rows_to", "notices"})
"""What a report says of its run that no figure shows."""


def _figures(
    report: ReportData,
    folder: Path,
    memory: Memory,
    stopped: Callable[[], bool],
    drawing: DrawingProcess | None = None,
) -> tuple[Path, ...]:
    """The figures' files, drawn now or as they were left by an equal report."""
    shown = report.model_dump_json(exclude={"run": set(_OF_ONE_SESSION)})
    name = hashlib.sha256(f"{folder.resolve()}\n{shown}".encode()).hexdigest()
    if memory.knows("figures", name):
        left: dict[str, Any] = memory.recall("figures", name, lambda: {})
        if all(_content(folder / file) == content for file, content in left.items()):
            return tuple(folder / file for file in left)

    drawn = None if drawing is None or stopped() else drawing.draw(folder.with_name(REPORT_FILE), folder)
    if drawn is None:
        from harness.findings.figures import plots

        drawn = plots.draw_plots(report, folder, stopped=stopped)
    memory.note("figures", name, {file.name: _content(file) for file in drawn})
    return drawn


def _content(file: Path) -> str | None:
    """A hash of what is in a file; `None` where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if is_file(file) else None

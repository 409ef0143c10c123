"""What is done with a report: `show` its page, `plot` its figures, `export` its tables; `schema`; published counts."""

import argparse
import json
import math
import re
import shlex
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from harness import __version__
from harness.commands.console import Apart, Command, Needs, model_shape, show
from harness.errors import SettingsError, plain
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import HeadRanking
from harness.findings.published.result_files import read_published
from harness.findings.report.report_files import INSPECT_FILE, PAGE_FILE, PLOTS, REPORT_FILE, SAMPLES_FILE
from harness.settings import Settings

if TYPE_CHECKING:  # `--help` loads no pandas, and parsing writes no reports
    from harness.findings.report.reading import Report
    from harness.findings.report.report_writing import Setup

UNITS = {"in": 1.0, "mm": 1 / 25.4, "cm": 1 / 2.54, "pt": 1 / 72}
"""In inches."""
LEAST_WIDTH, MOST_WIDTH = 2.5, 20.0
"""Of a figure, in inches: below, its letters have no room."""


def _add_show_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or its folder")
    parser.add_argument("--anew", action="store_true", help="write the page anew first; so is one of another report")
    parser.add_argument("--no-browser", action="store_true", help="say where the page is, and open nothing")
    parser.add_argument("--text", action="store_true", help="print the summary that ended the run, and no page")


def _run_show(arguments: argparse.Namespace) -> None:
    """Open it, written first where it is not there or of another report; or its summary as text."""
    from harness.findings.page.page_writing import is_page_of
    from harness.findings.report.reading import load
    from harness.findings.report.summary import report_lines

    report = load(arguments.report)
    if arguments.text:
        show(line for _, line in report_lines(report.data))
        return
    page = report.path.with_name(PAGE_FILE)
    if arguments.anew or not is_page_of(page, report.data):
        _write(report)
    show([str(page)])
    if not arguments.no_browser:
        webbrowser.open(page.resolve().as_uri())


def _write(report: "Report") -> None:
    """Write the page, with samples and texts where they lie beside the report."""
    from harness.findings.figures.plots import draw_plots
    from harness.findings.page.page_data import page_data
    from harness.findings.page.page_writing import read_figures, write_page
    from harness.findings.report.row_texts import read_row_texts

    path = report.path
    samples = report.sample_lines() if path.with_name(SAMPLES_FILE).exists() else ()
    with tempfile.TemporaryDirectory() as folder:
        figures = tuple(read_figures(draw_plots(report.data, Path(folder), formats=("svg",))))
    write_page(report.data, page_data(report.data, samples, read_row_texts(path.parent)), path.parent, figures)


def _add_plot_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or its folder")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"default: {PLOTS} beside the report")
    parser.add_argument("--format", default="png,svg", metavar="NAMES", help="png, svg, pdf (default: %(default)s)")
    parser.add_argument(
        "--width",
        type=_inches,
        metavar="WIDTH",
        help="of every figure, as in 3.3in or 84mm: for a paper, with smaller letters and without a heading",
    )
    parser.add_argument(
        "--experiments", metavar="NAMES", help="these alone, commas between, beside the untouched model (default: all)"
    )


def _inches(text: str) -> float:
    """A width in inches, from a number with its unit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(in|mm|cm|pt)", text.strip())
    width = float(found[1]) * UNITS[found[2]] if found else math.nan
    if not LEAST_WIDTH <= width <= MOST_WIDTH:
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected a width from {LEAST_WIDTH:g} to {MOST_WIDTH:g} inches, as in 3.3in, 84mm or 240pt"
        )
    return width


def _run_plot(arguments: argparse.Namespace) -> None:
    """Draw every figure that the report has data for, and write beside each what it shows."""
    from harness.findings.figures.plots import Format, draw_plots, of_experiments
    from harness.findings.report.reading import load

    known: tuple[Format, ...] = get_args(Format)
    asked = [name.strip() for name in arguments.format.split(",")]
    if not set(asked) <= set(known):
        raise SettingsError(f"--format: {arguments.format!r}; expected one or more of {','.join(known)}")
    report = load(arguments.report)
    folder = arguments.out or report.path.with_name(PLOTS)
    data = report.data
    if arguments.experiments is not None:
        data = of_experiments(data, [name.strip() for name in arguments.experiments.split(",")])
    formats = [name for name in known if name in asked]
    paths = draw_plots(data, folder, formats=formats, width=arguments.width, captions=True)
    show([f"wrote {path}" for path in paths] or [f"{report.path}: nothing to draw"])


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or its folder")
    parser.add_argument(
        "--csv",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="FOLDER",
        help=f"its tables as CSV files into this folder (default: {PLOTS} beside the report)",
    )
    parser.add_argument(
        "--inspect",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="FILE",
        help=f"its samples as a log that `inspect view` opens (default: {INSPECT_FILE} beside the report); needs the "
        "extra inspect",
    )


def _run_export(arguments: argparse.Namespace) -> None:
    """Write a report's tables, its samples as a log, or both."""
    from harness.findings.report.inspect_log import check_inspect, inspect_log, write_inspect_log
    from harness.findings.report.reading import load
    from harness.findings.report.row_texts import read_row_texts
    from harness.findings.report.tables import export_csv

    if arguments.csv is None and arguments.inspect is None:
        raise SettingsError("export: nothing to write; expected --csv, --inspect, or both")
    if arguments.inspect is not None:
        check_inspect("--inspect")
    report = load(arguments.report)
    if arguments.csv is not None:
        folder = report.path.with_name(PLOTS) if arguments.csv == Path() else arguments.csv
        show(f"wrote {path}" for path in export_csv(report.data, folder))
    if arguments.inspect is not None:
        file = report.path.with_name(INSPECT_FILE) if arguments.inspect == Path() else arguments.inspect
        write_inspect_log(inspect_log(report.data, report.sample_lines(), read_row_texts(report.path.parent)), file)
        show([f"wrote {file}"])


def _add_published_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="result files of the EDGAR haystack studies, found by content",
    )
    parser.add_argument(
        "--heads", type=Path, metavar="FILE", help="the ranking behind them (default: the one that fits)"
    )
    parser.add_argument("--model", metavar="NAME", help="the model that was asked, with its --model-shape")
    parser.add_argument("--model-shape", type=model_shape, metavar="L,H", help="its layers and heads a layer")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help=f"where the report goes (default: DIR's name in {Settings().reports})",
    )


def _run_published(arguments: argparse.Namespace) -> None:
    """Write report, tables and figures; show the summary and what the files cannot support."""
    from harness.findings.figures.plots import draw_plots
    from harness.findings.published.published_report import fitting_ranking, limit_lines, published_report
    from harness.findings.published.sample_files import read_samples, samples_report, scoring_lines
    from harness.findings.report.report_writing import write_report
    from harness.findings.report.summary import summary_lines
    from harness.findings.report.tables import export_csv

    folder: Path = arguments.folder
    found, notes = read_samples(folder), []
    if found is not None and arguments.heads is not None:
        raise SettingsError("--heads: given with samples, which do not say of which ranking they are; leave it out")
    if found is not None:
        left_out, samples = found.left_out, found.samples
        report = samples_report(_setup(arguments, found.files, None, "value"), found)
        notes = [*scoring_lines(found)]
    else:
        results = read_published(folder)
        ranking = fitting_ranking(results) if arguments.heads is None else read_ranking(arguments.heads)
        left_out, samples = results.left_out, ()
        report = published_report(_setup(arguments, results.files, ranking, "published"), results)
        notes = [*limit_lines(report)]
    out = arguments.out or Settings().reports / folder.resolve().name
    report = write_report(report, samples, out)
    draw_plots(report, out / PLOTS)
    export_csv(report, out / PLOTS)
    show(summary_lines(report))
    show(notes)
    if left_out:
        show([f"left out, in no known format: {', '.join(left_out)}"])
    show([f"report: {out / REPORT_FILE}"])


def _setup(arguments: argparse.Namespace, files: Sequence[str], ranking: HeadRanking | None, scorer: str) -> "Setup":
    from harness.findings.report.report_data import DataInfo, ModelSection, RunInfo
    from harness.findings.report.report_writing import Setup

    shape: ModelShape | None = arguments.model_shape
    if shape is not None and ranking is not None:
        ranking.check_shape(shape)
    return Setup(
        run=RunInfo(
            name=plain(arguments.folder.resolve().name),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=0.0,
            exit="passed",
            command=plain(shlex.join(["retrieval-heads", *sys.argv[1:]])),
        ),
        configuration={"files": list(files), "scorer": scorer},
        versions={"harness": __version__},
        model=None
        if shape is None
        else ModelSection(id=plain(arguments.model), n_layers=shape.n_layers, n_heads=shape.n_heads),
        ranking=ranking,
        data=DataInfo(source=plain(str(arguments.folder))),
    )


def _add_schema_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--samples", action="store_true", help="of a line of samples.jsonl instead")


def _run_schema(arguments: argparse.Namespace) -> None:
    """Print it, with what every field means."""
    from harness.findings.report.report_data import ReportData
    from harness.findings.samples import Sample

    model = Sample if arguments.samples else ReportData
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    show(json.dumps(draft | model.model_json_schema(), ensure_ascii=False, indent=1).splitlines())


SHOW = Command(
    "open the page of a report in a browser",
    _add_show_arguments,
    _run_show,
    (Apart(("anew", "no-browser"), "text", "text comes without a page"),),
)
PLOT = Command("draw the figures of a report", _add_plot_arguments, _run_plot)
EXPORT = Command("write the tables of a report", _add_export_arguments, _run_export)
PUBLISHED = Command(
    "make a report of published result files",
    _add_published_arguments,
    _run_published,
    (Needs(("model",), "model-shape"), Needs(("model-shape",), "model")),
)
SCHEMA = Command("print the JSON Schema of report.json", _add_schema_arguments, _run_schema)

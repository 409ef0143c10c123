"""`report-published`: published result files as a report, with intervals, and what they cannot support."""

import argparse
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import __version__
from harness.commands.arguments import model_shape
from harness.commands.output import show
from harness.errors import SettingsError
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import HeadRanking
from harness.findings.published.result_files import PublishedResults, read_published
from harness.findings.report.report_files import PLOTS, REPORT_FILE
from harness.plain_text import plain
from harness.settings import Settings

if TYPE_CHECKING:  # parsing does not write reports
    from harness.findings.report.report_writing import Setup

HELP = "make a report of published result files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="result files of the EDGAR haystack study's format, found by content"
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


def run(arguments: argparse.Namespace) -> None:
    """Write report, tables and figures; show the summary and what the files cannot support."""
    from harness.findings.figures.plots import draw_plots
    from harness.findings.published.published_report import fitting_ranking, limit_lines, published_report
    from harness.findings.report.report_writing import write_report
    from harness.findings.report.summary import summary_lines
    from harness.findings.report.tables import export_csv

    if (arguments.model is None) != (arguments.model_shape is None):
        raise SettingsError("--model and --model-shape: one of them alone; expected both or neither")
    folder: Path = arguments.folder
    results = read_published(folder)
    ranking = fitting_ranking(results) if arguments.heads is None else read_ranking(arguments.heads)
    report = published_report(_setup(arguments, results, ranking), results)
    out = arguments.out or Settings().reports / folder.resolve().name
    report = write_report(report, (), out)
    draw_plots(report, out / PLOTS)
    export_csv(report, out / PLOTS)
    show(summary_lines(report))
    show(limit_lines(report))
    if results.left_out:
        show([f"left out, in no known format: {', '.join(results.left_out)}"])
    show([f"report: {out / REPORT_FILE}"])


def _setup(arguments: argparse.Namespace, results: PublishedResults, ranking: HeadRanking | None) -> "Setup":
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
        configuration={"files": list(results.files), "scorer": "published"},
        versions={"harness": __version__},
        model=None
        if shape is None
        else ModelSection(id=plain(arguments.model), n_layers=shape.n_layers, n_heads=shape.n_heads),
        ranking=ranking,
        data=DataInfo(source=plain(str(arguments.folder))),
    )

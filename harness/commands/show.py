"""`show`: open the page of a report in a browser."""

import argparse
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.output import show
from harness.findings.report.report_files import PAGE_FILE, SAMPLES_FILE

if TYPE_CHECKING:  # `--help` loads no pandas
    from harness.findings.report.reading import Report

HELP = "open the page of a report in a browser"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or its folder")
    parser.add_argument(
        "--anew", action="store_true", help="write the page anew first; so is one older than its report"
    )
    parser.add_argument("--no-browser", action="store_true", help="say where the page is, and open nothing")


def run(arguments: argparse.Namespace) -> None:
    """Open it, written first where it is not there."""
    from harness.findings.report.reading import load

    report = load(arguments.report)
    page = report.path.with_name(PAGE_FILE)
    if arguments.anew or not page.is_file() or page.stat().st_mtime < report.path.stat().st_mtime:
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

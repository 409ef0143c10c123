"""`export`: write the tables of a report."""

import argparse
from pathlib import Path

from harness.commands.output import show
from harness.findings.report.report_files import PLOTS

HELP = "write the tables of a report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or its folder")
    parser.add_argument(
        "--csv",
        type=Path,
        nargs="?",
        const=None,
        required=True,
        metavar="FOLDER",
        help=f"as CSV files into this folder (default: {PLOTS} beside the report)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write a report's tables."""
    from harness.findings.report.reading import load
    from harness.findings.report.tables import export_csv

    report = load(arguments.report)
    show(f"wrote {path}" for path in export_csv(report.data, arguments.csv or report.path.with_name(PLOTS)))

"""`plot`: draw the figures of a report."""

import argparse
from pathlib import Path
from typing import get_args

from harness.commands.output import show
from harness.errors import SettingsError
from harness.findings.report.report_files import PLOTS

HELP = "draw the figures of a report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or its folder")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"default: {PLOTS} beside the report")
    parser.add_argument("--format", default="png,svg", metavar="NAMES", help="png, svg, pdf (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Draw every figure that the report has data for."""
    from harness.findings.figures.plots import Format, draw_plots
    from harness.findings.report.reading import load

    known: tuple[Format, ...] = get_args(Format)
    asked = arguments.format.split(",")
    if not set(asked) <= set(known):
        raise SettingsError(f"--format: {arguments.format!r}; expected one or more of {','.join(known)}")
    report = load(arguments.report)
    folder = arguments.out or report.path.with_name(PLOTS)
    paths = draw_plots(report.data, folder, formats=[name for name in known if name in asked])
    show([f"wrote {path}" for path in paths] or [f"{report.path}: nothing to draw"])

"""`heads`: show, check or convert a file of ranked heads."""

import argparse
from dataclasses import replace
from pathlib import Path

from harness.commands.arguments import model_shape
from harness.commands.output import show
from harness.experiment.head_files import read_ranking, write_ranking
from harness.experiment.heads import ModelShape
from harness.findings.ranking_summary import ranking_lines

HELP = "show, check or convert a file of ranked heads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="ranked heads, in any known format")
    parser.add_argument(
        "--model-shape",
        type=model_shape,
        metavar="L,H",
        help="layers and heads of the model that it should fit",
    )
    parser.add_argument("--convert", type=Path, metavar="OUT", help="write it in our own format")


def run(arguments: argparse.Namespace) -> None:
    """Show a head file; with a shape check it, with another file convert it."""
    ranking = read_ranking(arguments.file)
    shape: ModelShape | None = arguments.model_shape
    if shape is not None:
        ranking.check_shape(shape)
    show(ranking_lines(ranking, shape))
    if arguments.convert is not None:
        write_ranking(replace(ranking, model=ranking.model or shape), arguments.convert)
        show([f"wrote {arguments.convert}"])

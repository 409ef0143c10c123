"""`heads`: show, check, compare or convert a file of ranked heads."""

import argparse
from dataclasses import replace
from pathlib import Path

from harness.commands.arguments import model_shape, whole_number
from harness.commands.output import show
from harness.errors import SettingsError
from harness.experiment.head_files import read_ranking, write_ranking
from harness.experiment.heads import ModelShape
from harness.findings.rankings.ranking_comparison import agreement_lines
from harness.findings.rankings.ranking_summary import ranking_lines

HELP = "show, check, compare or convert a file of ranked heads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="ranked heads, in any known format")
    parser.add_argument(
        "--model-shape",
        type=model_shape,
        metavar="L,H",
        help="layers and heads of the model that it should fit",
    )
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        metavar="OTHER",
        help="instead, rank correlation and common heads with other files, as of other methods",
    )
    parser.add_argument(
        "--top-k",
        type=whole_number(1),
        metavar="N",
        help="with --against: compare the N best heads (default: as many as all files have for candidates)",
    )
    parser.add_argument("--convert", type=Path, metavar="OUT", help="write it in our own format")


def run(arguments: argparse.Namespace) -> None:
    """Show a head file, alone or against others; with a shape check it, with another file convert it."""
    if arguments.top_k is not None and not arguments.against:
        raise SettingsError("--top-k: got without --against; expected another file to compare with; name one")
    rankings = [read_ranking(path) for path in (arguments.file, *(arguments.against or ()))]
    shape: ModelShape | None = arguments.model_shape
    if shape is not None:
        for each in rankings:
            each.check_shape(shape)
    ranking, *others = (each.completed(shape) for each in rankings)
    lines = [*(agreement_lines([ranking, *others], top_k=arguments.top_k) if others else ranking_lines(ranking, shape))]
    if arguments.convert is not None:
        write_ranking(
            replace(ranking if shape is not None else rankings[0], model=ranking.model or shape), arguments.convert
        )
        lines.append(f"wrote {arguments.convert}")
    show(lines)

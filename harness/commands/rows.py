"""`rows`: write the demo's rows in the format for rows of one's own."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

from harness.commands.arguments import whole_number
from harness.commands.output import show
from harness.counting import counted
from harness.demo.filings import DEMO_FILINGS, DEMO_SEED, DEMO_SENTENCES, demo_rows
from harness.retrieval.rows import SplitName, write_rows

HELP = "write the demo's rows in the format for rows of one's own"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    number = whole_number(1)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .jsonl, .csv or .parquet file")
    parser.add_argument(
        "--filings", type=number, default=DEMO_FILINGS, metavar="N", help="filings (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        default=DEMO_SEED,
        metavar="S",
        help="their seed (default: %(default)s)",
    )
    parser.add_argument(
        "--sentences",
        type=number,
        default=DEMO_SENTENCES,
        metavar="N",
        help="sentences each (default: %(default)s)",
    )
    parser.add_argument(
        "--split",
        choices=get_args(SplitName),
        help="put every row on this side of the split (default: by hash)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Compose filings of the demo's world and write their rows."""
    rows = demo_rows(arguments.filings, seed=arguments.seed, n_sentences=arguments.sentences)
    write_rows([replace(row, split=arguments.split) for row in rows], arguments.out)
    show([f"wrote {arguments.out}: {counted(len(rows), 'row')} of {counted(arguments.filings, 'filing')}"])

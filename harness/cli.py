"""`retrieval-heads`, the command line: rank heads, look at head files, write rows, draw, export and compare reports.

Every command is a few lines over the functions that the plugin uses, and takes the plugin's options under
their own names. What a user gave wrongly ends in one line and exit code 2. Parsing and `--help` load neither
torch nor pandas or matplotlib.
"""

import argparse
import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from harness.commands.bench import BENCH
from harness.commands.compare import COMPARE, MERGE
from harness.commands.console import Command
from harness.commands.heads import EXPORT_CHECKPOINT, HEADS, IDENTIFY
from harness.commands.reports import EXPORT, PLOT, PUBLISHED, SCHEMA, SHOW
from harness.commands.rows import FILINGS, ROWS
from harness.commands.side_by_side import RANK_METHODS, WAYS_COMMAND
from harness.errors import HarnessError, memory_is_named

PROGRAM = "retrieval-heads"
EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 2, 130, 141


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "identify": IDENTIFY,
        "heads": HEADS,
        "rank-methods": RANK_METHODS,
        "export-checkpoint": EXPORT_CHECKPOINT,
        "rows": ROWS,
        "filings": FILINGS,
        "show": SHOW,
        "plot": PLOT,
        "export": EXPORT,
        "compare": COMPARE,
        "merge": MERGE,
        "ways": WAYS_COMMAND,
        "report-published": PUBLISHED,
        "schema": SCHEMA,
        "bench": BENCH,
    }
)
"""Every command, in the order of the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code; 2 for bad input, 130 after Ctrl-C, 141 for a closed pipe.

    Bad usage, and `--help`, end in argparse's SystemExit.
    """
    arguments = _parser().parse_args(argv)
    try:
        with memory_is_named():
            code: int | None = arguments.command(arguments)
        sys.stdout.flush()
    except HarnessError as error:
        print(f"{PROGRAM}: error: {_as_typed(str(error), arguments.options)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has enough; what is still buffered must not fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Attention heads that retrieve: rank them, and look at what ablating them did.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.help, description=f"{command.help[0].upper()}{command.help[1:]}.")
        command.add_all_arguments(one)
        one.set_defaults(command=command.run, options=frozenset(one._option_string_actions))
    return parser


def _as_typed(message: str, options: Collection[str]) -> str:
    """What tells of an option as pytest has it, as this command has it, if it does."""
    return re.sub(r"--ablation(-[a-z-]+)", lambda told: f"-{told[1]}" if f"-{told[1]}" in options else told[0], message)


if __name__ == "__main__":
    sys.exit(main())

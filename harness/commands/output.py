"""What a command prints: what was asked for on stdout, what is going on on stderr."""

import sys
from collections.abc import Iterable


def show(lines: Iterable[str]) -> None:
    """Print lines of what was asked for, on stdout."""
    for line in lines:
        print(line)


def say(line: str) -> None:
    """Print a line on what is going on, on stderr."""
    print(line, file=sys.stderr)

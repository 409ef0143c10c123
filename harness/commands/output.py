"""What a command prints: what was asked for on stdout, what is going on on stderr."""

import sys
from collections.abc import Iterable


def show(lines: Iterable[str]) -> None:
    """What was asked for."""
    for line in lines:
        print(line)


def say(line: str) -> None:
    """What is going on."""
    print(line, file=sys.stderr)

"""What a command prints: what was asked for on stdout, what is going on on stderr; nothing steers a terminal."""

import sys
from collections.abc import Iterable

from harness.plain_text import plain


def show(lines: Iterable[str]) -> None:
    """Print lines of what was asked for, on stdout."""
    for line in lines:
        print(plain(line))


def say(line: str) -> None:
    """Print a line on what is going on, on stderr."""
    print(plain(line), file=sys.stderr)

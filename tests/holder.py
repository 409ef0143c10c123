"""Another process that takes something and keeps it until its input ends or it is killed: a fake for tests."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KEEP = """
import sys
from pathlib import Path

def keep(*words):
    print(*words, flush=True)
    sys.stdin.read()

"""


@contextmanager
def holder(code: str, *arguments: object) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """The process, and what it said that it got: `code` finds its arguments in `sys.argv`, and ends in `keep(...)`."""
    with subprocess.Popen(
        [sys.executable, "-c", _KEEP + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()

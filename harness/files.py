"""Writing files whole: what is half-written never stands in a file's place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside this one to write to; what is there afterwards takes this one's place at once.

    After an error it is gone, and the old file stands as it was. The ending is the same.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

"""Claims: which process works on which row, by locks of the operating system.

A claim is an exclusive `flock` on a file named after the row, beside the store. It ends with the process that holds
it, however that dies, so that a killed worker's rows are free at once. Whoever holds a claim removes its file before
letting go; a killed process leaves an empty one, which the next claim on that row takes and removes. Knows nothing of
what is done under a claim.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import StoreError


@contextmanager
def try_claim(store: Path, row_id: str) -> Iterator[bool]:
    """Whether the row is the caller's while the context is open, among all that use this store; never waits.

    Raises:
        StoreError: the store's folder cannot be written, or its disk gives no locks.
    """
    path = store.with_name(f"{store.name}.{hashlib.sha256(row_id.encode()).hexdigest()[:32]}.claim")
    try:
        file = path.open("a")
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror}; expected a folder that can be written; name another store"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            raise StoreError(
                f"{path}: no file locks here ({error.strerror}); expected a local disk; name a store on one"
            ) from None
        if not _is_at(file.fileno(), path):  # its holder let go between the opening and the lock
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

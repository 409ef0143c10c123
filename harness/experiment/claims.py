"""Claims: which process works on which row, by locks of the operating system.

A claim is an exclusive `flock` on a file named after the row, beside the store. It ends with the process that holds
it, however that dies, so that a killed worker's rows are free at once. Knows nothing of what is done under a claim.
"""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import StoreError


class Claims:
    """Claims on the rows of one store, among all processes that use it on this machine."""

    def __init__(self, store: Path) -> None:
        self.folder = store.with_name(store.name + ".claims")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.folder}: {error.strerror}; expected a folder that can be written; name another store"
            ) from None

    @contextmanager
    def try_claim(self, row_id: str) -> Iterator[bool]:
        """Whether the row is this process's while the context is open; never waits.

        Raises StoreError where the disk gives no locks.
        """
        name = hashlib.sha256(row_id.encode()).hexdigest()[:32]
        with (self.folder / name).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError as error:
                raise StoreError(
                    f"{self.folder}: no file locks here ({error.strerror}); expected a local disk; name a store on one"
                ) from None
            yield True

"""Leases: which of a machine's GPUs a process has to itself, by locks of the operating system.

A lease is an exclusive `flock` on a file named after the GPU, in a folder that all processes of this machine agree on.
It ends with the process that holds it, however that dies. Only processes that lease are kept apart: it says nothing of
whoever uses a GPU without asking. Knows nothing of torch; which GPUs there are is said by whoever calls.
"""

import fcntl
import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.errors import SettingsError

FOLDER = Path(tempfile.gettempdir()) / "retrieval-heads-gpus"


def gpu_names(n_visible: int, visible: str | None) -> tuple[str, ...]:
    """What to call the GPUs that a process sees: by the entries of its CUDA_VISIBLE_DEVICES, else by their numbers.

    Two processes whose first GPU is another one lease different names.
    """
    entries = [entry.strip() for entry in (visible or "").split(",") if entry.strip()]
    return tuple(entries[:n_visible]) if len(entries) >= n_visible else tuple(map(str, range(n_visible)))


class Leases:
    """The GPUs that this process holds until it closes them, or ends."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._held = ExitStack()

    def take(self, names: Sequence[str], n: int) -> tuple[int, ...]:
        """Lease `n` of these GPUs, the first that are free; their places in `names`.

        Raises:
            SettingsError: fewer are free; then none is taken.
        """
        try:
            self._folder.mkdir(mode=0o777, parents=True, exist_ok=True)
            with ExitStack() as taken, (self._folder / "choosing").open("a") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)  # one process chooses at a time, so that two never hold half each
                places: list[int] = []
                for place, name in enumerate(names):
                    if len(places) < n and self._try(name, taken):
                        places.append(place)
                if len(places) < n:
                    raise SettingsError(
                        f"GPUs: {len(places)} of the {len(names)} visible ones are free; expected {n} for this process "
                        "alone; start fewer workers, as -n auto does, or end what holds the others"
                    )
                self._held.push(taken.pop_all())
        except OSError as error:
            raise SettingsError(
                f"GPUs: {self._folder}: {error.strerror}; expected a folder whose files can be locked; set TMPDIR to "
                "another"
            ) from None
        return tuple(places)

    def close(self) -> None:
        """Let go of all."""
        self._held.close()

    def _try(self, name: str, taken: ExitStack) -> bool:
        """Whether the GPU was free; it is held by `taken` then."""
        file = (self._folder / re.sub(r"[^A-Za-z0-9.-]", "_", name)).open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        taken.callback(file.close)
        return True

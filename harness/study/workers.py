"""Where a process of a session stands, and what a worker of several has to itself: GPUs that it leases, or its share of
the CPU's threads; and its end.

A GPU is leased by a lock, not by a worker's number: a killed worker's GPUs are free at once for the one that takes its
place, and two sessions on one machine keep apart. A device map that names a device is the user's own choice, and is
shared as it stands. Knows nothing of pytest.
"""

import os
import select
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from harness.experiment.locks import Leases
from harness.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a session this process stands: the session's id, and this worker's number among `workers`.

    `worker` is `None` for the main process, which alone reports. The session was started in the folder `typed_in`, by
    `command`, where that is known.
    """

    run_id: str
    worker: int | None = None
    workers: int = 1
    typed_in: Path | None = None
    command: str | None = None


LEASED = (None, "auto", "cuda")
"""Device maps that leave open which GPUs are used."""


def own_device_map(settings: Settings, leases: Leases) -> str | None:
    """The settings' device map, with GPUs of this worker's own where it leaves open which.

    Raises:
        SettingsError: too few GPUs are free.
    """
    from harness.model.loading.devices import visible_gpus

    if settings.device_map not in LEASED or not (names := visible_gpus()):
        return settings.device_map
    places = leases.take(names, gpus_per_model(settings, len(names)))
    return ",".join(f"cuda:{place}" for place in places)


def workers_that_fit(settings: Settings) -> int | None:
    """How many workers the visible GPUs serve; `None` where GPUs do not matter."""
    from harness.model.loading.devices import visible_gpus

    if settings.device_map not in LEASED or not (names := visible_gpus()):
        return None
    return max(1, len(names) // gpus_per_model(settings, len(names)))


def gpus_per_model(settings: Settings, n_visible: int) -> int:
    """As many as were asked for; else one, or all where the model is spread over them."""
    return settings.gpus or (n_visible if settings.device_map == "auto" else 1)


def share_threads(workers: int) -> None:
    """Take this worker's part of the CPU's threads."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // workers))


LOOK_SECONDS = 0.5
"""How often a system that cannot tell of a process's end is asked for it."""


def end_with_parent() -> None:
    """From now on, end this process at once when the one that started it is gone, however that died.

    A worker whose session was killed would otherwise work on for many seconds, and keep its GPUs and its rows from the
    next. Ending in the midst of anything is harmless: the store has whole rows, and locks end with their holder.
    """
    parent = os.getppid()

    def wait() -> None:
        try:
            watched = select.poll()
            watched.register(os.pidfd_open(parent), select.POLLIN)
            watched.poll()
        except (AttributeError, OSError):  # not Linux, or an old one
            while os.getppid() == parent:
                time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()

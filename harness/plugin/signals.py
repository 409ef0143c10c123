"""Ctrl-C and SIGTERM: both end a session with a report, and are held back while it writes what must not be lost.

Python raises KeyboardInterrupt between any two steps of a program, pytest's own last ones included, where nothing
catches it. Only the main thread hears signals; elsewhere nothing is held back. A terminal sends Ctrl-C to workers too;
SIGTERM, which may come to the main process alone, is handed on to them. Knows nothing of what is written.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import pytest

from harness.plugin.stash import SETTINGS, is_worker, workers_declared

TERMINABLE = pytest.StashKey[bool]()


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Hold back the first of these signals until what is done here is done; what is yielded says whether one came.

    A second one acts as it would have without this.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(number))]

    def hold(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    before = {number: signal.signal(number, hold) for number in heard}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def terminate_like_interrupt(config: pytest.Config) -> None:
    """SIGTERM ends a session as Ctrl-C does: with a report."""
    if not config.stash.get(TERMINABLE, False):
        config.stash[TERMINABLE] = True
        _on_sigterm(config, partial(_interrupt, config))


def heed_workers(config: pytest.Config) -> None:
    """The same in a process that cannot know, before it comes, whether its workers began a study.

    Where they did not, or somebody else minds the signal, it does what it always did.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        store = config.stash[SETTINGS].store
        if store is not None and workers_declared(config, store):
            _interrupt(config, number, frame)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        _on_sigterm(config, handle)


def _interrupt(config: pytest.Config, number: int, frame: FrameType | None) -> None:
    """As Ctrl-C. A worker hears it once: sent to all of a group, it comes from the main process as well."""
    if is_worker(config):
        signal.signal(number, signal.SIG_IGN)
    for process in _workers(config):
        process.terminate()
    signal.default_int_handler(number, frame)


def _workers(config: pytest.Config) -> "Iterator[subprocess.Popen[bytes]]":
    """The processes of xdist's workers, of those on this machine."""
    manager = getattr(config.pluginmanager.get_plugin("dsession"), "nodemanager", None)
    for gateway in getattr(manager, "group", ()):
        if gateway.spec.popen and (process := getattr(gateway._io, "popen", None)) is not None:
            yield process


def _on_sigterm(config: pytest.Config, handle: "Callable[[int, FrameType | None], object]") -> None:
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, handle)

        def restore() -> None:
            signal.signal(signal.SIGTERM, before)

        config.add_cleanup(restore)

"""Ctrl-C and SIGTERM held back while a session writes what must not be lost.

Python raises KeyboardInterrupt between any two steps of a program, pytest's own last ones included, where nothing
catches it. Only the main thread hears signals; elsewhere nothing is held back. Knows nothing of what is written.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


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

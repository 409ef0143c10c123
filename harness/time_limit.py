"""A limit to the time of a computation that somebody else wrote, such as a chat template.

What is counted is the time that this process computes, not how long it waits, so that a busy machine changes nothing.
Only the main thread can be interrupted; elsewhere there is no limit.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTimeError(Exception):
    """It took longer than it may."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in what is done here once it has computed for so long."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

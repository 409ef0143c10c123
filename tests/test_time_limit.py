"""What computes for too long is ended, and nothing else is changed."""

import signal
import threading
import time

import pytest

from harness.time_limit import OutOfTimeError, within


def compute(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass


def test_what_computes_too_long_is_ended() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(OutOfTimeError), within(0.05):
        compute(600)
    assert signal.getsignal(signal.SIGVTALRM) is before
    compute(0.1)  # the clock is stopped


def test_what_is_quick_or_only_waits_is_not() -> None:
    with within(0.2):
        time.sleep(0.3)
    with pytest.raises(ZeroDivisionError), within(10.0):
        raise ZeroDivisionError


def test_another_thread_is_not_limited() -> None:
    ended = []

    def run() -> None:
        with within(0.001):
            compute(0.05)
        ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended

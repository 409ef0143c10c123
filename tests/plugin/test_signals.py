"""Signals held back: the first waits, the second acts, and afterwards all is as before."""

import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from harness.plugin.signals import held_back, terminate_like_interrupt


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, as in a session with a study."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_waits(number: signal.Signals) -> None:
    with held_back() as came:
        assert not came()
        signal.raise_signal(number)
        assert came()
    assert signal.getsignal(number) is signal.default_int_handler


def test_the_second_acts() -> None:
    with held_back() as came:
        signal.raise_signal(signal.SIGTERM)
        assert came()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with held_back() as came:
        signal.raise_signal(signal.SIGTERM)
        assert not came()


def test_a_worker_hears_sigterm_once() -> None:
    """Sent to a group of processes, it comes to a worker again from the main one, in the midst of its end."""
    config: Any = SimpleNamespace(stash=pytest.Stash(), workerinput={}, add_cleanup=lambda _: None)
    config.pluginmanager = SimpleNamespace(get_plugin=lambda _: None)
    terminate_like_interrupt(config)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_another_thread_holds_nothing_back() -> None:
    found: list[bool] = []

    def work() -> None:
        with held_back() as came:
            found.append(came())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]

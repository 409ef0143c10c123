"""What a worker has to itself, on a machine of made-up GPUs."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from harness.errors import BusyError, SettingsError
from harness.experiment.locks import Leases
from harness.model.loading import devices
from harness.settings import Settings
from harness.study.workers import own_device_map, share_threads, workers_that_fit


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four GPUs."""
    monkeypatch.setattr(devices, "visible_gpus", lambda: ("4", "5", "6", "7"))


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[Callable[[], Leases]]:
    """One more worker's leases; all are let go of at the end."""
    made: list[Leases] = []

    def make() -> Leases:
        made.append(Leases(tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("settings", "maps"),
    [
        (Settings(), ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        (Settings(device_map="cuda"), ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        (Settings(gpus=2), ["cuda:0,cuda:1", "cuda:2,cuda:3"]),
        (Settings(gpus=3, device_map="auto"), ["cuda:0,cuda:1,cuda:2"]),
        (Settings(device_map="auto"), ["cuda:0,cuda:1,cuda:2,cuda:3"]),
    ],
)
def test_workers_have_different_gpus(settings: Settings, maps: list[str], leases: Callable[[], Leases]) -> None:
    assert [own_device_map(settings, leases()) for _ in maps] == maps
    assert workers_that_fit(settings) == len(maps)
    with pytest.raises(SettingsError, match="start fewer workers, as -n auto does"):
        own_device_map(settings, leases())


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("device_map", ["cpu", "cuda:1", '{"": 0}'])
def test_a_device_that_is_named_is_shared(device_map: str, leases: Callable[[], Leases]) -> None:
    settings = Settings(device_map=device_map)
    assert [own_device_map(settings, leases()) for _ in range(6)] == [device_map] * 6
    assert workers_that_fit(settings) is None


def test_without_gpus_nothing_is_leased(leases: Callable[[], Leases], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "visible_gpus", lambda: ())
    assert [own_device_map(Settings(), leases()) for _ in range(2)] == [None, None]
    assert workers_that_fit(Settings()) is None


@pytest.mark.usefixtures("four")
def test_who_holds_the_gpus_decides_whether_waiting_helps(tmp_path: Path) -> None:
    """Those of another session may be held for days; those of one's own work on the same rows."""
    ours, mine = Leases(tmp_path, session="one"), Leases(tmp_path, session="one")
    theirs = Leases(tmp_path, session="another")
    with contextlib.closing(ours), contextlib.closing(mine), contextlib.closing(theirs):
        assert own_device_map(Settings(gpus=2), theirs) == "cuda:0,cuda:1"
        assert own_device_map(Settings(gpus=2), ours) == "cuda:2,cuda:3"
        with pytest.raises(BusyError, match="0 of the 4 visible ones are free"):
            own_device_map(Settings(gpus=2), mine)
        with pytest.raises(SettingsError) as refused:
            own_device_map(Settings(gpus=3), mine)
        assert not isinstance(refused.value, BusyError)
        ours.close()
        assert own_device_map(Settings(gpus=2), mine) == "cuda:2,cuda:3"


@pytest.mark.usefixtures("four")
def test_more_gpus_than_there_are() -> None:
    assert workers_that_fit(Settings(gpus=8)) == 1


def test_threads_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    for workers in (1, 3, 99):
        share_threads(workers)
    assert taken == [8, 2, 1]

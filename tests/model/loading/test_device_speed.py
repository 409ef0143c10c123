"""How fast devices are, by a clock that is made up."""

import time

import pytest
import torch

from harness.model.loading import device_speed
from harness.model.loading.device_speed import measure_held_flops, measure_speed, relative_speeds


def test_speed_is_work_over_the_best_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 4.0, 6.0] * 2)
    monkeypatch.setattr(device_speed, "CPU_SIDE", 10)
    monkeypatch.setattr(device_speed, "CPU_BYTES", 500)
    monkeypatch.setattr(device_speed, "REPEATS", 2)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    speed = measure_speed(torch.device("cpu"), torch.float32)
    assert (speed.flops, speed.bandwidth) == (2 * 10**3 / 2.0, 2 * 500 / 2.0)


def test_what_is_held_is_counted_after_as_many_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of 100 operations in the first second, four in the two seconds that count."""
    products: list[int] = []
    clock = iter([0.0, 1.0, 1.0, 3.0])
    monkeypatch.setattr(device_speed, "_product", lambda *_: (lambda: products.append(1), 100.0))
    monkeypatch.setattr(device_speed, "_best", lambda *_: 0.5)
    monkeypatch.setattr(device_speed, "finish", lambda device: None)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert measure_held_flops(torch.device("cuda"), torch.float32) == 4 * 100 / 2.0
    assert len(products) == 8
    assert measure_held_flops(torch.device("cpu"), torch.float32) is None


def test_gpus_that_are_nearly_as_fast_count_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that cards of one kind get the same layers every time; the seconds of 100 operations are 1, 1.04 and 2."""
    monkeypatch.setattr(device_speed, "_product", lambda *_: (None, 100.0))
    monkeypatch.setattr(device_speed, "_best", lambda _, device: (1.0, 1.04, 2.0)[device.index])
    assert relative_speeds(range(3), torch.float32) == {0: 1.0, 1: 1.0, 2: 0.5}

"""A device's speed by a clock of our own."""

import time

import pytest
import torch

from harness.model.performance import ceilings
from harness.model.performance.ceilings import measure_speed


def test_speed_is_work_over_the_best_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 4.0, 6.0] * 2)
    monkeypatch.setattr(ceilings, "CPU_SIDE", 10)
    monkeypatch.setattr(ceilings, "CPU_BYTES", 500)
    monkeypatch.setattr(ceilings, "REPEATS", 2)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    speed = measure_speed(torch.device("cpu"), torch.float32)
    assert (speed.flops, speed.bandwidth) == (2 * 10**3 / 2.0, 2 * 500 / 2.0)

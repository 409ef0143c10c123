"""Peak memory, where the system can tell it."""

from pathlib import Path

import pytest
import torch

from harness.model.performance import peak_memory
from harness.model.performance.peak_memory import PeakMemory

MIB = 2**20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no Linux")
def test_what_was_held_and_let_go_counts() -> None:
    with PeakMemory(torch.device("cpu")) as before:
        pass
    with PeakMemory(torch.device("cpu")) as peak:
        held = torch.ones(64 * MIB // 4)
        del held
    with PeakMemory(torch.device("cpu")) as after:
        pass
    assert before.bytes is not None
    assert peak.bytes is not None
    assert after.bytes is not None
    assert peak.bytes - before.bytes > 60 * MIB
    assert peak.bytes - after.bytes > 60 * MIB


def test_elsewhere_it_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peak_memory, "_CLEAR_REFS", tmp_path / "none")
    with PeakMemory(torch.device("cpu")) as peak:
        pass
    assert peak.bytes is None

"""Estimates of what fits: bounds, not numbers."""

import pytest
import torch
from tiny_models import tiny_loaded

from harness.model.generation import memory
from harness.model.generation.memory import branches_that_fit, is_out_of_memory


@pytest.fixture(autouse=True)
def _plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CPU_BYTES", 2**32)


def test_longer_prompts_leave_room_for_fewer() -> None:
    loaded = tiny_loaded("llama")
    few, many = branches_that_fit(loaded, 10_000), branches_that_fit(loaded, 1_000)
    assert 1 <= few < many
    assert many == pytest.approx(10 * few, rel=0.1)


def test_eager_attention_takes_memory_of_the_length_squared() -> None:
    assert branches_that_fit(tiny_loaded("gemma2"), 10_000) < branches_that_fit(tiny_loaded("llama"), 10_000) / 10


def test_one_is_always_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CPU_BYTES", 1)
    assert branches_that_fit(tiny_loaded("llama"), 1_000) == 1


def test_keys_and_values_are_counted() -> None:
    """Of a tiny llama: 3 layers x keys and values x 2 key heads of width 8 x 4 bytes, twice."""
    loaded = tiny_loaded("llama")
    assert memory.CPU_BYTES / branches_that_fit(loaded, 1_000) > 1_000 * 2 * 3 * 2 * 2 * 8 * 4


def test_lack_of_memory_is_told_from_other_errors() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50, dtype=torch.float64)
    assert is_out_of_memory(error.value)
    assert not is_out_of_memory(RuntimeError("shapes differ"))

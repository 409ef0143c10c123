"""How much of a tree is held at once, by what layers compute and hold."""

import pytest
import torch
from tiny_models import HEAD_DIM, N_LAYERS, tiny_loaded

from harness.model.generation import room
from harness.model.generation.room import Room, busy_tokens, is_out_of_memory, room_for, room_of
from harness.model.loading.loaded_model import LoadedModel


@pytest.fixture(autouse=True)
def _plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CPU_BYTES", 2**32)
    monkeypatch.setattr(room, "CPU_HELD", 2**32)


def test_longer_prompts_leave_room_for_fewer() -> None:
    few, many = (room_of(tiny_loaded("llama"), n_tokens) for n_tokens in (10_000, 1_000))
    assert 1 <= few.nodes < many.nodes
    assert many.nodes == pytest.approx(10 * few.nodes, rel=0.1)
    assert many.rows == pytest.approx(10 * few.rows)
    assert many.hidden == few.hidden


def test_eager_attention_takes_memory_of_the_length_squared() -> None:
    gemma, llama = (room_of(tiny_loaded(model_type), 10_000) for model_type in ("gemma2", "llama"))
    assert gemma.nodes < llama.nodes / 10


def test_keys_and_values_are_counted() -> None:
    """Of a tiny llama: keys and values of 2 key heads of width 8 x 4 bytes, hidden states of width 24."""
    found = room_of(tiny_loaded("llama"), 1_000)
    assert found.rows == 2**32 / (1_000 * 2 * 2 * HEAD_DIM * 4)
    assert found.hidden == 24 / (2 * 2 * HEAD_DIM)


def test_one_condition_is_always_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CPU_BYTES", 1)
    monkeypatch.setattr(room, "CPU_HELD", 1)
    found = room_of(tiny_loaded("llama"), 1_000)
    assert (found.nodes, found.rows, found.is_least) == (1, N_LAYERS + found.hidden, True)


def test_where_one_node_is_too_much_a_prompt_is_fed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for a quarter of a node of 10,000 tokens: a quarter of the tokens, cut to buckets."""
    loaded = tiny_loaded("llama")
    whole = room_of(loaded, 10_000)
    assert whole.tokens is None
    node = 2**32 / whole.nodes
    monkeypatch.setattr(room, "CPU_BYTES", node / 4)
    assert room_of(loaded, 10_000).tokens is None, "a mask would be written out"
    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    found = room_of(loaded, 10_000)
    assert found.nodes == 1
    assert found.tokens == 2_048  # five of them; four would be more than fits
    assert found.hidden == whole.hidden
    monkeypatch.setattr(room, "CPU_BYTES", 1)
    assert room_of(loaded, 10_000).tokens == room.PIECE


def test_half_the_room_down_to_one_condition() -> None:
    four = room_for(tiny_loaded("llama"), 4)
    assert four == Room(4, 4 * (N_LAYERS + 1), 1, N_LAYERS + 1)
    assert four.halved() == room_for(tiny_loaded("llama"), 2)
    one = four.halved().halved()
    assert one.is_least
    assert one.halved() == one
    assert not Room(1, N_LAYERS + 2, 1, N_LAYERS + 1).is_least
    assert four.shared(2) == Room(4, 2 * (N_LAYERS + 1), 1, N_LAYERS + 1)


def test_a_gpu_is_busy_with_more_tokens_the_smaller_a_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds to start a layer, in which 2,000 operations can be done: two for each weight and token."""
    loaded = tiny_loaded("llama")
    assert busy_tokens(loaded) == 0, "nothing waits on a CPU"
    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    monkeypatch.setattr(room, "LAUNCH_SECONDS", 2)
    monkeypatch.setattr(room, "FULL_PACE", 1_000)
    weights = sum(
        parameter.numel() for name, parameter in loaded.model.model.layers[0].named_parameters() if "norm" not in name
    )
    assert busy_tokens(loaded) == 2 * 1_000 / (2 * weights)


def test_lack_of_memory_is_told_from_other_errors() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50, dtype=torch.float64)
    assert is_out_of_memory(error.value)
    assert not is_out_of_memory(RuntimeError("shapes differ"))

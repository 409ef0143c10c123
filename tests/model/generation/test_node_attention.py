"""Attention to nodes and to what is fed for each leaf, against torch's own over all of it."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from harness.model.generation import node_attention
from harness.model.generation.node_attention import Arrangement, HeldLayers, attend, bias_of, runs_of

Place = tuple[int, int, int]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def runs(places: list[Place], *, in_one: bool) -> list[tuple[int, slice, list[int], list[list[int]]]]:
    """Plainly; rows that stand in for others are -1."""
    found = runs_of(np.array(places), in_one=in_one)
    return [(run.memory, run.nodes, run.lengths.tolist(), np.where(run.own, run.rows, -1).tolist()) for run in found]


def test_nodes_of_as_many_rows_are_computed_together() -> None:
    places = [(0, node, 9) for node in [0, 0, 1, 1, 2, 4, 5, 5, 6]]
    assert runs(places, in_one=False) == [
        (0, slice(0, 2), [9, 9], [[0, 1], [2, 3]]),
        (0, slice(2, 3), [9], [[4]]),
        (0, slice(4, 5), [9], [[5]]),
        (0, slice(5, 6), [9], [[6, 7]]),
        (0, slice(6, 7), [9], [[8]]),
    ]
    places = [(0, 1, 9), (0, 1, 9), (0, 2, 9), (0, 4, 9)]
    assert runs(places, in_one=True) == [(0, slice(1, 5), [9, 9, 9, 9], [[0, 1], [2, -1], [-1, -1], [3, -1]])]


def test_nodes_of_other_memories_and_lengths_are_other_runs() -> None:
    """Unless all of a memory are one; rows come in any order."""
    places = [(1, 0, 9), (0, 2, 7), (0, 0, 9), (0, 1, 7)]
    assert runs(places, in_one=False) == [
        (0, slice(0, 1), [9], [[2]]),
        (0, slice(1, 3), [7, 7], [[3], [1]]),
        (1, slice(0, 1), [9], [[0]]),
    ]
    assert runs(places, in_one=True) == [
        (0, slice(0, 3), [9, 7, 7], [[2], [3], [1]]),
        (1, slice(0, 1), [9], [[0]]),
    ]


def test_what_a_few_nodes_have_more_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two and three rows where others have one; side by side they are a slice, else copied if that is little."""
    places = [(0, node, 9) for node in [0, 0, 0, 1, 2, 3, 3, 4, 5]]
    whole = (0, slice(0, 6), [9] * 6, [[0, 1, 2], [3, -1, -1], [4, -1, -1], [5, 6, -1], [7, -1, -1], [8, -1, -1]])
    assert runs(places, in_one=True) == [whole], "it is not worth it"
    monkeypatch.setattr(node_attention, "WORTH_ANOTHER_RUN", 71)
    assert runs(places, in_one=True) == [whole], "two nodes of 9 positions are to be copied"
    first, second = runs_of(np.array(places), in_one=True, spare=18)
    assert (first.nodes, first.rows.tolist(), first.copied) == (slice(0, 6), [[0], [3], [4], [5], [7], [8]], None)
    assert second.copied is not None
    assert (second.copied.tolist(), second.lengths.tolist()) == ([0, 3], [9, 9])
    assert np.where(second.own, second.rows, -1).tolist() == [[1, 2], [6, -1]]
    monkeypatch.setattr(node_attention, "WORTH_ANOTHER_RUN", 72)
    assert len(runs_of(np.array(places), in_one=True, spare=18)) == 1, "18 rows would be 10: 72 positions are saved"
    monkeypatch.setattr(node_attention, "WORTH_ANOTHER_RUN", 0)
    first, second = runs_of(np.array(places), in_one=True, spare=9)
    assert (first.rows.shape, second.rows.tolist()) == ((6, 2), [[2]]), "of one node there is room for a copy"
    monkeypatch.setattr(node_attention, "WORTH_ANOTHER_RUN", 72)
    alone = [(0, node, 9) for node in [1, 2, 2, 2, 2, 2, 3, 4]]
    assert runs(alone, in_one=True) == [
        (0, slice(1, 5), [9, 9, 9, 9], [[0], [1], [6], [7]]),
        (0, slice(2, 3), [9], [[2, 3, 4, 5]]),
    ]


class FirstLayer(torch.nn.Module):
    """All that is asked of a module."""

    layer_idx = 0


@pytest.mark.parametrize("shape", [(4, 4, 8), (8, 2, 16)], ids=str)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_two_parts_are_one_attention(
    shape: tuple[int, int, int], device: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against torch's own over all places with a mask, keys copied for each row and head; two tokens a row."""
    n_heads, key_heads, width = shape
    generator = torch.Generator().manual_seed(0)

    def drawn(rows: int, heads: int, places: int) -> torch.Tensor:
        return torch.randn(rows, heads, places, width, generator=generator, dtype=torch.float64).to(device, dtype)

    query, held_keys, held_values = drawn(4, n_heads, 2), 3 * drawn(3, key_heads, 30), drawn(3, key_heads, 30)
    key, value = drawn(4, key_heads, 16), drawn(4, key_heads, 16)
    known = torch.arange(16, device=device) <= torch.tensor([[4, 5], [0, 1], [8, 9], [4, 5]], device=device)[..., None]
    nodes = [1, 0, 1, 2]
    monkeypatch.setattr(node_attention, "WORTH_ANOTHER_RUN", 0)
    all_keys, all_values = (
        torch.cat([held[nodes], new], dim=2).double().repeat_interleave(n_heads // key_heads, dim=1)
        for held, new in ((held_keys, key), (held_values, value))
    )
    seen = torch.cat([torch.ones(4, 2, 30, dtype=torch.bool, device=device), known], dim=2)[:, None]
    expected = scaled_dot_product_attention(query.double(), all_keys, all_values, attn_mask=seen, scale=0.3)
    for in_one in (False, True):
        places = np.array([(0, node, 30) for node in nodes])
        arrangement = Arrangement(places, held_keys.device, dtype, in_one=in_one)
        held = HeldLayers([[arrangement.of([(held_keys, held_values)])]])
        attended, _ = attend(FirstLayer(), query, key, value, bias_of(known[:, None], dtype), scaling=0.3, held=held)
        tolerance = TOLERANCES[dtype]
        torch.testing.assert_close(attended.double(), expected.transpose(1, 2), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("worth", "few"), [(0, 0), (0, 32), (10**6, 0), (10**6, 32)])
def test_several_prompts_are_each_attended_to_as_far_as_they_go(
    device: str, dtype: torch.dtype, worth: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A front and two memories behind it: nodes of 30, 17 and 0 positions in one, of 5 in another; two tokens a row.

    Of the front's nodes two have more rows than the one between them.
    """
    monkeypatch.setattr(node_attention, "WORTH_ANOTHER_RUN", worth)
    monkeypatch.setattr(node_attention, "FEW", few)
    generator, n_heads, key_heads, width = torch.Generator().manual_seed(0), 8, 2, 16

    def drawn(rows: int, heads: int, places: int) -> torch.Tensor:
        return torch.randn(rows, heads, places, width, generator=generator, dtype=torch.float64).to(device, dtype)

    query, key, value = drawn(6, n_heads, 2), drawn(6, key_heads, 16), drawn(6, key_heads, 16)
    known = (torch.arange(16, device=device) <= torch.tensor([[0], [1]], device=device)).expand(6, 2, 16)
    front = [(3 * drawn(3, key_heads, 12), drawn(3, key_heads, 12))]
    own = [(3 * drawn(3, key_heads, 33), drawn(3, key_heads, 33)), (drawn(1, key_heads, 9), drawn(1, key_heads, 9))]
    of_front = [(0, node, 12) for node in [0, 0, 2, 2, 0, 1]]
    of_own = [(0, 0, 30), (0, 0, 30), (0, 1, 17), (0, 2, 0), (1, 0, 5), (1, 0, 5)]
    for in_one in (False, True):
        parts = [
            Arrangement(np.array(places), query.device, dtype, in_one=in_one, spare=99).of(memories)
            for places, memories in ((of_front, front), (of_own, own))
        ]
        bias = bias_of(known[:, None], dtype)
        attended, _ = attend(FirstLayer(), query, key, value, bias, scaling=0.3, held=HeldLayers([parts]))
        for row in range(6):
            held = [
                memories[memory][each][node, :, :length]
                for each in (0, 1)
                for (memory, node, length), memories in ((of_front[row], front), (of_own[row], own))
            ]
            all_keys, all_values = torch.cat([*held[:2], key[row]], dim=1), torch.cat([*held[2:], value[row]], dim=1)
            all_keys, all_values = (each.double().repeat_interleave(4, dim=0) for each in (all_keys, all_values))
            n_held = all_keys.shape[1] - 16
            seen = torch.cat([torch.ones(2, n_held, dtype=torch.bool, device=device), known[row]], dim=1)
            one = scaled_dot_product_attention(query[row].double(), all_keys, all_values, attn_mask=seen, scale=0.3)
            tolerance = TOLERANCES[dtype]
            torch.testing.assert_close(attended[row].double(), one.transpose(0, 1), rtol=tolerance, atol=tolerance)

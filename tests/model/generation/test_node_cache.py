"""Keys and values by node: against plain concatenation."""

import pytest
import torch

from harness.model.generation.node_cache import KeysKnownError, KeysOnlyLayer, NodeCache, NodeLayer, rewind


def states(rows: int, positions: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.rand(2, rows, 2, positions, 4, generator=generator)
    return keys, values


def test_what_is_written_is_held_in_order() -> None:
    layer = NodeLayer(7)
    first, second = states(3, 4), states(3, 3, seed=1)
    layer.update(*first)
    assert layer.get_seq_length() == 4
    assert layer.get_mask_sizes(3) == (7, 0)
    for held, one, other in zip(layer.update(*second), first, second, strict=True):
        assert torch.equal(held, torch.cat([one, other], dim=2))


def test_rewinding_forgets() -> None:
    layer = NodeLayer(9)
    first, second, third = states(2, 4), states(2, 3, seed=1), states(2, 2, seed=2)
    layer.update(*first)
    layer.update(*second)
    rewind([layer], 4)
    for held, one, other in zip(layer.update(*third), first, third, strict=True):
        assert torch.equal(held, torch.cat([one, other], dim=2))


def test_rows_share_memory_and_gathered_rows_do_not() -> None:
    layer = NodeLayer(6)
    first, second = states(3, 4), states(1, 2, seed=1)
    layer.update(*first)
    copied = NodeCache([layer]).gather([[2, 0, 2]]).node_layers[0]
    assert copied.capacity == 6
    layer.rows(slice(1, 2)).update(*second)
    assert layer.get_seq_length() == 4
    layer.length = 6
    assert layer.keys is not None
    assert torch.equal(layer.keys[1, :, 4:], second[0][0])
    more = states(3, 2, seed=2)
    for held, one, other in zip(copied.update(*more), first, more, strict=True):
        assert torch.equal(held, torch.cat([one[[2, 0, 2]], other], dim=2))


def test_gathering_nothing_held_leaves_room() -> None:
    layer = NodeLayer(3)
    layer.update(*states(2, 1))
    rewind([layer], 0)
    (keys, _) = layer.gather([1]).update(*states(1, 3, seed=1))
    assert torch.equal(keys, states(1, 3, seed=1)[0])


def test_a_pass_may_end_with_the_keys() -> None:
    kept = NodeLayer(3)
    with pytest.raises(KeysKnownError):
        KeysOnlyLayer(kept).update(*states(2, 2))
    assert kept.get_seq_length() == 2
    assert kept.buffers()[0].shape[0] == 2


def test_rows_may_be_written_some_at_a_time() -> None:
    """Room for all is made with the first; each part is written and read alone, and the whole holds all of them."""
    keys, values = states(3, 2)
    kept = NodeLayer(4)
    for rows in (slice(1, 3), slice(0, 1)):
        kept.some(rows, 3).update(keys[rows], values[rows])
    kept.length = 2
    assert torch.equal(kept.buffers()[0][:, :, :2], keys)
    assert torch.equal(kept.buffers()[1][:, :, :2], values)
    more = states(1, 1)
    seen, _ = kept.some(slice(2, 3), 3).update(*more)
    assert torch.equal(seen, torch.cat([keys[2:3], more[0]], dim=2))


def test_a_pass_that_ends_with_the_keys_writes_behind_what_is_held() -> None:
    held = NodeLayer(5)
    held.update(*states(2, 2))
    with pytest.raises(KeysKnownError):
        KeysOnlyLayer(held).update(*states(2, 1, seed=1))
    assert held.length == 3
    keys, values = held.buffers()
    for got, first, more in zip((keys, values), states(2, 2), states(2, 1, seed=1), strict=True):
        assert torch.equal(got[:, :, :3], torch.cat([first, more], dim=2))


def test_a_copy_may_have_another_room() -> None:
    layer = NodeLayer(3)
    layer.update(*states(2, 3))
    wider = layer.gather([1], capacity=5)
    assert (wider.capacity, wider.length, layer.capacity) == (5, 3, 3)
    (keys, _) = wider.update(*states(1, 2, seed=1))
    assert torch.equal(keys, torch.cat([states(2, 3)[0][[1]], states(1, 2, seed=1)[0]], dim=2))


def test_layers_may_be_replaced_in_a_cache() -> None:
    cache = NodeCache([NodeLayer(3), NodeLayer(3)])
    cache.node_layers[1] = NodeLayer(5)
    assert cache.layers[1] is cache.node_layers[1]
    assert not any(cache.is_sliding)

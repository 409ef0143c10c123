"""Layers dealt out over devices, against every way there is."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ModelError
from harness.model.loading.placement import SLACK, Parts, balanced


def runs(places: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(device, len(list(same))) for device, same in itertools.groupby(places)]


def times_and_bytes(parts: Parts, places: tuple[int, ...], n: int) -> tuple[list[float], list[float]]:
    work, held = [0.0] * n, [0.0] * n
    for place, seconds, weights in zip(places, parts.work, parts.layers, strict=True):
        work[place] += seconds
        held[place] += weights
    held[places[0]] += parts.before
    held[places[-1]] += parts.after
    return work, held


def test_equal_layers_are_dealt_out_evenly() -> None:
    parts = Parts((1.0,) * 8, 0.5, 0.5, (1.0,) * 8)
    assert runs(balanced(parts, (9, 9), (1, 1))) == [(0, 4), (1, 4)]
    assert runs(balanced(parts, (9, 9, 9, 9), (1, 1, 1, 1))) == [(0, 2), (1, 2), (2, 2), (3, 2)]


def test_a_faster_device_has_more() -> None:
    parts = Parts((1.0,) * 9, 0, 0, (1.0,) * 9)
    assert runs(balanced(parts, (99, 99), (2, 1))) == [(0, 6), (1, 3)]


def test_cheap_first_layers_leave_the_last_device_fewer() -> None:
    """6 layers of 1 and 2 of 3: 12 in all."""
    parts = Parts((1.0,) * 8, 0, 0, (1.0,) * 6 + (3.0,) * 2)
    assert runs(balanced(parts, (8, 8), (1, 1))) == [(0, 6), (1, 2)]


def test_where_memory_forbids_that_the_first_device_has_the_last_layers_too() -> None:
    """Room for four layers each: cut in the middle 4 and 12; in a ring 8 and 8."""
    parts = Parts((1.0,) * 8, 0, 0, (1.0,) * 4 + (3.0,) * 4)
    places = balanced(parts, (4, 4), (1, 1))
    assert runs(places) == [(0, 2), (1, 4), (0, 2)]
    assert times_and_bytes(parts, places, 2)[0] == [8, 8]


def test_embedding_and_head_take_room() -> None:
    parts = Parts((1.0,) * 4, 2.0, 0, (1.0,) * 4)
    assert runs(balanced(parts, (3, 3), (1, 1))) == [(0, 1), (1, 3)]


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ModelError, match=r"take 8\.0 GiB, and 2 GPUs have room for 7\.0"):
        balanced(Parts((2**30,) * 8, 0, 0, (1.0,) * 8), (3.5 * 2**30, 3.5 * 2**30), (1, 1))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_no_way_is_faster(data: st.DataObject) -> None:
    """Of all runs of layers in the devices' order, the first with or without the last layers too."""
    n_layers, n = data.draw(st.integers(2, 7)), data.draw(st.integers(2, 3))
    numbers = st.integers(1, 5).map(float)
    layers, work = (tuple(data.draw(numbers) for _ in range(n_layers)) for _ in range(2))
    parts = Parts(layers, data.draw(numbers), data.draw(numbers), work)
    room = [data.draw(st.integers(3, 25).map(float)) for _ in range(n)]
    slowest = []
    for cuts in itertools.combinations_with_replacement(range(n_layers + 1), n):
        starts = [0, *cuts]
        places = tuple(
            device
            for device, (start, end) in enumerate(zip(starts, [*cuts, n_layers], strict=True))
            for _ in range(start, end)
        )
        places = tuple(place % n for place in places)
        seconds, held = times_and_bytes(parts, places, n)
        if all(each <= most for each, most in zip(held, room, strict=True)):
            slowest.append(max(seconds))
    if not slowest:
        with pytest.raises(ModelError):
            balanced(parts, room, (1,) * n)
        return
    places = balanced(parts, room, (1,) * n)
    seconds, held = times_and_bytes(parts, places, n)
    assert all(each <= most for each, most in zip(held, room, strict=True))
    assert max(seconds) <= (1 + SLACK + 2e-3) * min(slowest)

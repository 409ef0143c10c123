"""A model on cards: by hand where it is small, and with what was measured where it is not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.choices import Nodes
from harness.experiment.cost import LayerSize, ModelSize
from harness.experiment.layout import USABLE, cut, lay_out, layer_bytes, outside_bytes, stage_bytes

GIB = 2**30
LAYER = LayerSize(attention=0, rest=3 * 2**10, width=2**10, cached=0, held=GIB)
SIZE = ModelSize((LAYER,) * 8, n_weights=8 * GIB + 2 * GIB, bytes_per_number=1.0)
"""Eight layers of a GiB, and two GiB outside."""
LLAMA_70B = ModelSize(
    (LayerSize(attention=83_886_080, rest=771_751_936, width=8192, cached=2048, held=855_654_400),) * 80,
    n_weights=70_553_706_496,
    bytes_per_number=2.0,
)


def test_the_ends_weigh_too() -> None:
    assert (layer_bytes(SIZE)[0], outside_bytes(SIZE)) == (GIB, 2 * GIB)
    assert cut(SIZE, 1) == (8,)
    assert cut(SIZE, 2) == (4, 4)
    # ten GiB: 0-1 outside, layers 1-9, 9-10 outside; thirds end at 3.33 and 6.67
    assert cut(SIZE, 3) == (2, 4, 2)
    assert stage_bytes(SIZE, (2, 4, 2)) == (3 * GIB, 4 * GIB, 3 * GIB)
    heavy = replace(SIZE, layers=(*(LAYER,) * 7, replace(LAYER, held=5 * GIB)), n_weights=14 * GIB)
    assert cut(heavy, 2) == (6, 2)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(0, 100), st.integers(1, 8))
def test_no_layer_is_lost_and_stages_are_about_as_heavy(held: list[int], outside: int, n: int) -> None:
    layers = tuple(replace(LAYER, held=each) for each in held)
    size = ModelSize(layers, n_weights=sum(held) + outside, bytes_per_number=2.0)
    found = cut(size, n)
    assert (len(found), sum(found)) == (n, len(held))
    weights = stage_bytes(size, found)
    assert sum(weights) == pytest.approx(size.weight_bytes)
    # a layer stands where its middle is, so no stage takes in more than half a layer at each of its ends
    assert max(weights) <= size.weight_bytes / n + 2 * max(held) + outside


def test_few_bits_are_in_layers_alone() -> None:
    size = replace(SIZE, n_quantized=8 * GIB, bytes_per_quantized=0.5)
    assert (layer_bytes(size)[0], outside_bytes(size)) == (GIB / 2, 2 * GIB)


def test_a_model_takes_as_few_cards_as_hold_it() -> None:
    whole = lay_out(SIZE, Nodes(1, 4, "X", 11), 10)
    assert whole is not None
    assert (whole.models, whole.layers, whole.stages, whole.in_flight) == (4, (8,), 1, 1)
    assert whole.left == pytest.approx(11 * GIB * USABLE - 10 * GIB)
    halves = lay_out(SIZE, Nodes(3, 5, "X", 6), 10)
    assert halves is not None
    assert (halves.models, halves.layers, halves.in_flight) == (6, (4, 4), 2)
    assert lay_out(SIZE, Nodes(1, 2, "X", 5), 10) is None
    assert lay_out(SIZE, Nodes(1, 4, "X", 6), 10, 1) is None
    asked = lay_out(SIZE, Nodes(1, 4, "X", 11), 10, 4)
    assert asked is not None
    assert (asked.models, asked.stages) == (1, 4)
    assert lay_out(SIZE, Nodes(1, 4, "X", 11), 10, 5) is None


def test_rows_in_flight_are_as_many_as_memory_holds() -> None:
    """Each keeps half a GiB on either card: 2 x 128 tokens of 4 MiB in 8 layers."""
    size = replace(SIZE, layers=(replace(LAYER, cached=2**19),) * 8)
    rows = {gb: lay_out(size, Nodes(1, 2, "X", gb), 128, 2) for gb in (5, 6, 7)}
    assert rows[5] is None
    assert [found.in_flight for found in rows.values() if found] == [1, 2]


def test_a_70b_on_cards_that_there_are() -> None:
    """One H200 holds it, measured: at most 137.3 of its 139.8 GiB were taken at 7,040 tokens. No H100 alone does."""
    assert outside_bytes(LLAMA_70B) == 2 * (2 * 128_256 * 8192 + 8192)
    assert lay_out(LLAMA_70B, Nodes(1, 8, "H200", 141), 7060) is not None
    h100 = lay_out(LLAMA_70B, Nodes(1, 8, "H100", 80), 7060)
    assert h100 is not None
    assert (h100.models, h100.layers, h100.in_flight) == (4, (40, 40), 2)
    a100 = lay_out(LLAMA_70B, Nodes(2, 4, "A100", 40), 7060)
    assert a100 is not None
    assert (a100.models, a100.layers) == (2, (19, 21, 21, 19))
    assert lay_out(LLAMA_70B, Nodes(1, 4, "L4", 24), 7060) is None

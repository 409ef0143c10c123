"""A model on cards: by hand where it is small, and with what was measured where it is not."""

from dataclasses import replace

import pytest

from harness.choices import Nodes
from harness.experiment.cost import LayerSize, ModelSize, layer_bytes, outside_bytes
from harness.study.layout import USABLE, lay_out

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
    """Three cards of four GiB hold ten: three layers on the first would be four GiB and leave no room for a row."""
    assert (layer_bytes(SIZE)[0], outside_bytes(SIZE)) == (GIB, 2 * GIB)
    found = lay_out(SIZE, Nodes(1, 3, "X", 5), 10)
    assert found is not None
    assert found.layers in {(3, 3, 2), (2, 3, 3)}
    tight = lay_out(SIZE, Nodes(1, 3, "X", 4), 1)
    assert tight is None, "98 % of four GiB are less than four"


def test_layers_in_which_more_is_done_are_dealt_out_by_that() -> None:
    found = lay_out(SIZE, Nodes(1, 2, "X", 9), 10, cards=2, work=[1, 1, 1, 1, 1, 1, 3, 3])
    assert found is not None
    assert found.layers == (6, 2)
    # six layers and an end are more than fits: the first card takes the first three layers, and the last
    found = lay_out(SIZE, Nodes(1, 2, "X", 7), 10, cards=2, work=[1, 1, 1, 1, 1, 1, 6, 6])
    assert found is not None
    assert found.layers == (4, 4)


def test_few_bits_are_in_layers_alone() -> None:
    size = replace(SIZE, n_quantized=8 * GIB, bytes_per_quantized=0.5)
    assert (layer_bytes(size)[0], outside_bytes(size)) == (GIB / 2, 2 * GIB)


def test_a_model_takes_as_few_cards_as_hold_it() -> None:
    whole = lay_out(SIZE, Nodes(1, 4, "X", 11), 10)
    assert whole is not None
    assert (whole.models, whole.layers, whole.cards, whole.in_flight) == (4, (8,), 1, 1)
    assert whole.left == pytest.approx(11 * GIB * USABLE - 10 * GIB)
    halves = lay_out(SIZE, Nodes(3, 5, "X", 6), 10)
    assert halves is not None
    assert (halves.models, halves.layers, halves.in_flight) == (6, (4, 4), 4)
    assert lay_out(SIZE, Nodes(1, 2, "X", 5), 10) is None
    assert lay_out(SIZE, Nodes(1, 4, "X", 6), 10, cards=1) is None
    asked = lay_out(SIZE, Nodes(1, 4, "X", 11), 10, cards=4)
    assert asked is not None
    assert (asked.models, asked.cards) == (1, 4)
    assert lay_out(SIZE, Nodes(1, 4, "X", 11), 10, cards=5) is None


def test_rows_in_flight_are_as_many_as_memory_holds() -> None:
    """Each keeps half a GiB on either card: 2 x 128 tokens of 4 MiB in 8 layers."""
    size = replace(SIZE, layers=(replace(LAYER, cached=2**19),) * 8)
    rows = {gb: lay_out(size, Nodes(1, 2, "X", gb), 128, cards=2) for gb in (5, 6, 7, 9)}
    assert rows[5] is None
    assert [found.in_flight for found in rows.values() if found] == [1, 3, 4]


def test_a_70b_on_cards_that_there_are() -> None:
    """One H200 holds it, measured: at most 137.3 of its 139.8 GiB were taken at 7,040 tokens. No H100 alone does."""
    assert outside_bytes(LLAMA_70B) == 2 * (2 * 128_256 * 8192 + 8192)
    assert lay_out(LLAMA_70B, Nodes(1, 8, "H200", 141), 7060) is not None
    h100 = lay_out(LLAMA_70B, Nodes(1, 8, "H100", 80), 7060)
    assert h100 is not None
    assert (h100.models, h100.layers, h100.in_flight) == (4, (40, 40), 4)
    a100 = lay_out(LLAMA_70B, Nodes(2, 4, "A100", 40), 7060)
    assert a100 is not None
    assert (a100.models, a100.layers) == (2, (20, 20, 20, 20))
    assert lay_out(LLAMA_70B, Nodes(1, 4, "L4", 24), 7060) is None

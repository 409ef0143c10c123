"""Heads: how they are written, read and ordered.

The one question that a blueprint answers by itself: whether a prompt fits.
"""

import pytest

from harness.errors import HeadsError, ModelError
from harness.experiment.heads import Head, check_window


def test_a_head_is_written_and_read_in_both_ways() -> None:
    assert str(Head(17, 29)) == "L17H29"
    assert Head.parse("L17H29") == Head.parse("17-29") == Head(17, 29)


@pytest.mark.parametrize("text", ["", "17", "L17", "17-29-3", "L-1H2", "l1h2", "17 - 29", "L1H2\n", "١-٢"])
def test_what_names_no_head_is_refused(text: str) -> None:
    with pytest.raises(HeadsError, match="expected layer and head"):
        Head.parse(text)


@pytest.mark.parametrize(("layer", "head"), [(-1, 0), (0, -1), (True, 0), (1.0, 0), ("1", 0)])
def test_a_head_is_made_of_two_integers_from_zero_up(layer: object, head: object) -> None:
    with pytest.raises(HeadsError, match="expected an integer from 0 up"):
        Head(layer, head)  # type: ignore[arg-type]  # what a careless caller does


def test_heads_are_ordered_by_layer_then_head() -> None:
    assert sorted([Head(1, 0), Head(0, 2), Head(0, 1)]) == [Head(0, 1), Head(0, 2), Head(1, 0)]


def test_window() -> None:
    check_window(640, "me", "a/b", 640)
    check_window(None, "me", "a/b", 10**9)
    with pytest.raises(
        ModelError, match=r"^a/b: 641 tokens, new ones included; expected at most 640, the window of me"
    ):
        check_window(640, "me", "a/b", 641)


@pytest.mark.parametrize("text", ["L" + "9" * 5000 + "H1", "1-" + "9" * 5000])
def test_a_number_of_thousands_of_digits_is_no_head(text: str) -> None:
    """Python's own limit of 4,300 digits once ended in advice to programmers."""
    with pytest.raises(HeadsError, match="expected layer and head as in"):
        Head.parse(text)

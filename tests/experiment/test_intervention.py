"""How heads are ablated: from which position on, and what tells one set of means from another."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import random_prompt

from harness.errors import DataError
from harness.experiment.intervention import ZEROED, Edges, Intervention, MeanValues, edges_of


def test_the_first_ablated_position() -> None:
    assert ZEROED.first_ablated(7) == 0
    assert Intervention(phase="decode").first_ablated(7) == 6
    assert Intervention(phase="decode").first_ablated(1) == 0
    assert Intervention(Edges((1, 2))).first_ablated(7) == 6


def test_means_are_told_apart_by_every_number_and_by_shape() -> None:
    vectors = np.arange(6.0).reshape(2, 3)
    first = MeanValues(vectors).sha256
    assert MeanValues(np.asfortranarray(vectors)).sha256 == first
    others = [vectors.reshape(3, 2), np.nextafter(vectors, 9), vectors[::-1]]
    assert len({first, *(MeanValues(each).sha256 for each in others)}) == 4


PROMPT = replace(random_prompt(20, needle=(5, 8)), document_start=0, document_end=15)


def test_edges_are_the_needles_or_others_of_the_document() -> None:
    """The first token is never among the others, nor is what stands after the document."""
    others = {1, 2, 3, 4, *range(8, 15)}
    assert edges_of(PROMPT, "needle_edge", seed=0) == Edges((5, 6, 7))
    assert edges_of(PROMPT, "mass_edge", seed=0) == Edges((5, 6, 7), tuple(sorted(others)))
    starts = set()
    for seed in range(60):
        drawn = edges_of(PROMPT, "other_edge", seed=seed)
        assert len(set(drawn.tokens)) == 3
        assert {*drawn.tokens} <= others
        assert not drawn.instead
        starts.add(drawn)
    assert len(starts) == len(others), "each may be the first"
    assert edges_of(PROMPT, "other_edge", seed=3) == edges_of(PROMPT, "other_edge", seed=3)


@pytest.mark.parametrize("mode", ["needle_edge", "other_edge", "mass_edge"])
def test_a_prompt_without_its_needle_has_no_edges(mode: str) -> None:
    absent = replace(PROMPT, needle_start=0, needle_end=0)
    assert edges_of(absent, mode, seed=0) == Edges(())  # type: ignore[arg-type]  # one of the modes


@pytest.mark.parametrize("mode", ["other_edge", "mass_edge"])
def test_a_document_that_is_all_needle(mode: str) -> None:
    short = replace(PROMPT, document_start=4, document_end=10)
    assert edges_of(replace(short, document_end=11), mode, seed=0).tokens  # type: ignore[arg-type]  # one of the modes
    with pytest.raises(DataError, match=r"filing0.htm/task: 2 tokens .* the needle's 4; expected at least as many"):
        edges_of(replace(short, needle_end=9), mode, seed=0)  # type: ignore[arg-type]  # one of the modes


def test_edges_are_told_apart() -> None:
    sets = [Edges(()), Edges((1,)), Edges((1, 2)), Edges((1,), (2,)), Edges((1,), (2, 3))]
    assert len({each.sha256 for each in sets}) == len(sets)

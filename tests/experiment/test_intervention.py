"""How heads are ablated: from which position on, and what tells one set of means from another."""

import numpy as np

from harness.experiment.intervention import ZEROED, Intervention, MeanValues


def test_the_first_ablated_position() -> None:
    assert ZEROED.first_ablated(7) == 0
    assert Intervention(phase="decode").first_ablated(7) == 6
    assert Intervention(phase="decode").first_ablated(1) == 0


def test_means_are_told_apart_by_every_number_and_by_shape() -> None:
    vectors = np.arange(6.0).reshape(2, 3)
    first = MeanValues(vectors).sha256
    assert MeanValues(np.asfortranarray(vectors)).sha256 == first
    others = [vectors.reshape(3, 2), np.nextafter(vectors, 9), vectors[::-1]]
    assert len({first, *(MeanValues(each).sha256 for each in others)}) == 4

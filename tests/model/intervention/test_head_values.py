"""The values that an intervention stands for, on one model and one prompt."""

import numpy as np
import pytest
from tiny_models import HEAD_DIM, N_HEADS, N_LAYERS, random_prompt, tiny_loaded

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Intervention, MeanValues
from harness.model.intervention.donor import Donor
from harness.model.intervention.head_values import replacement_of
from harness.model.intervention.replacement import ZERO, Mean, Replacement

SETS = [frozenset[Head](), frozenset({Head(0, 1)}), frozenset({Head(0, 2), Head(2, 3)})]
VECTORS = np.zeros((N_LAYERS, N_HEADS * HEAD_DIM))


def values_of(intervention: Intervention) -> Replacement:
    return replacement_of(tiny_loaded(), random_prompt(9), SETS, intervention, max_new_tokens=3)


def test_nothing_means_and_a_donor() -> None:
    assert values_of(ZEROED) is ZERO
    assert isinstance(values_of(Intervention(MeanValues(VECTORS))), Mean)
    assert isinstance(values_of(Intervention(random_prompt(7, seed=1))), Donor)


def test_a_donor_keeps_what_any_of_the_sets_needs() -> None:
    donor = values_of(Intervention(random_prompt(7, seed=1)))
    for layer, heads in ((0, {1, 2}), (2, {3})):
        output = tiny_loaded().outputs[layer]
        values = donor.values(output, 0, output.module.weight.new_zeros(1, 9, N_HEADS * HEAD_DIM))  # type: ignore[operator]
        by_head = values.reshape(9, N_HEADS, HEAD_DIM)
        assert {head for head in range(N_HEADS) if by_head[:, head].any()} == heads


def test_means_of_another_model_are_refused() -> None:
    with pytest.raises(AblationError, match=r"mean values: of 2 layers of width 32; expected 3 of width 32, as tiny"):
        values_of(Intervention(MeanValues(VECTORS[:2])))

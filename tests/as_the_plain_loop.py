"""What the engine says is what the plain loop says: the comparison, and conditions of the tiny models to compare."""

from collections.abc import Sequence

import numpy as np
import pytest
from tiny_models import HEAD_DIM, N_HEADS, N_LAYERS

from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Intervention, MeanValues
from harness.experiment.record import Ask, Completion
from harness.model.generation import engine, reference
from harness.model.generation.branching import decoder_layers
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt

UNTOUCHED = frozenset[Head]()
MEANS = MeanValues(np.random.default_rng(1).normal(size=(N_LAYERS, N_HEADS * HEAD_DIM)))
HEADS = [Head(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]
TIE = 1e-5
SETS = (
    UNTOUCHED,
    frozenset({Head(0, 1)}),
    frozenset({Head(1, 0), Head(1, 2), Head(2, 3)}),
    frozenset({Head(0, 1), Head(2, 0)}),
    frozenset({Head(2, 0)}),
)


def assert_same(got: Sequence[Completion], expected: Sequence[Completion], tolerance: float) -> None:
    """Equal up to rounding; tokens equal unless the plain loop was about to choose another."""
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.gold_logprob == pytest.approx(other.gold_logprob, abs=tolerance, rel=tolerance)
        if other.smallest_gap < TIE:
            continue
        assert one.all_ids == other.all_ids
        assert one.end_token_id == other.end_token_id
        assert one.smallest_gap == pytest.approx(other.smallest_gap, abs=tolerance, rel=tolerance)
        assert (one.baseline_logprob is None) == (other.baseline_logprob is None)
        if other.baseline_logprob is not None:
            assert one.baseline_logprob == pytest.approx(other.baseline_logprob, abs=tolerance, rel=tolerance)
        assert (one.baseline_logprobs is None) == (other.baseline_logprobs is None)
        # kept to six decimals
        rounded = pytest.approx(other.baseline_logprobs or (), abs=max(tolerance, 2e-6), rel=tolerance)
        assert (one.baseline_logprobs or ()) == rounded
        assert (one.hooks_fired > 0) == (other.hooks_fired > 0)


def check_both(
    loaded: LoadedModel,
    prompt: Prompt,
    sets: Sequence[frozenset[Head]],
    *,
    intervention: Intervention = ZEROED,
    baseline_ids: tuple[int, ...] | None = None,
    max_new_tokens: int = 8,
    branches: int | None = None,
    tolerance: float,
) -> tuple[Completion, ...]:
    asked = (loaded, prompt, sets, baseline_ids, intervention)
    got = engine.run_row(*asked, max_new_tokens=max_new_tokens, branches=branches)
    expected = reference.run_row(*asked, max_new_tokens=max_new_tokens)
    assert_same(got, expected, tolerance)
    assert_clean(loaded)
    return got


def check_asks(loaded: LoadedModel, asks: Sequence[Ask], least: int, branches: int | None, tolerance: float) -> None:
    answers = list(engine.run_rows(loaded, asks, branches=branches, least=least))
    assert sorted(number for number, _ in answers) == list(range(len(asks)))
    for number, got in answers:
        ((_, expected),) = reference.run_rows(loaded, [asks[number]])
        assert_same(got, expected, tolerance)
    assert_clean(loaded)


def assert_clean(loaded: LoadedModel) -> None:
    """No hook of ours and no stand-in is left; transformers leaves its own where attentions were ever asked for."""
    for module in loaded.model.modules():
        left = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        assert not [hook for hook in left if not hook.__module__.startswith("transformers.")]
    for layer in decoder_layers(loaded):
        assert "forward" not in vars(layer)

"""Calibrated attention by hand, and against a slow reading of whole eager attention of both prompts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_models import N_HEADS, N_LAYERS, REPRESENTATIVES, alone, random_ids, random_trial, tiny_loaded

from harness.errors import DataError
from harness.model.identification.qr_score import QR_SCORE, calibrated, qr_score
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt


def score(question: list[float], nothing: list[float]) -> float:
    """Of one head."""
    ((found,),) = calibrated(torch.tensor([[question]]), torch.tensor([[nothing]])).tolist()
    return float(found)


@pytest.mark.parametrize(
    ("question", "nothing", "expected"),
    [
        ([0.5, 0.25], [0.125, 0.125], 0.5),
        ([0.125, 0.25], [0.5, 0.125], -0.25),  # two tokens are never 2 SD off
        ([0.5], [0.125], 0.375),
        ([0.5], [0.75], -0.25),
        ([0.5, 0.5, 0.5], [0.25, 0.25, 0.25], 0.75),  # no spread: none is below
        # mean 0, sum of squares 9 x 1/64 + 81/64 over 9: SD 0.395; -9/8 lies below -0.79
        ([0.125] * 9 + [0.0], [0.0] * 9 + [1.125], 1.125),
        # one high token is not masked
        ([0.0] * 9 + [1.125], [0.0] * 10, 1.125),
    ],
)
def test_by_hand(question: list[float], nothing: list[float], expected: float) -> None:
    assert score(question, nothing) == pytest.approx(expected, abs=1e-12)


def test_the_spread_is_that_of_a_sample() -> None:
    """-1 lies 1.85 SD below the mean of -1/6 with n - 1 in the denominator, 2.03 with n."""
    assert score([0.3, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.3, 0.0, 0.0, 0.0, 1.0]) == pytest.approx(-1.0, abs=1e-6)


@torch.inference_mode()
def slow_attention(loaded: LoadedModel, prompt: Prompt) -> NDArray[np.float64]:
    """Mean over the question's tokens, from all attention of an eager run: (layers, heads, needle tokens)."""
    config = loaded.model.config
    before, config._attn_implementation = config._attn_implementation, "eager"
    weights = loaded.model(input_ids=torch.tensor([prompt.token_ids]), output_attentions=True).attentions
    config._attn_implementation = before
    question = range(prompt.question_start, prompt.question_end)
    needle = range(prompt.needle_start, prompt.needle_end)
    result = np.zeros((N_LAYERS, N_HEADS, len(needle)))
    for layer in range(N_LAYERS):
        for head in range(N_HEADS):
            for i, position in enumerate(needle):
                result[layer, head, i] = np.mean([float(weights[layer][0, head, q, position]) for q in question])
    return result


def slow_score(rest: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.zeros(rest.shape[:2])
    for layer in range(N_LAYERS):
        for head in range(N_HEADS):
            tokens = rest[layer, head]
            least = tokens.mean() - 2 * tokens.std(ddof=1)
            result[layer, head] = sum(token for token in tokens if token >= least)
    return result


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_it_is_its_definition(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    trial = random_trial(30, needle=(20, 26))
    assert trial.null_prompt is not None
    expected = slow_score(slow_attention(loaded, trial.prompt) - slow_attention(loaded, trial.null_prompt))
    scores = alone(qr_score, loaded, trial)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-5)


def test_prompts_that_part_before_the_question() -> None:
    """Where a tokenizer merges the first word with what stands before it."""
    loaded = tiny_loaded("llama")
    trial = random_trial(30, needle=(20, 24))
    assert trial.null_prompt is not None
    ids = trial.null_prompt.token_ids
    other = replace(trial.null_prompt, token_ids=(*ids[:26], *random_ids(2, seed=9), *ids[28:]))
    trial = replace(trial, null_prompt=other)
    expected = slow_score(slow_attention(loaded, trial.prompt) - slow_attention(loaded, other))
    np.testing.assert_allclose(alone(qr_score, loaded, trial), expected, rtol=0, atol=2e-5)


def test_what_is_refused() -> None:
    trial = random_trial(30)
    QR_SCORE.check(trial)
    before = replace(trial.prompt, question_start=1, question_end=3)
    assert trial.null_prompt is not None
    blank = replace(trial.null_prompt, question_start=1, question_end=2)
    with pytest.raises(DataError, match=r"task: the needle ends at token 8, after the question's first, 1; expected"):
        QR_SCORE.check(replace(trial, prompt=before, null_prompt=blank))
    with pytest.raises(DataError, match=r"filing0\.htm/task: no prompt without a question"):
        QR_SCORE.check(replace(trial, null_prompt=None))


def test_both_prompts_must_fit() -> None:
    trial = random_trial(30)
    assert QR_SCORE.n_tokens(trial) == 30
    assert QR_SCORE.n_tokens(replace(trial, null_prompt=random_trial(33).prompt)) == 33

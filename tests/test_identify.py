"""Scores against a slow reading of whole eager attention; what a ranking holds; what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from tiny_models import N_HEADS, N_LAYERS, WINDOW, random_prompt, tiny_loaded

from harness.errors import ModelError
from harness.experiment.heads import Head
from harness.model.identify import identify, summed_attention
from harness.model.loading import LoadedModel
from harness.retrieval.prompts import Prompt

N_TOKENS = 2 * WINDOW
NEEDLE = (N_TOKENS - 8, N_TOKENS - 3)


def prompts(n: int, *, seed: int = 0) -> list[Prompt]:
    return [random_prompt(N_TOKENS, seed=seed + i, needle=NEEDLE) for i in range(n)]


@torch.inference_mode()
def slow_scores(loaded: LoadedModel, prompt: Prompt) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The definition, from all attention of an eager run: (layers, heads)."""
    config = loaded.model.config
    before, config._attn_implementation = config._attn_implementation, "eager"
    output = loaded.model(input_ids=torch.tensor([prompt.token_ids]), output_attentions=True)
    config._attn_implementation = before
    scores = np.zeros((N_LAYERS, N_HEADS))
    for layer in range(N_LAYERS):
        for head in range(N_HEADS):
            for position in range(prompt.needle_start, prompt.needle_end):
                scores[layer, head] += float(output.attentions[layer][0, head, -1, position])
    return scores


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gemma2", "gemma3_text"])
def test_summed_attention_is_its_definition(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    (prompt,) = prompts(1)
    scores = summed_attention(loaded, prompt)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, slow_scores(loaded, prompt), rtol=0, atol=1e-5)


def test_ranking(capfd: pytest.CaptureFixture[str]) -> None:
    """Means over each task's rows, the best heads first, and everything that is known of the run."""
    loaded = tiny_loaded("llama")
    tasks = {"city": prompts(5), "year": prompts(2, seed=50)}
    ranking = identify(loaded, tasks, top_k=4, filing_hashes=frozenset({"ab"}), split_seed=3, progress=True)
    assert ranking.mean_scores is not None
    for task, of_task in tasks.items():
        mean = np.mean([slow_scores(loaded, prompt) for prompt in of_task], axis=0)
        np.testing.assert_allclose(ranking.mean_scores[task], mean, rtol=0, atol=1e-5)
        best = np.argsort(-mean, axis=None)[:4]
        assert ranking.candidates(task) == tuple(Head(int(i) // N_HEADS, int(i) % N_HEADS) for i in best)
    assert (ranking.top_k, ranking.method, ranking.model) == (4, "summed_attention", loaded.shape)
    assert (ranking.samples, ranking.split_seed) == ({"city": 5, "year": 2}, 3)
    assert ranking.filing_hashes == frozenset({"ab"})
    assert ranking.source == "summed_attention of tiny llama"
    assert capfd.readouterr() == ("", "")


def test_split_half_is_between_the_means_of_every_other_row() -> None:
    loaded = tiny_loaded("llama")
    of_task = prompts(5)
    ranking = identify(loaded, {"city": of_task, "year": prompts(1)}, top_k=1, progress=False)
    scores = [summed_attention(loaded, prompt) for prompt in of_task]
    first, second = np.mean(scores[0::2], axis=0).ravel(), np.mean(scores[1::2], axis=0).ravel()
    expected = float(stats.spearmanr(first, second).statistic)
    assert 0.1 < abs(expected) < 0.9
    assert ranking.split_half is not None
    assert list(ranking.split_half) == ["city"]
    assert ranking.split_half["city"] == pytest.approx(expected)


def test_equal_scores_have_no_correlation() -> None:
    """A prompt that is all needle: every head attends to it with weight 1."""
    loaded = tiny_loaded("llama")
    everything = random_prompt(1, needle=(0, 1))
    ranking = identify(loaded, {"city": [everything, everything]}, top_k=1, progress=False)
    assert ranking.split_half == {}


def test_twice_the_same() -> None:
    loaded, tasks = tiny_loaded("gemma2"), {"city": prompts(3)}
    assert identify(loaded, tasks, top_k=3, progress=False) == identify(loaded, tasks, top_k=3, progress=False)


@pytest.mark.parametrize(
    ("tasks", "top_k", "method", "message"),
    [
        ({}, 1, "summed_attention", "no tasks"),
        ({"city": prompts(1), "year": []}, 1, "summed_attention", "task year has no prompts"),
        ({"city": prompts(1)}, 0, "summed_attention", "top_k: 0; expected 1 to 12"),
        ({"city": prompts(1)}, 13, "summed_attention", "top_k: 13; expected 1 to 12"),
        ({"city": prompts(1)}, 1, "magic", "method 'magic'; expected one of summed_attention"),
        (
            {"city": [random_prompt(9), replace(random_prompt(9, seed=7), needle_start=0, needle_end=0)]},
            1,
            "summed_attention",
            "filing7.htm/task: needle at tokens 0 to 0 of 9",
        ),
        (
            {"city": [random_prompt(9, needle=(3, 10))]},
            1,
            "summed_attention",
            "needle at tokens 3 to 10 of 9",
        ),
        (
            {"city": [random_prompt(641, seed=2)]},
            1,
            "summed_attention",
            "filing2.htm/task: 641 tokens, .* at most 640",
        ),
    ],
)
def test_refused_before_any_work(
    tasks: dict[str, list[Prompt]], top_k: int, method: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny_loaded("llama")
    monkeypatch.setattr(loaded.model, "forward", None)
    with pytest.raises(ModelError, match=message):
        identify(loaded, tasks, top_k=top_k, method=method)

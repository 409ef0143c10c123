"""The last token's attention to the needle, against a slow reading of whole eager attention."""

import numpy as np
import pytest
import torch
from tiny_models import N_HEADS, N_LAYERS, WINDOW, alone, random_trial, tiny_loaded

from harness.model.identification.summed_attention import SUMMED_ATTENTION, summed_attention
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt

N_TOKENS = 2 * WINDOW
NEEDLE = (N_TOKENS - 8, N_TOKENS - 3)


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
def test_it_is_its_definition(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    trial = random_trial(N_TOKENS, needle=NEEDLE)
    scores = alone(summed_attention, loaded, trial)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, slow_scores(loaded, trial.prompt), rtol=0, atol=1e-5)


def test_the_prompt_must_fit() -> None:
    assert SUMMED_ATTENTION.n_tokens(random_trial(30)) == 30

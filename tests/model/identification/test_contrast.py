"""Attention above uniform attention's, by hand and against a slow reading, with windows and without."""

import numpy as np
import pytest
import torch
from tiny_models import N_LAYERS, WINDOW, alone, random_prompt, random_trial, tiny_loaded

from harness.model.identification.contrast import above_uniform, contrast
from harness.model.identification.summed_attention import needle_share, summed_attention

N_TOKENS = 2 * WINDOW


def test_by_hand() -> None:
    """A needle of tokens 1 and 2 of four; the second layer's window begins with token 2."""
    prompt = random_prompt(4, needle=(1, 3))
    whole = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 0.75, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0]])
    assert above_uniform(whole, prompt).tolist() == [0.0, 0.5, -0.5]
    windowed = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert above_uniform(windowed, prompt).tolist() == [0.0, 0.5, -0.5]
    assert above_uniform(windowed, random_prompt(4, needle=(0, 2))).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("model_type", "windowed"), [("llama", ()), ("gemma3_text", (0, 2)), ("gpt_oss", (0, 2))])
def test_it_is_summed_attention_less_uniform_attentions(model_type: str, windowed: tuple[int, ...]) -> None:
    loaded = tiny_loaded(model_type)
    assert [kind == "sliding_attention" for kind in getattr(loaded.model.config, "layer_types", None) or [""] * 3] == [
        layer in windowed for layer in range(N_LAYERS)
    ]
    trial = random_trial(N_TOKENS, needle=(N_TOKENS - WINDOW - 2, N_TOKENS - 4))  # two of its ten lie behind a window
    summed, found = alone(summed_attention, loaded, trial), alone(contrast, loaded, trial)
    for layer in range(N_LAYERS):
        uniform = 8 / WINDOW if layer in windowed else needle_share(trial)
        np.testing.assert_allclose(found[layer], summed[layer] - uniform, rtol=0, atol=1e-6)

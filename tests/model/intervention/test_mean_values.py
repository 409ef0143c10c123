"""Mean outputs of heads against plain sums over what enters the projections."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import HEAD_DIM, MODEL_TYPES, N_HEADS, N_LAYERS, random_prompt, tiny_loaded

from harness.errors import AblationError, ModelError
from harness.experiment.heads import Head
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.mean_values import mean_values
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt

PROMPTS = [random_prompt(n, seed=n) for n in (2, 9, 30)]


def slow_means(loaded: LoadedModel, prompts: list[Prompt]) -> np.ndarray:
    """Position by position, in plain Python."""
    means = np.zeros((N_LAYERS, N_HEADS * HEAD_DIM))
    for prompt in prompts:
        seen: list[torch.Tensor] = []
        handles = [
            output.module.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0][0]))
            for output in loaded.outputs
        ]
        with torch.inference_mode():
            loaded.model(input_ids=torch.tensor([prompt.token_ids]))
        for handle in handles:
            handle.remove()
        for layer, hidden in enumerate(seen):
            for column in range(means.shape[1]):
                values = [float(hidden[position, column]) for position in range(1, len(prompt.token_ids))]
                means[layer, column] += sum(values) / len(values) / len(prompts)
    return means


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_means_over_positions_but_the_first_then_over_prompts(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    found = mean_values(loaded, PROMPTS)
    assert found.vectors.dtype == np.float64
    np.testing.assert_allclose(found.vectors, slow_means(loaded, PROMPTS), rtol=0, atol=1e-6)
    assert not any(output.module._forward_pre_hooks for output in loaded.outputs)


def test_a_prompt_fed_in_pieces_has_the_same_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first position is that of its first piece."""
    loaded = replace(tiny_loaded(), attention="eager")  # weights written out: fed in pieces
    whole = mean_values(tiny_loaded(), PROMPTS)
    monkeypatch.setattr("harness.model.loading.pieces.PIECE", 4)
    np.testing.assert_allclose(mean_values(loaded, PROMPTS).vectors, whole.vectors, rtol=0, atol=1e-6)


def test_the_hash_is_that_of_the_numbers() -> None:
    loaded = tiny_loaded()
    found = mean_values(loaded, PROMPTS)
    assert len(found.sha256) == 64
    assert mean_values(loaded, PROMPTS).sha256 == found.sha256
    assert mean_values(loaded, PROMPTS[:2]).sha256 != found.sha256


def test_it_tells_how_many_are_done() -> None:
    told: list[int] = []
    mean_values(tiny_loaded(), PROMPTS, told.append)
    assert told == [1, 2, 3]


def test_what_has_no_mean() -> None:
    with pytest.raises(ModelError, match="mean values: no prompts"):
        mean_values(tiny_loaded(), [])
    with pytest.raises(ModelError, match=r"filing1.htm/task: 1 prompt tokens; expected at least two"):
        mean_values(tiny_loaded(), [replace(PROMPTS[0], row_id="filing1.htm/task", token_ids=(1,))])
    with pytest.raises(ModelError, match=r"700 tokens, .* at most 640"):
        mean_values(tiny_loaded(), [random_prompt(700)])


def test_means_are_the_untouched_models() -> None:
    loaded = tiny_loaded()
    with Ablation(loaded.outputs, [frozenset[Head]()]), pytest.raises(AblationError, match="another ablation"):
        mean_values(loaded, PROMPTS)


def test_a_projection_that_is_not_called_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded()
    attention = loaded.model.get_submodule("model.layers.1.self_attn")
    monkeypatch.setitem(attention.__dict__, "forward", lambda hidden_states, **_: (hidden_states, None))
    with pytest.raises(AblationError, match=r"o_proj: 0 positions entered it of filing2.htm/task's 2 tokens"):
        mean_values(loaded, PROMPTS)

"""The last token's attention against a whole eager run, and what it takes of memory."""

from typing import Any

import pytest
import torch
from tiny_models import (
    HEAD_DIM,
    MODEL_TYPES,
    N_HEADS,
    N_LAYERS,
    WINDOW,
    random_ids,
    tiny_config,
    tiny_loaded,
    wrap,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PreTrainedConfig

from harness.errors import ModelError
from harness.model import pieces
from harness.model.last_query import last_query_attention
from harness.model.loading import LoadedModel

WINDOWED = ("cohere2", "gemma2", "gemma3_text", "mistral", "phi3")


@torch.inference_mode()
def eager_attention(loaded: LoadedModel, ids: tuple[int, ...]) -> torch.Tensor:
    """The last line of a whole eager run's attention: (layers, heads, positions)."""
    config = loaded.model.config
    before, config._attn_implementation = config._attn_implementation, "eager"
    try:
        weights = loaded.model(input_ids=torch.tensor([ids]), use_cache=False, output_attentions=True).attentions
    finally:
        config._attn_implementation = before
    return torch.stack([layer[0, :, -1] for layer in weights])


def model_of(config: PreTrainedConfig) -> LoadedModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # the library's
    return wrap(model.requires_grad_(False).train(False))


def check(loaded: LoadedModel, n_tokens: int) -> torch.Tensor:
    ids = random_ids(n_tokens)
    attention = last_query_attention(loaded, ids)
    assert attention.shape == (N_LAYERS, N_HEADS, n_tokens)
    assert attention.dtype == torch.float32
    torch.testing.assert_close(attention, eager_attention(loaded, ids), rtol=0, atol=1e-5)
    return attention


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_equal_to_eager(model_type: str) -> None:
    """Past the sliding window, where there is one, and far from uniform, so that a wrong key would show."""
    loaded = tiny_loaded(model_type)
    attention = check(loaded, 3 * WINDOW)
    assert attention.max() > 4 / attention.shape[-1]
    assert loaded.model.config._attn_implementation == loaded.attention


@pytest.mark.parametrize("model_type", [*WINDOWED, "falcon", "bloom", "llama"])
def test_equal_to_eager_in_pieces(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 7)
    check(tiny_loaded(model_type), 40)


@pytest.mark.parametrize("model_type", WINDOWED)
def test_nothing_outside_the_window(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    attention = last_query_attention(loaded, random_ids(40))
    seen = (attention > 0).sum(dim=-1)
    windowed = [layer for layer in range(N_LAYERS) if int(seen[layer].max()) == WINDOW]
    assert windowed
    assert (attention[windowed][:, :, :-WINDOW] == 0).all()


@pytest.mark.parametrize("n_tokens", [1, 2])
def test_the_shortest_prompts(n_tokens: int) -> None:
    attention = check(tiny_loaded("llama"), n_tokens)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(N_LAYERS, N_HEADS))


def test_falcon_with_alibi_is_refused() -> None:
    config = tiny_config("falcon")
    config.alibi = True
    with pytest.raises(ModelError, match="tiny falcon: falcon with alibi"):
        last_query_attention(model_of(config), random_ids(5))


def test_long_rope_past_its_original_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frequencies change with the number of tokens fed, so the prompt may not be fed in pieces."""
    monkeypatch.setattr(pieces, "PIECE", 7)
    config = tiny_config("phi3")
    config.original_max_position_embeddings = 16
    config.rope_parameters = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0,
        "original_max_position_embeddings": 16,
        "short_factor": [1.0] * (HEAD_DIM // 2),
        "long_factor": [3.0] * (HEAD_DIM // 2),
    }
    check(model_of(config), 40)


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Records how many elements the largest result of any operation had."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_no_tensor_of_positions_by_positions(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 16)
    loaded = tiny_loaded(model_type)
    n_tokens = 200
    with LargestTensor() as largest:
        last_query_attention(loaded, random_ids(n_tokens))
    assert largest.elements < n_tokens**2
    with LargestTensor() as largest:
        eager_attention(loaded, random_ids(n_tokens))
    assert largest.elements >= N_HEADS * n_tokens**2


def test_no_tokens() -> None:
    with pytest.raises(ModelError, match="no tokens"):
        last_query_attention(tiny_loaded("llama"), [])


def test_a_model_that_gives_no_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded("llama")
    forward = loaded.model.forward

    def mute(**arguments: Any) -> Any:
        output = forward(**arguments)
        output.attentions = None
        return output

    monkeypatch.setattr(loaded.model, "forward", mute)
    with pytest.raises(ModelError, match="tiny llama: gives no attention"):
        last_query_attention(loaded, random_ids(5))
    assert loaded.model.config._attn_implementation == "sdpa"

"""What tokens attend to against a whole eager run, and what reading it takes of memory."""

from typing import Any

import pytest
import torch
from largest_tensor import LargestTensor
from tiny_models import (
    HEAD_DIM,
    IN_FLOAT32,
    MODEL_TYPES,
    N_HEADS,
    N_LAYERS,
    REPRESENTATIVES,
    WINDOW,
    doubled,
    random_ids,
    tiny_config,
    tiny_loaded,
    wrap,
)
from transformers import AutoModelForCausalLM, PreTrainedConfig

from harness.errors import ModelError
from harness.experiment.prefix_tree import LEAST_SHARED
from harness.model.identification import method
from harness.model.identification.method import AttentionReader
from harness.model.loading import loaded_model
from harness.model.loading.loaded_model import LoadedModel

WINDOWED = ("cohere2", "gemma2", "gemma3", "gemma3_text", "mistral", "olmo3", "phi3", "starcoder2")


@torch.inference_mode()
def eager_attention(loaded: LoadedModel, ids: tuple[int, ...], n_queries: int) -> torch.Tensor:
    """The last lines of a whole eager run's attention: (layers, heads, queries, positions)."""
    config = loaded.model.config
    before, config._attn_implementation = config._attn_implementation, "eager"
    try:
        weights = loaded.model(input_ids=torch.tensor([ids]), use_cache=False, output_attentions=True).attentions
    finally:
        config._attn_implementation = before
    return torch.stack([layer[0, :, -n_queries:] for layer in weights])


def read(loaded: LoadedModel, ids: tuple[int, ...], n_queries: int) -> torch.Tensor:
    """The same lines, up to the last position that all of the queries see."""
    reader = AttentionReader(loaded, len(ids))
    first = len(ids) - n_queries
    reader.hold(ids[:first])
    return reader.read(ids[first:], lambda weights: weights[..., : first + 1]).wanted


def model_of(config: PreTrainedConfig) -> LoadedModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # the library's
    return wrap(model.requires_grad_(False).train(False))


def check(loaded: LoadedModel, n_tokens: int, n_queries: int = 1, *, within: float = 1e-5) -> torch.Tensor:
    ids = random_ids(n_tokens)
    attention = read(loaded, ids, n_queries)
    first = n_tokens - n_queries
    assert attention.shape == (N_LAYERS, N_HEADS, n_queries, first + 1)
    expected = eager_attention(loaded, ids, n_queries)[..., : first + 1]
    torch.testing.assert_close(attention, expected, rtol=0, atol=within)
    return attention


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize(
    ("model_type", "n_queries"), [*((each, 5) for each in MODEL_TYPES), *((each, 1) for each in REPRESENTATIVES)]
)
def test_equal_to_eager(model_type: str, n_queries: int) -> None:
    """Past the sliding window, where there is one, and far from uniform, so that a wrong key would show."""
    loaded = doubled(model_type)
    attention = check(loaded, 3 * WINDOW, n_queries, within=1e-7 if model_type in IN_FLOAT32 else 1e-10)
    assert attention.max() > 4 / attention.shape[-1]
    assert loaded.model.config._attn_implementation == loaded.attention


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_equal_to_eager_in_float32(model_type: str) -> None:
    check(tiny_loaded(model_type), 3 * WINDOW, 2)


@pytest.mark.parametrize("model_type", [*WINDOWED, "falcon", "bloom", "llama"])
def test_equal_to_eager_in_pieces(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_model, "PIECE", 7)
    check(tiny_loaded(model_type), 40)


@pytest.mark.parametrize("model_type", ["gemma2", "llama"])
def test_queries_read_one_by_one_give_the_same(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where all weights at once would take too much memory."""
    fed = []
    loaded = tiny_loaded(model_type)
    forward = loaded.model.forward

    def counting(**arguments: Any) -> Any:
        fed.append(arguments["input_ids"].shape[1])
        return forward(**arguments)

    monkeypatch.setattr(method, "WEIGHT_BYTES", 1)
    ids = random_ids(30)
    expected = eager_attention(loaded, ids, 4)[..., :27]
    monkeypatch.setattr(loaded.model, "forward", counting)
    torch.testing.assert_close(read(loaded, ids, 4), expected, rtol=0, atol=1e-5)
    assert fed == [26, 1, 1, 1, 1]


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_prompts_that_begin_alike_are_read_as_each_alone(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that are full are rewound too, and what was read with eager attention before is not what counts."""
    loaded, fed = doubled(model_type), list[int]()
    front, further = random_ids(2 * LEAST_SHARED), random_ids(WINDOW, seed=4)
    prompts = [
        (*front, *end)
        for end in ((*further, *random_ids(6)), (*further, *random_ids(3, seed=2)), random_ids(9, seed=5))
    ]
    reader, forward = AttentionReader(loaded, max(map(len, prompts))), loaded.model.forward

    def counting(**arguments: Any) -> Any:
        fed.append(arguments["input_ids"].shape[1])
        return forward(**arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loaded.model, "forward", counting)
        found = []
        for ids in (*prompts, prompts[0]):
            reader.hold(ids[:-2])
            found.append(reader.read(ids[-2:], lambda weights: weights[..., : len(front)]).wanted)
    assert fed == [64 + 12 + 4, 2, 1, 2, 7, 2, 12 + 4, 2]
    for ids, weights in zip((*prompts, prompts[0]), found, strict=True):
        expected = eager_attention(loaded, ids, 2)[..., : len(front)]
        torch.testing.assert_close(weights, expected, rtol=0, atol=1e-7 if model_type in IN_FLOAT32 else 1e-10)


def test_the_next_token_is_the_models() -> None:
    loaded, ids = tiny_loaded("llama"), random_ids(20)
    reader = AttentionReader(loaded, 20)
    reader.hold(ids[:17])
    with torch.inference_mode():
        expected = int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
    assert reader.read(ids[17:], lambda weights: weights[..., :1]).next_id == expected


@pytest.mark.parametrize("model_type", WINDOWED)
def test_nothing_outside_the_window(model_type: str) -> None:
    attention = read(tiny_loaded(model_type), random_ids(40), 1)
    seen = (attention > 0).sum(dim=-1)
    windowed = [layer for layer in range(N_LAYERS) if int(seen[layer].max()) == WINDOW]
    assert windowed
    assert (attention[windowed][..., :-WINDOW] == 0).all()


@pytest.mark.parametrize("n_tokens", [1, 2])
def test_the_shortest_prompts(n_tokens: int) -> None:
    attention = check(tiny_loaded("llama"), n_tokens)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(N_LAYERS, N_HEADS, 1))


def test_nothing_to_run() -> None:
    reader = AttentionReader(tiny_loaded("llama"), 3)
    reader.hold(())
    assert reader.read(random_ids(3), lambda weights: weights[..., 0]).wanted.shape == (N_LAYERS, N_HEADS, 3)


def test_falcon_with_alibi_is_refused() -> None:
    config = tiny_config("falcon")
    config.alibi = True
    with pytest.raises(ModelError, match="tiny falcon: falcon with alibi"):
        AttentionReader(model_of(config), 5)


def test_long_rope_past_its_original_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frequencies change with the number of tokens fed, so the prompt may not be fed in pieces, nor after another."""
    monkeypatch.setattr(loaded_model, "PIECE", 7)
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
    loaded = model_of(config)
    check(loaded, 40)
    ids = random_ids(40)
    reader = AttentionReader(loaded, 40)
    reader.hold((*ids[:35], 1))
    reader.hold(ids[:-1])
    last = reader.read(ids[-1:], lambda weights: weights).wanted
    torch.testing.assert_close(last, eager_attention(loaded, ids, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_no_tensor_of_positions_by_positions(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_model, "PIECE", 16)
    loaded = tiny_loaded(model_type)
    n_tokens = 400
    with LargestTensor() as largest:
        read(loaded, random_ids(n_tokens), 4)
    assert largest.elements < n_tokens**2 / 2
    monkeypatch.setattr(method, "MASK_ELEMENTS", 16 * n_tokens)
    reader = AttentionReader(loaded, n_tokens)
    reader.hold(random_ids(n_tokens))
    with LargestTensor() as largest:
        reader.hold((*random_ids(n_tokens)[:40], *random_ids(n_tokens - 40, seed=1)))
    assert largest.elements < n_tokens**2 / 2
    with LargestTensor() as largest:
        eager_attention(loaded, random_ids(n_tokens), 4)
    assert largest.elements >= N_HEADS * n_tokens**2


def test_no_tokens() -> None:
    with pytest.raises(ModelError, match="no tokens to read"):
        AttentionReader(tiny_loaded("llama"), 5).read([], lambda weights: weights)


def test_a_model_that_gives_no_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded("llama")
    forward = loaded.model.forward

    def mute(**arguments: Any) -> Any:
        output = forward(**arguments)
        output.attentions = None
        return output

    monkeypatch.setattr(loaded.model, "forward", mute)
    with pytest.raises(ModelError, match="tiny llama: gives no attention"):
        AttentionReader(loaded, 5).read(random_ids(5), lambda weights: weights)
    assert loaded.model.config._attn_implementation == "sdpa"

"""Published models' shapes with random weights: what speed and memory need, where the weights themselves are not.

Sizes are those of the models' configs on the hub (https://huggingface.co/meta-llama). Answers of such a model mean
nothing. Knows nothing of what is measured.
"""

import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from accelerate import dispatch_model  # type: ignore[import-untyped]  # has no types
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from harness.model.loading.architectures import architecture_of, attention_outputs, shape_of
from harness.model.loading.blueprints import model_size, usable_attention
from harness.model.loading.devices import choose_kernels, choose_segments, move_once
from harness.model.loading.loaded_model import LoadedModel
from harness.model.loading.spread import device_map_of_layers


def _llama_3(n_layers: int, n_heads: int, hidden_size: int, intermediate_size: int) -> LlamaConfig:
    return LlamaConfig(
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        num_key_value_heads=8,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        vocab_size=128_256,
        max_position_embeddings=131_072,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        tie_word_embeddings=False,
    )


SHAPES: Mapping[str, PreTrainedConfig] = MappingProxyType(
    {
        "llama-3-8b": _llama_3(32, 32, 4096, 14_336),
        "llama-3.3-70b": _llama_3(80, 64, 8192, 28_672),
    }
)
"""Configs by name."""


def random_model(
    name: str,
    config: PreTrainedConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str | None,
    seed: int,
    places: Sequence[torch.device] | None = None,
) -> LoadedModel:
    """A model of this config whose weights are drawn where they will lie: nothing is moved, or kept twice.

    All of them on `device`, or each layer on its own of `places`: then the same are drawn on like cards wherever they
    lie. It has no end token, so that every completion has all its tokens, and a tokenizer without words.
    """
    torch.manual_seed(seed)
    choose_kernels()
    choose_segments({str(number): str(place) for number, place in enumerate(places or [device])})
    with torch.device("meta") if places else device:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]  # the library's
            config, dtype=dtype, attn_implementation=usable_attention(config, attention)
        )
    if places:
        _lay_out(model, architecture_of(config).layers, places, seed)
    model.requires_grad_(False).train(False)
    outputs = attention_outputs(model)
    return LoadedModel(
        model=model,
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))),  # type: ignore[no-untyped-call]  # the library's
        architecture=architecture_of(config),
        outputs=outputs,
        shape=shape_of(outputs, model_id=name),
        size=model_size(model),
        end_token_ids=frozenset(),
        attention=str(model.config._attn_implementation),
        dtype=str(dtype).removeprefix("torch."),
        device=next(model.get_input_embeddings().parameters()).device,
    )


def _lay_out(model: PreTrainedModel, layers: str, places: Sequence[torch.device], seed: int) -> None:
    """Draw the weights of a model that has none: layers on their places, the rest with the first or the last.

    A card has random numbers of its own, which go on from part to part: each part begins them anew.
    """
    device_map = device_map_of_layers(model, layers, [str(place) for place in places])
    assert device_map is not None, "a published shape's weights all belong to parts"
    for name, place in device_map.items():
        torch.manual_seed(seed + zlib.crc32(name.encode()))
        model.get_submodule(name).to_empty(device=place).apply(model._init_weights)
    if len(set(places)) > 1:
        dispatch_model(model, device_map, skip_keys=model._skip_keys_device_placement)
        move_once(model.get_submodule(layers).children())

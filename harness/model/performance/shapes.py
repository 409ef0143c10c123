"""Published models' shapes with random weights: what speed and memory need, where the weights themselves are not.

Sizes are those of the models' configs on the hub (https://huggingface.co/meta-llama). Answers of such a model mean
nothing. Knows nothing of what is measured.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from harness.model.loading.architectures import architecture_of, attention_outputs, shape_of
from harness.model.loading.blueprints import model_size, usable_attention
from harness.model.loading.devices import choose_kernels
from harness.model.loading.loaded_model import LoadedModel


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
    name: str, config: PreTrainedConfig, *, device: torch.device, dtype: torch.dtype, attention: str | None, seed: int
) -> LoadedModel:
    """A model of this config whose weights are drawn where they will lie: nothing is moved, or kept twice.

    It has no end token, so that every completion has all its tokens, and a tokenizer without words.
    """
    torch.manual_seed(seed)
    choose_kernels()
    with device:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]  # the library's
            config, dtype=dtype, attn_implementation=usable_attention(config, attention)
        )
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
        device=device,
    )

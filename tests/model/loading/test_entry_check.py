"""Entries that lead to something else than the attention's output projection."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny_models import N_HEADS, N_LAYERS, VOCABULARY, tiny_loaded, tiny_model, wrap
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from harness.errors import ModelError
from harness.model.loading.architectures import ARCHITECTURES, Architecture, attention_outputs
from harness.model.loading.entry_check import check_entry
from harness.model.loading.loaded_model import LoadedModel

NO_VALUES = "of a lone token it does not read the heads' values; expected the attention's output projection"
LATENT = {"deepseek_v2", "deepseek_v3"}
"""Architectures that cache what values are made from."""


def with_hook(layer: int, hook: Callable[[nn.Module, tuple[torch.Tensor]], object]) -> LoadedModel:
    """A Llama of which one layer's projection reads something else."""
    loaded = wrap(tiny_model("llama"))
    loaded.outputs[layer].module.register_forward_pre_hook(hook)
    return loaded


def check(loaded: LoadedModel) -> None:
    check_entry(loaded.model, loaded.outputs, loaded.device)


@pytest.mark.parametrize("model_type", sorted(set(ARCHITECTURES) - LATENT))
def test_every_entry_of_the_table_is_sound(model_type: str) -> None:
    check(tiny_loaded(model_type))


@pytest.mark.parametrize(
    ("model_type", "projection"),
    [
        ("olmo2", "self_attn.q_proj"),
        ("llama", "self_attn.k_proj"),
        ("llama", "mlp.down_proj"),
        ("opt", "fc1"),
        ("opt", "self_attn.v_proj"),
        ("gpt2", "mlp.c_proj"),
    ],
)
def test_what_is_no_output_projection(model_type: str, projection: str) -> None:
    loaded = wrap(tiny_model(model_type))
    if model_type == "llama":
        loaded.model.config.head_dim = None  # else its width tells already
    entry = Architecture(layers=ARCHITECTURES[model_type].layers, projection=projection)
    wrong = replace(loaded, outputs=attention_outputs(loaded.model, entry))
    with pytest.raises(ModelError, match=NO_VALUES):
        check(wrong)
    assert not wrong.outputs[0].module._forward_pre_hooks


@pytest.mark.parametrize("layer", [0, N_LAYERS - 1])
def test_heads_that_are_mixed_before_the_projection(layer: int) -> None:
    """In any layer: column 8 of what it reads is then no longer of head 1 alone."""
    mixed = with_hook(layer, lambda module, args: (args[0] + args[0].roll(8, dims=-1),))
    with pytest.raises(ModelError, match=rf"model.layers.{layer}.self_attn.o_proj: {NO_VALUES}"):
        check(mixed)


def test_a_gate_weakens_and_does_not_mix() -> None:
    check(with_hook(1, lambda module, args: (args[0] * torch.linspace(0.01, 1, args[0].shape[-1]),)))


def test_a_projection_that_is_called_again() -> None:
    """Its calls would have other heads' outputs to be replaced, by one donor's or mean's."""
    loaded = wrap(tiny_model("llama"))
    output = loaded.outputs[1]
    attention = loaded.model.get_submodule("model.layers.1.self_attn")
    attention.register_forward_hook(lambda module, args, result: (output.module(result[0].new_zeros(1, 1, 32)), None))
    with pytest.raises(ModelError, match=r"layers.1.self_attn.o_proj: called 2 times for one token; expected once"):
        check(loaded)


def test_a_model_without_a_cache() -> None:
    config = AutoConfig.for_model("openai-gpt", n_embd=32, n_layer=3, n_head=N_HEADS, vocab_size=VOCABULARY)
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # the library's
    entry = Architecture("transformer.h", "attn.c_proj")
    loaded = replace(tiny_loaded(), model=model, outputs=attention_outputs(model, entry))
    with pytest.raises(
        ModelError, match="keeps keys and values of 0 layers; expected all 3 of the entry, each its own"
    ):
        check(loaded)

"""Sizes: a tiny Llama by hand, what torch counts, and true shapes without a weight."""

import pytest
import torch
from tiny_models import (
    HEAD_DIM,
    N_HEADS,
    N_LAYERS,
    REPRESENTATIVES,
    drawn,
    random_ids,
    tiny_config,
    tiny_loaded,
    tiny_model,
)
from torch.utils.flop_counter import FlopCounterMode

from harness.experiment.cost import LayerSize, single_flops
from harness.model.loading.model_size import model_size
from harness.model.performance.shapes import SHAPES

HIDDEN, INNER, KEY_HEADS = 24, 32, 2


def test_a_tiny_llama_by_hand() -> None:
    size = model_size(tiny_loaded("llama").model)
    query, key = HIDDEN * N_HEADS * HEAD_DIM, HIDDEN * KEY_HEADS * HEAD_DIM
    layer = LayerSize(
        attention=query + 2 * key, rest=query + 3 * HIDDEN * INNER, width=N_HEADS * HEAD_DIM, cached=2 * 2 * 8
    )
    assert size.layers == (layer,) * N_LAYERS
    assert size.bytes_per_number == 4
    assert size.n_weights == sum(weight.numel() for weight in tiny_loaded("llama").model.parameters())


def test_of_a_mixture_a_token_meets_the_experts_that_it_is_sent_to() -> None:
    """2 of 4 experts: half of their weights, and all of the router's."""
    model = tiny_loaded("mixtral").model
    layer = model.get_submodule("model.layers.0")
    experts = sum(weight.numel() for name, weight in layer.named_parameters() if ".experts." in name)
    others = sum(
        weight.numel() for name, weight in layer.named_parameters() if ".experts." not in name and weight.dim() > 1
    )
    first = model_size(model).layers[0]
    assert first.attention + first.rest == others + experts // 2


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "qwen3", "opt"])
def test_operations_are_those_that_torch_counts(model_type: str) -> None:
    """Torch counts the whole square of attention where half is needed, and the head over the vocabulary."""
    model, n = tiny_model(model_type), 40
    model.set_attn_implementation("eager")  # torch does not count a CPU's fused attention
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=torch.tensor([random_ids(n)]), use_cache=False, logits_to_keep=1)
    size = model_size(model)
    square = sum(2 * layer.width * n * n for layer in size.layers)
    unembedding = 2 * model.config.vocab_size * model.get_submodule("lm_head").get_parameter("weight").shape[1]
    assert counter.get_total_flops() == single_flops(size, n) + square + unembedding


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_a_config_is_enough(model_type: str) -> None:
    config = tiny_config(model_type)
    assert model_size(drawn(config), bytes_per_number=4.0) == model_size(tiny_loaded(model_type).model)


@pytest.mark.parametrize(
    ("name", "billions", "cached"), [("llama-3-8b", 8.03, 65_536 * 2), ("llama-3.3-70b", 70.55, 163_840 * 2)]
)
def test_true_shapes(name: str, billions: float, cached: int) -> None:
    """Meta's own numbers of parameters; keys and values of 8 heads of 128 in each layer, in two bytes."""
    size = model_size(drawn(SHAPES[name]), bytes_per_number=2.0)
    assert size.n_weights / 1e9 == pytest.approx(billions, abs=0.005)
    assert size.cached_bytes == cached

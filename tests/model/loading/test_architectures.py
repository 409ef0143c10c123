"""Where projections are, how wide their heads are, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from tiny_models import (
    HEAD_DIM,
    MODEL_TYPES,
    N_HEADS,
    N_LAYERS,
    VOCABULARY,
    drawn,
    tiny_config,
    tiny_loaded,
    tiny_model,
    wrap,
)
from torch import nn
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh  # type: ignore[attr-defined]
from transformers import AutoConfig, AutoModelForCausalLM

from harness.errors import ModelError
from harness.experiment.heads import ModelShape
from harness.model.loading.architectures import (
    ARCHITECTURES,
    Architecture,
    architecture_of,
    attention_outputs,
    check_entry,
    shape_of,
    with_entries,
)
from harness.model.loading.loaded_model import LoadedModel


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_architecture_of_the_table_gives_its_projections(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    assert [(o.layer, o.n_heads, o.head_dim) for o in loaded.outputs] == [
        (layer, N_HEADS, HEAD_DIM) for layer in range(N_LAYERS)
    ]
    entry = ARCHITECTURES[model_type]
    for output in loaded.outputs:
        assert output.name == f"{entry.layers}.{output.layer}.{entry.projection}"
        assert loaded.model.get_submodule(output.name) is output.module


def test_width_is_the_projections_own_where_hidden_size_would_give_another() -> None:
    model = tiny_model("llama")
    assert model.config.hidden_size // N_HEADS != HEAD_DIM
    assert {output.head_dim for output in attention_outputs(model)} == {HEAD_DIM}


def test_width_is_the_values_where_keys_are_wider() -> None:
    config = tiny_config("deepseek_v3")
    assert (config.head_dim, config.qk_head_dim) == (4, 10)
    assert shape_of(tiny_loaded("deepseek_v3").outputs).head_dim == config.v_head_dim == HEAD_DIM


def test_unknown_model_type_names_the_table_and_an_entry() -> None:
    config = tiny_config("llama")
    with pytest.raises(
        ModelError,
        match=r"model_type 'llama': .* expected one of gpt2; .*--ablation-architectures 'llama = model.layers, ",
    ):
        architecture_of(config, architectures={"gpt2": ARCHITECTURES["gpt2"]})


def test_an_entry_can_be_added() -> None:
    model = tiny_model("llama")
    model.config.model_type = "mine"  # type: ignore[misc]  # a class variable, of one object here
    with pytest.raises(ModelError, match="model_type 'mine'"):
        attention_outputs(model)
    outputs = attention_outputs(model, ARCHITECTURES["llama"])
    assert [output.head_dim for output in outputs] == [HEAD_DIM] * N_LAYERS


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            Architecture("model.blocks", "self_attn.o_proj"),
            "nothing at 'model.blocks'; expected a list of layers; correct the entry of 'llama'",
        ),
        (Architecture("model.layers", "attn.o_proj"), "a projection at 'attn.o_proj'"),
        (Architecture("model.norm", "self_attn.o_proj"), "a LlamaRMSNorm at 'model.norm'; expected a list of layers"),
        (Architecture("model.layers", "input_layernorm"), "a LlamaRMSNorm; expected a linear projection"),
        (Architecture("model.layers", "self_attn.q_proj"), "input size 24; expected 32"),
    ],
)
def test_a_wrong_entry_is_refused(entry: Architecture, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        attention_outputs(tiny_model("llama"), entry)
    assert "\n" not in str(caught.value)


def test_width_that_heads_do_not_divide() -> None:
    model = tiny_model("gpt_neox")
    model.config.num_attention_heads = 5
    with pytest.raises(ModelError, match=r"gpt_neox.layers.0.attention.dense: input size 32; .* 5 attention heads"):
        attention_outputs(model)


def test_width_that_contradicts_the_config() -> None:
    model = tiny_model("llama")
    model.model.layers[1].self_attn.o_proj = nn.Linear(16, 24, bias=False)
    with pytest.raises(ModelError, match=r"layers.1.self_attn.o_proj: input size 16; expected 32.*sharded"):
        attention_outputs(model)


def test_local_shard_of_a_projection_is_refused() -> None:
    model = tiny_model("gpt_neox")
    dense = model.get_submodule("gpt_neox.layers.0.attention.dense")
    dense.weight = nn.Parameter(cast(torch.Tensor, dense.weight)[:, :16], requires_grad=False)
    with pytest.raises(ModelError, match=r"layers.0.attention.dense: its weight is sharded"):
        attention_outputs(model)


def test_distributed_weight_is_refused() -> None:
    model = tiny_model("llama")
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]  # not in its list of names
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        projection = model.model.layers[2].self_attn.o_proj
        mesh = init_device_mesh("cpu", (1,))
        weight = distribute_tensor(projection.weight, mesh, [Shard(1)])
        projection.weight = nn.Parameter(weight, requires_grad=False)
        with pytest.raises(ModelError, match=r"layers.2.self_attn.o_proj: its weight is sharded"):
            attention_outputs(model)
    finally:
        torch.distributed.destroy_process_group()


def test_shape_of_layers_that_agree_and_that_do_not() -> None:
    outputs = tiny_loaded("llama").outputs
    assert shape_of(outputs, model_id="me", revision="abc") == ModelShape(N_LAYERS, N_HEADS, HEAD_DIM, "me", "abc")
    with pytest.raises(ModelError, match=r"layers.1.self_attn.o_proj: 4 heads of width 16; expected 4 of width 8"):
        shape_of([outputs[0], replace(outputs[1], head_dim=16)])


def test_layers_that_share_a_projection() -> None:
    """As where one layer is run several times: its heads would be ablated in all of them."""
    model = tiny_model("llama")
    model.model.layers[2] = model.model.layers[0]
    with pytest.raises(ModelError, match=r"layers have one 'self_attn.o_proj' in common; expected one each"):
        attention_outputs(model)


def test_layers_that_differ_by_their_config() -> None:
    kinds = ["sliding_attention", "full_attention"]
    config = AutoConfig.for_model("gemma4_text", num_hidden_layers=2, hidden_size=32, layer_types=kinds)
    with pytest.raises(ModelError, match="its layers differ in head_dim; expected as many heads of one width in each"):
        attention_outputs(drawn(config), ARCHITECTURES["llama"])


def test_entries_stand_beside_the_table() -> None:
    entries = with_entries(["phi = model.layers, self_attn.dense", "mine=a.b,c"])
    assert entries == {
        **ARCHITECTURES,
        "phi": Architecture("model.layers", "self_attn.dense", one_by_one="no test has branched the layers of phi"),
        "mine": Architecture("a.b", "c", one_by_one="no test has branched the layers of mine"),
    }
    with pytest.raises(ModelError, match="architectures: 'llama' is known already"):
        with_entries(["llama = model.layers, self_attn.o_proj"])


HYBRIDS: dict[str, tuple[dict[str, object], str, str]] = {
    "jamba": ({"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False}, "self_attn.o_proj", "0, 2"),
    "qwen3_next": ({"layer_types": ["linear_attention", "full_attention", "full_attention"]}, "self_attn.o_proj", "0"),
    "granitemoehybrid": (
        {"layer_types": ["mamba", "attention", "mamba"], "mamba_n_heads": 8},
        "self_attn.o_proj",
        "0, 2",
    ),
    "lfm2": ({"layer_types": ["conv", "conv", "full_attention"]}, "self_attn.out_proj", "0, 1"),
}


@pytest.mark.parametrize("model_type", HYBRIDS)
def test_hybrids_are_refused(model_type: str) -> None:
    """A layer without attention has no heads: neither to rank, nor to draw at random."""
    settings, projection, layers = HYBRIDS[model_type]
    config = AutoConfig.for_model(model_type, num_hidden_layers=3, hidden_size=32, num_attention_heads=4, **settings)
    with pytest.raises(ModelError, match=f"no attention with a '{projection}' in layers {layers}; .*hybrid models"):
        attention_outputs(drawn(config), Architecture("model.layers", projection))


def test_a_layer_of_linear_attention_is_no_layer_of_heads() -> None:
    """Whatever its projection is called."""
    model = tiny_model("llama")
    model.config.layer_types = ["full_attention", "linear_attention", "sliding_attention"]
    with pytest.raises(ModelError, match="in layers 1; expected attention heads in every layer"):
        attention_outputs(model)


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

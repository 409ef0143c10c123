"""Where projections are, how wide their heads are, and what is refused."""

from dataclasses import replace
from typing import cast

import pytest
import torch
from tiny_models import HEAD_DIM, MODEL_TYPES, N_HEADS, N_LAYERS, tiny_config, tiny_loaded, tiny_model
from torch import nn
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh  # type: ignore[attr-defined]

from harness.errors import ModelError
from harness.experiment.heads import ModelShape
from harness.model.architectures import (
    ARCHITECTURES,
    Architecture,
    architecture_of,
    attention_outputs,
    shape_of,
)


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
    with pytest.raises(ModelError, match=r"model_type 'llama': .* expected one of gpt2; .*Architecture\(layers="):
        architecture_of(config, architectures={"gpt2": ARCHITECTURES["gpt2"]})


def test_an_entry_can_be_added() -> None:
    model = tiny_model("llama")
    model.config.model_type = "mine"  # type: ignore[misc]  # a class variable, of one object here
    with pytest.raises(ModelError, match="model_type 'mine'"):
        attention_outputs(model)
    outputs = attention_outputs(model, architectures={"mine": ARCHITECTURES["llama"]})
    assert [output.head_dim for output in outputs] == [HEAD_DIM] * N_LAYERS


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Architecture("model.blocks", "self_attn.o_proj"), "a list of layers at 'model.blocks'"),
        (Architecture("model.layers", "attn.o_proj"), "a projection at 'attn.o_proj'"),
        (Architecture("model.norm", "self_attn.o_proj"), "it is a LlamaRMSNorm"),
        (Architecture("model.layers", "input_layernorm"), "a LlamaRMSNorm; expected a linear projection"),
        (Architecture("model.layers", "self_attn.q_proj"), "input size 24; expected 32"),
    ],
)
def test_a_wrong_entry_is_refused(entry: Architecture, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        attention_outputs(tiny_model("llama"), architectures={"llama": entry})
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

"""Random models of a shape: cut down to run here; the true ones are counted in `test_model_size`."""

import copy

import torch

from harness.commands import bench as command
from harness.model.performance.shapes import SHAPES, random_model
from harness.settings import DEMO


def test_a_cut_down_shape_runs_and_is_the_same_for_the_same_seed() -> None:
    config = copy.deepcopy(SHAPES["llama-3-8b"])
    config.update({"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "vocab_size": 50, "head_dim": 2})
    first, second = (
        random_model("cut", config, device=torch.device("cpu"), dtype=torch.bfloat16, attention=None, seed=3)
        for _ in range(2)
    )
    assert (first.shape.n_layers, first.shape.n_heads, first.shape.head_dim) == (2, 32, 2)
    assert (first.dtype, first.attention, first.end_token_ids) == ("bfloat16", "sdpa", frozenset())
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(first.model(input_ids=ids).logits, second.model(input_ids=ids).logits)
    assert not first.model.training


def test_what_lies_where_does_not_change_what_is_drawn() -> None:
    """A device that holds a layer less, or more, draws the same for all others."""
    heads = []
    for n_layers in (2, 3):
        config = copy.deepcopy(SHAPES["llama-3-8b"])
        config.update({"num_hidden_layers": n_layers, "hidden_size": 64, "intermediate_size": 96, "vocab_size": 50})
        cpu = torch.device("cpu")
        made = random_model(
            "cut", config, device=cpu, dtype=torch.float32, attention=None, seed=3, places=[cpu] * n_layers
        )
        heads.append(made.model.get_submodule("lm_head").weight)
        first, second = (made.model.get_submodule(f"model.layers.{layer}.mlp.up_proj").weight for layer in (0, 1))
        assert not torch.equal(first, second)  # type: ignore[arg-type]  # weights
    assert torch.equal(heads[0], heads[1])  # type: ignore[arg-type]  # weights


def test_the_command_knows_the_same_names() -> None:
    assert (DEMO, *SHAPES) == command.SHAPES

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


def test_the_command_knows_the_same_names() -> None:
    assert (DEMO, *SHAPES) == command.SHAPES

"""What a call hands to an output projection: by place or by name, and nothing but one tensor of its width.

What ablated heads put out instead: mean ablation is the model with the heads' weights cut and a constant in their
place, and every value is the one that a hook-free calculation gives.
"""

import copy
from typing import Any, cast

import numpy as np
import pytest
import torch
from tiny_models import (
    FLOAT32_PARTS,
    HEAD_DIM,
    MIXTURES,
    N_HEADS,
    N_LAYERS,
    REPRESENTATIVES,
    cut_weights,
    random_ids,
    tiny_loaded,
    wrap,
)

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.experiment.intervention import MeanValues
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.projection_input import Mean, as_call, projection_input
from harness.model.loading.architectures import AttentionOutput, attention_outputs

OUTPUT = AttentionOutput(2, "layers.2.o_proj", torch.nn.Linear(6, 4), n_heads=3, head_dim=2)
HIDDEN = torch.zeros(1, 5, 6)


@pytest.mark.parametrize(("args", "kwargs", "keyword"), [((HIDDEN,), {}, None), ((), {"input": HIDDEN}, "input")])
def test_there_and_back(args: tuple[Any, ...], kwargs: dict[str, Any], keyword: str | None) -> None:
    hidden, name = projection_input(OUTPUT, args, kwargs)
    assert hidden is HIDDEN
    assert name == keyword
    assert as_call(hidden, name) == (args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "got"),
    [
        ((), {}, "[]"),
        ((HIDDEN, HIDDEN), {}, "[(1, 5, 6), (1, 5, 6)]"),
        ((HIDDEN,), {"scale": 2.0}, "[(1, 5, 6), 'float']"),
        ((HIDDEN[0],), {}, "[(5, 6)]"),
        ((HIDDEN[..., :4],), {}, "[(1, 5, 4)]"),
        (("text",), {}, "['str']"),
    ],
)
def test_anything_else_is_refused(args: tuple[Any, ...], kwargs: dict[str, Any], got: str) -> None:
    with pytest.raises(AblationError) as error:
        projection_input(OUTPUT, args, kwargs)
    assert str(error.value) == f"layers.2.o_proj: called with {got}; expected one tensor of (rows, positions, 6)"


HEADS = frozenset({Head(0, 1), Head(1, 0), Head(1, 3), Head(2, 2)})
WIDTH = N_HEADS * HEAD_DIM
MEANS = MeanValues(np.random.default_rng(1).normal(size=(N_LAYERS, WIDTH)))
IDS = torch.tensor([random_ids(20, seed=n) for n in (1, 2)])


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
@torch.inference_mode()
def test_a_mean_is_a_constant_beside_cut_weights(model_type: str) -> None:
    """Zero the columns that read the heads, and add what they make of the mean to the projection's output."""
    loaded = wrap(copy.deepcopy(tiny_loaded(model_type).model).double())
    if model_type in MIXTURES:
        loaded.model.config._experts_implementation = "eager"  # the library's grouped products know no float64
    cut = cut_weights(loaded.model, HEADS)
    for whole, output in zip(loaded.outputs, attention_outputs(cut), strict=True):
        weight = cast(torch.Tensor, whole.module.weight)
        constant = torch.zeros_like(weight[0] if model_type == "gpt2" else weight[:, 0])
        for head in HEADS:
            if head.layer == output.layer:
                columns = slice(head.head * HEAD_DIM, (head.head + 1) * HEAD_DIM)
                mean = torch.from_numpy(MEANS.vectors[output.layer, columns])
                constant += mean @ weight[columns] if model_type == "gpt2" else weight[:, columns] @ mean
        output.module.register_forward_hook(lambda _, __, out, constant=constant: out + constant)
    expected = cut(input_ids=IDS).logits
    with Ablation(loaded.outputs, [HEADS], Mean(MEANS)):
        logits = loaded.model(input_ids=IDS).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4 if model_type in FLOAT32_PARTS else 1e-10)
    with Ablation(loaded.outputs, [HEADS]):
        assert (loaded.model(input_ids=IDS).logits - logits).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_mean_is_rounded_once(dtype: torch.dtype) -> None:
    output = tiny_loaded().outputs[1]
    values = Mean(MEANS).values(output, 5, torch.zeros(2, 3, WIDTH, dtype=dtype))
    assert torch.equal(values, torch.from_numpy(MEANS.vectors[1:2])[None].to(dtype))


def test_what_spoils_a_mean_is_found() -> None:
    loaded = tiny_loaded()

    def spoilt() -> None:
        with Ablation(loaded.outputs, [{Head(1, 0)}], Mean(MEANS)):
            handle = loaded.outputs[1].module.register_forward_pre_hook(lambda _, args: (args[0] * 1.0001,))
            loaded.model(input_ids=IDS)
            handle.remove()

    with pytest.raises(AblationError, match=rf"o_proj: {2 * 20 * HEAD_DIM} other elements .* exactly the heads' mean"):
        spoilt()

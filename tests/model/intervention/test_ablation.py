"""Ablation against its oracle: the same model with the heads' weights cut. And everything that it refuses."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module  # type: ignore[import-untyped]  # has no types
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    HEAD_DIM,
    MIXTURES,
    MODEL_TYPES,
    N_HEADS,
    N_LAYERS,
    REPRESENTATIVES,
    cut_weights,
    random_ids,
    tiny_loaded,
    tiny_model,
)
from torch import nn
from transformers import PreTrainedModel

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.model.intervention.ablation import Ablation
from harness.model.loading.architectures import AttentionOutput, attention_outputs

ALL_HEADS = tuple(Head(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS))
WHOLE_LAYER = frozenset(head for head in ALL_HEADS if head.layer == 1)

head_sets = st.one_of(
    st.frozensets(st.sampled_from(ALL_HEADS), max_size=6),
    st.sampled_from(
        [frozenset(), WHOLE_LAYER, frozenset(ALL_HEADS), frozenset(ALL_HEADS[:1]), frozenset(ALL_HEADS[-1:])]
    ),
)


@torch.inference_mode()
def logits_of(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Prefill of all but the last two positions, then one token at a time: (rows, positions, vocabulary)."""
    output = model(input_ids=ids[:, :-2], use_cache=True)
    parts = [output.logits]
    for position in (ids.shape[1] - 2, ids.shape[1] - 1):
        output = model(
            input_ids=ids[:, position : position + 1], past_key_values=output.past_key_values, use_cache=True
        )
        parts.append(output.logits)
    return torch.cat(parts, dim=1)


def batch(n_rows: int, n_tokens: int = 20, *, seed: int = 0) -> torch.Tensor:
    return torch.tensor([random_ids(n_tokens, seed=seed + row) for row in range(n_rows)])


@contextmanager
def recorded(outputs: tuple[AttentionOutput, ...]) -> Iterator[list[tuple[int, torch.Tensor]]]:
    """What enters each projection behind all hooks that are there already, as (layer, copy of the tensor)."""
    seen: list[tuple[int, torch.Tensor]] = []
    handles = [
        output.module.register_forward_pre_hook(
            lambda _, args, layer=output.layer: seen.append((layer, args[0].clone()))
        )
        for output in outputs
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def hooks_of(outputs: tuple[AttentionOutput, ...]) -> int:
    return sum(len(o.module._forward_pre_hooks) + len(o.module._forward_hooks) for o in outputs)


@pytest.mark.parametrize(
    ("model_type", "heads"),
    [
        *((each, frozenset({Head(0, 1), Head(2, 0), Head(2, 3)})) for each in MODEL_TYPES),
        *((each, WHOLE_LAYER) for each in REPRESENTATIVES),
    ],
)
def test_equal_to_the_model_with_its_weights_cut(model_type: str, heads: frozenset[Head]) -> None:
    """Bit for bit, in prefill and decoding; and as before afterwards."""
    loaded = tiny_loaded(model_type)
    ids = batch(2)
    before = logits_of(loaded.model, ids)
    with Ablation(loaded.outputs, [heads]) as ablation:
        ablated = logits_of(loaded.model, ids)
    assert torch.equal(ablated, logits_of(cut_weights(loaded.model, heads), ids))
    assert not torch.equal(ablated, before)
    assert torch.equal(logits_of(loaded.model, ids), before)
    assert ablation.fired == {head.layer: 3 for head in heads}


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_each_row_loses_its_own_heads(model_type: str) -> None:
    """Bit for bit; but a mixture's experts compute their rows together, which rounds otherwise."""
    loaded = tiny_loaded(model_type)
    sets = [frozenset(), frozenset({Head(0, 1), Head(2, 3)}), WHOLE_LAYER, frozenset({Head(2, 2)})]
    ids = batch(len(sets))
    with Ablation(loaded.outputs, sets):
        ablated = logits_of(loaded.model, ids)
    for row, heads in enumerate(sets):
        cut = logits_of(cut_weights(loaded.model, heads), ids)
        if model_type in MIXTURES:
            torch.testing.assert_close(ablated[row], cut[row], rtol=0, atol=1e-4)
        else:
            assert torch.equal(ablated[row], cut[row]), heads


@settings(derandomize=True, deadline=None, max_examples=25)
@given(heads=head_sets, n_rows=st.integers(1, 3), n_tokens=st.integers(3, 24), seed=st.integers(0, 99))
def test_any_heads_any_batch(heads: frozenset[Head], n_rows: int, n_tokens: int, seed: int) -> None:
    """One head set serves all rows of any batch."""
    loaded = tiny_loaded("llama")
    ids = batch(n_rows, n_tokens, seed=seed)
    before = logits_of(loaded.model, ids)
    with Ablation(loaded.outputs, [heads]):
        ablated = logits_of(loaded.model, ids)
    assert torch.equal(ablated, logits_of(cut_weights(loaded.model, heads), ids))
    assert torch.equal(logits_of(loaded.model, ids), before)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.lists(head_sets, min_size=1, max_size=4))
def test_only_the_slices_change(sets: list[frozenset[Head]]) -> None:
    """What enters a projection: +0.0 in its row's heads, elsewhere the very bits that came in."""
    loaded = tiny_loaded("qwen3")
    ids = batch(len(sets))
    with recorded(loaded.outputs) as came, Ablation(loaded.outputs, sets), recorded(loaded.outputs) as read:
        logits_of(loaded.model, ids)
    assert len(came) == len(read) == 3 * N_LAYERS
    for (layer, before), (_, after) in zip(came, read, strict=True):
        for row, heads in enumerate(sets):
            for head in range(N_HEADS):
                columns = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
                old, new = before[row, :, columns].view(torch.int32), after[row, :, columns].view(torch.int32)
                assert (not new.any()) if Head(layer, head) in heads else torch.equal(old, new)


def one_projection(n_heads: int = 2, head_dim: int = 3) -> tuple[AttentionOutput, ...]:
    return (AttentionOutput(0, "layers.0.o_proj", nn.Linear(n_heads * head_dim, 4, bias=False), n_heads, head_dim),)


def test_infinities_and_nan_become_zero_and_the_callers_tensor_stays() -> None:
    outputs = one_projection()
    hidden = torch.full((1, 2, 6), math.inf)
    hidden[..., 3:] = 1.0
    hidden[0, 0, 0] = math.nan
    untouched = hidden.clone()
    with Ablation(outputs, [{Head(0, 0)}]):
        result = outputs[0].module(hidden)
    assert torch.equal(hidden.view(torch.int32), untouched.view(torch.int32))
    weight: Any = outputs[0].module.weight
    assert torch.allclose(result, weight[:, 3:].sum(dim=1).expand(1, 2, 4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_stays(dtype: torch.dtype) -> None:
    outputs = one_projection()
    outputs[0].module.to(dtype)
    with Ablation(outputs, [{Head(0, 1)}]):
        assert outputs[0].module(torch.ones(1, 2, 6, dtype=dtype)).dtype == dtype


def test_a_keyword_argument_is_found() -> None:
    outputs = one_projection()
    hidden = torch.randn(1, 2, 6)
    with Ablation(outputs, [{Head(0, 1)}]) as ablation:
        by_keyword = outputs[0].module(input=hidden)
        assert torch.equal(by_keyword, outputs[0].module(hidden))
    assert not torch.equal(by_keyword, outputs[0].module(hidden))
    assert ablation.fired == {0: 2}


def test_beside_hooks_that_wrap_forward() -> None:
    """accelerate replaces a module's forward to move its tensors; the ablation stays exact."""
    model = tiny_model("llama")
    outputs = attention_outputs(model)
    ids = batch(2)
    plain = logits_of(cut_weights(model, WHOLE_LAYER), ids)
    for output in outputs:
        add_hook_to_module(output.module, AlignDevicesHook(execution_device="cpu", offload=True, io_same_device=True))
    with Ablation(outputs, [WHOLE_LAYER]):
        assert torch.equal(logits_of(model, ids), plain)
    for output in outputs:
        remove_hook_from_module(output.module)


def test_no_heads_no_hooks() -> None:
    loaded = tiny_loaded("llama")
    with Ablation(loaded.outputs, [frozenset()]) as ablation:
        assert hooks_of(loaded.outputs) == 0
    assert ablation.fired == {}


def test_hooks_only_where_needed_and_gone_on_every_way_out() -> None:
    loaded = tiny_loaded("llama")
    hooks: list[int] = []

    def interrupted() -> None:
        with Ablation(loaded.outputs, [{Head(1, 0)}, {Head(2, 0)}]):
            hooks.extend(hooks_of((output,)) for output in loaded.outputs)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert hooks == [0, 2, 2]
    assert hooks_of(loaded.outputs) == 0
    with Ablation(loaded.outputs, [{Head(1, 0)}]):
        logits_of(loaded.model, batch(1))
    assert hooks_of(loaded.outputs) == 0


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([{Head(3, 0)}], r"head set 0: layer 3, but the model has 3 layers \(0-2\)"),
        ([set(), {Head(1, 4)}], r"head set 1: head 4 of layer 1, but the model has 4 heads a layer \(0-3\)"),
        ([], "no head set; expected one for each row"),
    ],
)
def test_unknown_heads_are_refused(heads: list[set[Head]], message: str) -> None:
    with pytest.raises(AblationError, match=message):
        Ablation(tiny_loaded("llama").outputs, heads)


def test_a_batch_of_another_size_is_refused() -> None:
    loaded = tiny_loaded("llama")
    with (
        pytest.raises(
            AblationError, match=r"layers.1.*shape \(3, 18, 32\); expected \(2 rows, any positions, width 32"
        ),
        Ablation(loaded.outputs, [{Head(1, 0)}, set()]),
    ):
        logits_of(loaded.model, batch(3))
    assert hooks_of(loaded.outputs) == 0


@pytest.mark.parametrize("shape", [(2, 6), (1, 2, 8), (1, 1, 2, 6)])
def test_an_unexpected_input_is_refused(shape: tuple[int, ...]) -> None:
    outputs = one_projection()
    with (
        pytest.raises(AblationError, match="o_proj: called with"),
        Ablation(outputs, [{Head(0, 0)}]),
    ):
        outputs[0].module(torch.ones(shape))


def test_a_call_with_more_than_one_tensor_is_refused() -> None:
    outputs = one_projection()
    with (
        pytest.raises(AblationError, match=r"called with \[\(1, 2, 6\), 'int'\]"),
        Ablation(outputs, [{Head(0, 0)}]),
    ):
        outputs[0].module(torch.ones(1, 2, 6), 3)


def test_entered_twice() -> None:
    loaded = tiny_loaded("llama")
    ablation = Ablation(loaded.outputs, [{Head(0, 0)}])
    with ablation:
        logits_of(loaded.model, batch(1))
        with pytest.raises(AblationError, match="entered a second time"), ablation:
            pass
        assert hooks_of(loaded.outputs) == 2
    with pytest.raises(AblationError, match="entered a second time"), ablation:
        pass


def test_two_at_once_on_one_model() -> None:
    """Not even where they touch other layers, and not even a baseline inside an ablation."""
    loaded = tiny_loaded("llama")
    with Ablation(loaded.outputs, [{Head(0, 0)}]):
        logits_of(loaded.model, batch(1))
        for inner in ({Head(2, 1)}, set()):
            with pytest.raises(AblationError, match="another ablation of this model is open"):
                Ablation(loaded.outputs, [inner]).__enter__()
        with Ablation(tiny_loaded("qwen3").outputs, [set()]):
            pass
    with Ablation(loaded.outputs, [set()]):
        pass


def test_a_hook_that_never_fired() -> None:
    outputs = one_projection()
    with (
        pytest.raises(AblationError, match="o_proj: its hook never fired"),
        Ablation(outputs, [{Head(0, 0)}]),
    ):
        pass
    with pytest.raises(ZeroDivisionError), Ablation(outputs, [{Head(0, 0)}]):
        raise ZeroDivisionError


def test_a_projection_called_past_its_module() -> None:
    """A fused kernel may take the weight alone: then nothing was ablated, and that is an error."""
    outputs = one_projection()
    weight: Any = outputs[0].module.weight
    with pytest.raises(AblationError, match="never fired"), Ablation(outputs, [{Head(0, 0)}]):
        nn.functional.linear(torch.ones(1, 2, 6), weight)


def test_slices_that_another_hook_fills_again() -> None:
    outputs = one_projection()

    def spoilt() -> None:
        with Ablation(outputs, [{Head(0, 0)}]):
            handle = outputs[0].module.register_forward_pre_hook(lambda _, args: (args[0] + 1,))
            outputs[0].module(torch.ones(1, 2, 6))
            outputs[0].module(torch.ones(1, 2, 6))
            handle.remove()

    with pytest.raises(AblationError, match=r"12 other elements .* over 2 calls; expected exactly 0"):
        spoilt()
    assert hooks_of(outputs) == 0

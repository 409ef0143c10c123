"""Heads kept from some tokens, against an attention that is written out and edited by hand."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_edges import slow_logits, slow_logprob, slow_tokens
from tiny_models import (
    EDGE_REPRESENTATIVES,
    FLOAT32_PARTS,
    MODEL_TYPES,
    N_HEADS,
    N_LAYERS,
    WINDOW,
    WITH_EDGES,
    doubled,
    random_prompt,
    tiny_loaded,
    wrap,
)
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from harness.errors import AblationError, ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import Edges, Intervention
from harness.model.generation.reference import run_row
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.attention_edges import AttentionEdges, left_of
from harness.model.loading.loaded_model import LoadedModel

HEADS = frozenset({Head(0, 1), Head(1, 0), Head(1, 3), Head(2, 2)})
N_TOKENS = WINDOW + 3
NEEDLE = tuple(range(4, 9))
OTHERS = (1, 2, 3, *range(9, 13))
EDGES = {"needle": Edges(NEEDLE), "others": Edges(OTHERS[2:7]), "mass": Edges(NEEDLE, OTHERS)}


def run(loaded: LoadedModel, edges: Edges, heads: frozenset[Head] = HEADS, *, n_tokens: int = 3) -> Any:
    endless = replace(loaded, end_token_ids=frozenset())
    (completion,) = run_row(
        endless, random_prompt(N_TOKENS), [heads], (5, 6), Intervention(edges), max_new_tokens=n_tokens
    )
    return completion


@pytest.mark.parametrize("model_type", EDGE_REPRESENTATIVES)
def test_the_oracle_is_the_models_own_attention(model_type: str) -> None:
    model, ids = doubled(model_type).model, random_prompt(N_TOKENS).token_ids
    with torch.inference_mode():
        own = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    tolerance = 1e-4 if model_type in FLOAT32_PARTS else 1e-10
    slow = slow_logits(model, ids, HEADS, Edges(()), 0)
    torch.testing.assert_close(slow, own, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("model_type", "which"),
    [*((each, "needle") for each in WITH_EDGES), *((each, how) for each in EDGE_REPRESENTATIVES for how in EDGES)],
)
def test_heads_without_some_edges(model_type: str, which: str) -> None:
    """Of the prompt's last token and all after it; what stands before is as ever."""
    loaded, prompt, edges = doubled(model_type), random_prompt(N_TOKENS), EDGES[which]
    completion = run(loaded, edges, n_tokens=2)
    asked = (loaded.model, prompt.token_ids)
    tolerance = 1e-4 if model_type in FLOAT32_PARTS else 1e-10
    for got, answer in ((completion.gold_logprob, prompt.value_ids), (completion.baseline_logprob, (5, 6))):
        assert got == pytest.approx(slow_logprob(*asked, answer, HEADS, edges), abs=tolerance)
    assert completion.token_ids == slow_tokens(*asked, HEADS, edges, n_tokens=2)
    assert completion.gold_logprob != pytest.approx(run(loaded, Edges(())).gold_logprob, abs=1e-4)


@pytest.mark.parametrize("model_type", EDGE_REPRESENTATIVES)
def test_without_edges_to_take_it_is_the_untouched_model(model_type: str) -> None:
    loaded = doubled(model_type)
    untouched, same = run(loaded, Edges(()), frozenset()), run(loaded, Edges(()))
    tolerance = 1e-4 if model_type in FLOAT32_PARTS else 1e-10
    assert same.gold_logprob == pytest.approx(untouched.gold_logprob, abs=tolerance)
    assert same.token_ids == untouched.token_ids


def test_a_head_that_is_left_nothing_puts_out_nothing() -> None:
    """All that a window holds is left out: as if the head were zeroed from there on."""
    loaded, every = doubled("phi3"), Edges(tuple(range(N_TOKENS + 9)))
    nothing = run(loaded, every)
    zeroed = run_row(
        replace(loaded, end_token_ids=frozenset()),
        random_prompt(N_TOKENS),
        [HEADS],
        (5, 6),
        Intervention(phase="decode"),
        max_new_tokens=3,
    )[0]
    assert nothing == zeroed


@settings(derandomize=True, deadline=None, max_examples=200)
@given(weights=st.lists(st.integers(0, 40), min_size=1, max_size=30), mass=st.integers(0, 300))
def test_as_much_attention_is_taken_from_the_largest_on(weights: list[int], mass: int) -> None:
    left = left_of(torch.tensor(weights).double(), torch.tensor([mass]).double()).tolist()
    taken = [weight * (1 - part) for weight, part in zip(weights, left, strict=True)]
    assert sum(taken) == pytest.approx(min(mass, sum(weights)))
    touched = [weight for weight, part in zip(weights, left, strict=True) if part < 1]
    whole = [weight for weight, part in zip(weights, left, strict=True) if part == 1 and weight]
    assert min(touched, default=99) >= max(whole, default=0)
    assert sum(0 < part < 1 for part in left) <= 1


@pytest.mark.parametrize("model_type", sorted({*MODEL_TYPES} - {*WITH_EDGES}))
def test_an_attention_of_its_own_is_refused_by_name(model_type: str) -> None:
    with pytest.raises(ModelError, match=f"tiny {model_type}: {model_type} computes attention itself, .* use the mode"):
        run(tiny_loaded(model_type), EDGES["needle"])


@pytest.mark.parametrize("model_type", ["bloom", "falcon"])
def test_what_the_table_says_of_them_is_so(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    known = replace(loaded, architecture=replace(loaded.architecture, own_attention=False))
    with pytest.raises(AblationError, match="its attention does not go through the library's attention interface"):
        run(known, EDGES["needle"])


def spoilt() -> LoadedModel:
    return wrap(copy.deepcopy(doubled("llama").model))


def test_an_attention_that_does_more_than_is_known_is_found_out() -> None:
    """One that scales scores by more than it was told to."""
    loaded = spoilt()

    def sharper(*given: Any, scaling: float, **others: Any) -> Any:
        return sdpa_attention_forward(*given, **{"scaling": 1.05 * scaling, **others})

    AttentionInterface.register("test_sharper", sharper)
    loaded.model.config._attn_implementation = "test_sharper"
    with pytest.raises(AblationError, match=r"layers.0.self_attn.o_proj: softmax\(QK\^T\)V differs from what its att"):
        run(loaded, EDGES["needle"])


def test_what_changes_between_attention_and_projection_is_found_out() -> None:
    """As a gate on the heads' outputs would."""
    loaded = spoilt()
    module = loaded.outputs[1].module
    handle = module.register_forward_pre_hook(lambda _, args: (args[0] * 1.0001,))
    with pytest.raises(AblationError, match=r"layers.1.self_attn.o_proj: \d+ other elements entered it than its att"):
        run(loaded, EDGES["needle"])
    handle.remove()


def test_attention_is_the_models_own_again_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = spoilt()
    before = loaded.model.config._attn_implementation

    def n_hooks() -> int:
        return sum(len(each._forward_pre_hooks) + len(each._forward_hooks) for each in loaded.model.modules())

    n_before = n_hooks()

    def fail(*_: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(loaded.outputs[1].module, "forward", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        run(loaded, EDGES["needle"])
    assert loaded.model.config._attn_implementation == before
    assert n_hooks() == n_before


def test_each_row_of_a_batch_by_itself() -> None:
    """Two rows, of which one loses a head: the other's outputs are its own to the last bit."""
    loaded, ids = doubled("llama"), torch.tensor([random_prompt(N_TOKENS).token_ids] * 2)
    edges = AttentionEdges(loaded, EDGES["needle"], HEADS, first=N_TOKENS - 1)
    with torch.inference_mode():
        untouched = loaded.model(input_ids=ids).logits
        with Ablation(loaded.outputs, [HEADS, frozenset()], edges, first=N_TOKENS - 1):
            logits = loaded.model(input_ids=ids).logits
    assert torch.equal(logits[1], untouched[1])
    assert torch.equal(logits[0, :-1], untouched[0, :-1])
    assert not torch.equal(logits[0, -1], untouched[0, -1])


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(AblationError, match=f"layer {N_LAYERS}, but the model has"):
        run(tiny_loaded(), EDGES["needle"], frozenset({Head(N_LAYERS, N_HEADS)}))

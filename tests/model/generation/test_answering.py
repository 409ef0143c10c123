"""What says a draft is not decoded; what departs from it is, as by the plain loop."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest
import torch
from as_the_plain_loop import SETS, UNTOUCHED, assert_same, check_both
from tiny_models import HEAD_DIM, doubled, random_prompt, wrap

from harness.experiment.heads import Head
from harness.experiment.record import Ask
from harness.model.generation import answering, decoding, engine, reference
from harness.model.generation.decoding import Leaf, Reading
from harness.model.generation.leaf_step import LeafStep
from harness.model.intervention.projection_input import Replacement
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt


def follow_gold(loaded: LoadedModel, prompt: Prompt, n_tokens: int) -> Prompt:
    """The same prompt with the untouched model's first tokens as its gold value."""
    (untouched,) = reference.run_row(loaded, prompt, [UNTOUCHED], None, max_new_tokens=n_tokens)
    return replace(prompt, value_ids=untouched.token_ids)


def forward_passes(loaded: LoadedModel, prompt: Prompt, sets: Sequence[frozenset[Head]], most: int) -> int:
    """Calls of the model that one run of the engine makes."""
    calls: list[object] = []
    handle = loaded.model.register_forward_pre_hook(lambda *_: calls.append(None))
    engine.run_row(loaded, prompt, sets, None, max_new_tokens=most)
    handle.remove()
    return len(calls)


def test_a_condition_that_says_the_draft_and_ends_is_not_decoded() -> None:
    """One pass for the prompt, one for the gold value; each departure costs its own tokens only."""
    endless = replace(doubled("llama"), end_token_ids=frozenset())
    prompt = follow_gold(endless, random_prompt(20), 6)
    (longer,) = reference.run_row(endless, prompt, [UNTOUCHED], None, max_new_tokens=7)
    end = longer.token_ids[6]
    assert end not in prompt.value_ids
    loaded = replace(endless, end_token_ids=frozenset({end}))
    assert forward_passes(loaded, prompt, [UNTOUCHED], 20) == 2
    assert forward_passes(endless, prompt, [UNTOUCHED], 7) == 2
    assert forward_passes(endless, prompt, [UNTOUCHED], 9) == 2 + 2 + 1  # two tokens, the longer draft
    departing = check_both(loaded, prompt, SETS, tolerance=1e-10)
    assert any(each.all_ids != departing[0].all_ids for each in departing)


def test_who_said_what_the_untouched_model_said_is_not_fed_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two prompts of three conditions: a head that adds nothing changes no answer, another changes both."""
    model, idle, other = copy.deepcopy(doubled("llama").model), Head(1, 2), Head(0, 1)
    columns = slice(idle.head * HEAD_DIM, (idle.head + 1) * HEAD_DIM)
    cast(torch.Tensor, model.get_submodule("model.layers.1.self_attn.o_proj").weight)[:, columns] = 0
    loaded = replace(wrap(model), end_token_ids=frozenset(range(200, 256)))
    fed: list[frozenset[Head]] = []
    asks = [
        Ask(random_prompt(20, seed=row), (UNTOUCHED, frozenset({idle}), frozenset({other})), None) for row in (0, 1)
    ]
    feed = answering._fed_drafts

    def noted(loaded: LoadedModel, step: LeafStep, leaves: Sequence[Leaf], replacement: Replacement) -> Reading:
        fed.extend(leaf.heads for leaf in leaves)
        return feed(loaded, step, leaves, replacement)

    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    monkeypatch.setattr(answering, "_fed_drafts", noted)
    for number, got in engine.run_rows(loaded, asks):
        ((_, expected),) = reference.run_rows(loaded, [asks[number]])
        assert_same(got, expected, 1e-10)
        assert got[0].all_ids == got[1].all_ids != got[2].all_ids
    every = [heads for ask in asks for heads in ask.head_sets]
    assert sorted(fed[: len(every)], key=str) == sorted(every, key=str), "the gold value is fed to all"
    assert fed[len(every) :] == [frozenset({other})] * 2


@pytest.mark.parametrize(("worth", "n_done"), [(0.9, 0), (1.0, 1)])
def test_prompts_whose_baseline_the_gold_value_tells_are_decoded_with_the_others(
    worth: float, n_done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two prompts the untouched model says one's gold value and ends; other conditions of both go on in one loop.

    What is done is left out of it where it is much.
    """
    monkeypatch.setattr(answering, "WORTH_KEEPING", worth)
    endless = replace(doubled("llama"), end_token_ids=frozenset())
    right = follow_gold(endless, random_prompt(20, seed=1), 2)
    (longer,) = reference.run_row(endless, right, [UNTOUCHED], None, max_new_tokens=3)
    loaded = replace(endless, end_token_ids=frozenset({longer.token_ids[2]}))
    loops: list[int] = []
    decode = decoding.decode

    def noted(loaded: LoadedModel, step: LeafStep, leaves: Sequence[Leaf], replacement: Replacement) -> None:
        loops.append(len(leaves))
        decode(loaded, step, leaves, replacement)

    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    monkeypatch.setattr(answering, "decode", noted)
    asks = [Ask(prompt, SETS, None, max_new_tokens=8) for prompt in (right, random_prompt(22, seed=2))]
    for number, got in engine.run_rows(loaded, asks):
        ((_, expected),) = reference.run_rows(loaded, [asks[number]])
        assert_same(got, expected, 1e-10)
        assert (got[0].token_ids == right.value_ids) == (number == 0)
    assert loops == [2 * len(SETS) - n_done]

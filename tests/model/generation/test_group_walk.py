"""A group's fronts are read once, and with less where memory runs out; what is said stays the plain loop's."""

from dataclasses import replace

import pytest
import torch
from as_the_plain_loop import SETS, UNTOUCHED, assert_clean, assert_same, check_both
from tiny_models import N_HEADS, N_LAYERS, doubled, random_ids, random_prompt, tiny_loaded

from harness.errors import ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import Intervention, Rescue
from harness.experiment.record import Ask
from harness.model.generation import engine, group_walk, reference
from harness.model.generation.branching import Branching
from harness.model.generation.row_answers import ReadPrompt
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance.measures import LayerCounter


@pytest.mark.parametrize("branches", [None, 1, 2])
def test_a_common_front_is_read_once(branches: int | None) -> None:
    """Five rows of 60 common tokens and 8 of their own: passes over the front are those of one row's tree."""
    loaded = tiny_loaded("llama")
    front = random_ids(60, seed=1)
    asks = [
        Ask(replace(random_prompt(1), token_ids=(*front, *random_ids(8, seed=2 + row))), SETS, None, max_new_tokens=3)
        for row in range(5)
    ]
    with LayerCounter(loaded, 71) as one:  # a prompt of 68 tokens, filled up
        list(engine.run_rows(loaded, asks[:1], branches=branches))
    with LayerCounter(loaded, 60) as five:
        list(engine.run_rows(loaded, asks, branches=branches))
    assert five.prefill_passes == one.prefill_passes > 0


@pytest.mark.parametrize(("cost", "most_read"), [(0.0, 2 * 40 + 5 * 10), (10.0**6, 5 * 50)])
def test_fronts_are_read_side_by_side(cost: float, most_read: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: two filings of 40 common tokens, with three rows and two, are one batch up to there, if it pays."""
    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    monkeypatch.setattr(group_walk, "busy_tokens", lambda loaded: cost)
    loaded, sets = doubled("llama"), (UNTOUCHED, frozenset({Head(N_LAYERS - 1, 1)}))
    asks = [
        Ask(
            replace(random_prompt(1), token_ids=(*random_ids(40, seed=row % 2), *random_ids(10, seed=9 + row))),
            sets,
            None,
            max_new_tokens=4,
        )
        for row in range(5)
    ]
    with LayerCounter(loaded, 1, most_short=8) as counter:
        answers = dict(engine.run_rows(loaded, asks))
    # the last layer's keys and values are read without its output projection
    assert counter.prefill_passes == most_read * (N_LAYERS - 1)
    for number, ask in enumerate(asks):
        ((_, expected),) = reference.run_rows(loaded, [ask])
        assert_same(answers[number], expected, 1e-10)


def test_what_a_row_begins_with_is_rescued_whoever_else_asks() -> None:
    """The first row's heads are in one layer, the second's in another: the front is of both."""
    loaded, front = doubled("llama"), random_ids(30, seed=1)
    asks = [
        Ask(
            replace(random_prompt(1), token_ids=(*front, *random_ids(4, seed=row))),
            (UNTOUCHED, frozenset({head})),
            None,
            Intervention(Rescue()),
            max_new_tokens=4,
        )
        for row, head in enumerate((Head(0, 1), Head(1, 2)), start=2)
    ]
    for number, got in engine.run_rows(loaded, asks, least=8):
        ((_, expected),) = reference.run_rows(loaded, [asks[number]])
        assert_same(got, expected, 1e-10)


def with_room_for(most: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a layer run out of memory with more nodes at once; how many each call was asked for is noted."""
    tried: list[int] = []
    run = Branching.run

    def short_of_memory(self, call, layer, tree, hidden, start):  # type: ignore[no-untyped-def]
        tried.append(len(tree.levels[layer].parents))
        if tried[-1] > most:
            raise torch.OutOfMemoryError("out of memory")
        return run(self, call, layer, tree, hidden, start)

    monkeypatch.setattr(Branching, "run", short_of_memory)
    return tried


@pytest.mark.parametrize("most", [9, 4, 0])
def test_fewer_prompts_are_side_by_side_where_memory_runs_out(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five prompts, two conditions each: ten nodes at once, then half, and at last one prompt as ever."""
    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    loaded = doubled("llama")
    asks = [Ask(random_prompt(12 + row, seed=row), SETS[:2], None, max_new_tokens=4) for row in range(5)]
    tried = with_room_for(most, monkeypatch)
    if most == 0:
        with pytest.raises(ModelError, match=r"filing0.htm/task: out of memory at one condition of 16 tokens"):
            list(engine.run_rows(loaded, asks))
        return
    answers = dict(engine.run_rows(loaded, asks))
    assert tried[0] == 10
    for number, ask in enumerate(asks):
        ((_, expected),) = reference.run_rows(loaded, [ask])
        assert_same(answers[number], expected, 1e-10)
    halvings = [max(each.halvings for each in answers[number]) for number in range(5)]
    assert halvings == ([1] * 5 if most == 9 else [1, 1, 2, 2, 2])


def test_out_of_memory_halves_the_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, prompt = doubled("llama"), random_prompt(20)
    tried = with_room_for(1, monkeypatch)
    check_both(loaded, prompt, SETS, branches=5, tolerance=1e-10)
    assert max(tried) > 1
    halved = engine.run_row(loaded, prompt, SETS, None, max_new_tokens=8, branches=4)
    assert {each.halvings for each in halved} == {2}, "from 4 to 2 to 1"
    monkeypatch.undo()
    with_room_for(0, monkeypatch)
    with pytest.raises(ModelError, match=r"filing0.htm/task: out of memory at one condition of 28 tokens"):
        engine.run_row(loaded, prompt, SETS, None, max_new_tokens=8)
    assert_clean(loaded)


def test_what_is_answered_before_memory_ran_out_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The untouched model is in the first run of leaves; memory runs out once, in the second."""
    answered: list[frozenset[Head]] = []
    after: list[int] = []
    keep, run = ReadPrompt.keep, Branching.run

    def note(self):  # type: ignore[no-untyped-def]
        answered.extend(self.shared.tree.leaves)
        keep(self)

    def short_once(self, call, layer, tree, hidden, start):  # type: ignore[no-untyped-def]
        if answered and not {*answered} & {*tree.leaves}:
            after.append(layer)
            if len(after) == 1:
                raise torch.OutOfMemoryError("out of memory")
        return run(self, call, layer, tree, hidden, start)

    monkeypatch.setattr(ReadPrompt, "keep", note)
    monkeypatch.setattr(Branching, "run", short_once)
    sets = [UNTOUCHED, *(frozenset({Head(0, head)}) for head in range(N_HEADS))]
    check_both(doubled("llama"), random_prompt(20), sets, branches=2, tolerance=1e-10)
    assert answered[0] == UNTOUCHED
    assert len(answered) == len(sets)
    assert len(after) > 1


def test_other_errors_are_not_taken_for_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr(Branching, "run", broken)
    with pytest.raises(RuntimeError, match="no kernel for this"):
        engine.run_row(doubled("llama"), random_prompt(9), SETS, None, max_new_tokens=3)
    assert_clean(doubled("llama"))

"""Rows put aside behind a front are answered together, each as by the plain loop."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from as_the_plain_loop import HEADS, MEANS, SETS, UNTOUCHED, check_asks
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import WINDOW, doubled, random_ids, random_prompt

from harness.experiment.intervention import Intervention
from harness.experiment.record import Ask
from harness.model.generation import answering, decoding, engine, node_attention, reference, room, waiting
from harness.model.generation import groups as groups_module
from harness.model.loading.loaded_model import LoadedModel


def behind_fronts(patch: pytest.MonkeyPatch) -> None:
    """As on a GPU that is busy with one prompt."""
    patch.setattr(LoadedModel, "waits_for_launches", True)
    patch.setattr(groups_module, "at_once", lambda *_: 1)


def rows_of_a_filing(loaded: LoadedModel, known: bool) -> list[Ask]:
    """Three rows whose gold value nobody says, so that what the untouched model says is a draft of its own."""
    front, asks = random_ids(24, seed=1), []
    for row in range(3):
        prompt = replace(random_prompt(1), token_ids=(*front, *random_ids(4 + row, seed=20 + row)))
        (said,) = reference.run_row(loaded, prompt, [UNTOUCHED], None, max_new_tokens=5)
        prompt = replace(prompt, value_ids=(255 - said.token_ids[0],))
        asks.append(Ask(prompt, SETS, said.all_ids if known else None, max_new_tokens=5))
    return asks


@st.composite
def drafts(draw: st.DrawFn, said: Sequence[int], most: int) -> tuple[int, ...]:
    """What a model said, or its beginning and something else."""
    right = said[: draw(st.integers(0, len(said)))]
    return (*right, *draw(st.lists(st.integers(0, 255), min_size=0 if right else 1, max_size=2)))[:most]


@settings(derandomize=True, deadline=None, max_examples=12)
@given(data=st.data())
def test_rows_of_one_filing_are_answered_together(data: st.DataObject) -> None:
    """As on a GPU: rows put aside behind a front, or two; drafts that hold and fail, baselines known or not.

    Rows have different lengths and limits, and may be nothing but the front and a last token.
    """
    ends = data.draw(st.frozensets(st.integers(0, 255), max_size=60))
    loaded = replace(doubled(data.draw(st.sampled_from(["llama", "qwen3"]))), end_token_ids=ends)
    intervention = Intervention(data.draw(st.sampled_from([None, MEANS])))
    front = random_ids(data.draw(st.integers(4, 2 * WINDOW)), seed=data.draw(st.integers(0, 3)))
    longer = (*front, *random_ids(6, seed=7))
    common = data.draw(st.lists(st.frozensets(st.sampled_from(HEADS), max_size=4), max_size=3))
    knows = data.draw(st.sampled_from([(True,), (False,), (True, False)]))
    asks = []
    for row in range(data.draw(st.integers(2, 4))):
        begins, own = data.draw(st.sampled_from([front, front, longer])), data.draw(st.integers(1, WINDOW))
        prompt = replace(random_prompt(1), token_ids=(*begins, *random_ids(own, seed=20 + row)))
        sets = [*data.draw(st.permutations([UNTOUCHED, *common])), frozenset({data.draw(st.sampled_from(HEADS))})]
        (said,) = reference.run_row(loaded, prompt, [UNTOUCHED], None, max_new_tokens=6)
        gold = data.draw(drafts(said.token_ids, 4)) or (1,)
        known = data.draw(drafts(said.all_ids, 6)) if data.draw(st.sampled_from(knows)) else None
        most = data.draw(st.integers(1, 6))
        asks.append(Ask(replace(prompt, value_ids=gold), tuple(sets), known, intervention, most))
    with pytest.MonkeyPatch.context() as patch:
        behind_fronts(patch)
        patch.setattr(room, "CPU_HELD", data.draw(st.sampled_from([2**30, 2**18])))
        patch.setattr(decoding, "IN_CACHE", data.draw(st.sampled_from([2**21, 1])))
        patch.setattr(node_attention, "WORTH_ANOTHER_RUN", data.draw(st.sampled_from([2**20, 0])))
        patch.setattr(answering, "LOGITS_BYTES", data.draw(st.sampled_from([2**32, 2**32, 2**16])))
        patch.setattr(answering, "COMPUTED", 0)
        check_asks(loaded, asks, 3, None, 1e-10)


@pytest.mark.parametrize("known", [False, True])
def test_what_is_said_to_rows_of_a_filing_is_one_batch(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU: one feed of all drafts, one loop of steps."""
    loaded = replace(doubled("llama"), end_token_ids=frozenset())
    asks = rows_of_a_filing(loaded, known)
    behind_fronts(monkeypatch)
    drafts, decoded = answering._fed_drafts, decoding.decode
    batches: list[tuple[str, int]] = []

    def feed(*args):  # type: ignore[no-untyped-def]
        batches.append(("drafts", len(args[2])))
        return drafts(*args)

    def decode(*args):  # type: ignore[no-untyped-def]
        batches.append(("steps", len(args[2])))
        decoded(*args)

    monkeypatch.setattr(answering, "_fed_drafts", feed)
    monkeypatch.setattr(answering, "decode", decode)
    check_asks(loaded, asks, 8, None, 1e-10)
    n_leaves = len(asks) * len(SETS)
    n_departed = batches[1][1]
    assert batches == (
        [("drafts", n_leaves), ("steps", n_departed)]
        if known
        # the untouched model's own leaves have said it
        else [("steps", n_leaves), ("drafts", n_leaves - len(asks))]
    )


@pytest.mark.parametrize(("waits", "together"), [(True, [3]), (False, [1, 1, 1])])
def test_what_is_answered_together_is_given_out_together(
    waits: bool, together: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = replace(doubled("llama"), end_token_ids=frozenset())
    asks = rows_of_a_filing(loaded, known=True)
    behind_fronts(monkeypatch)
    monkeypatch.setattr(LoadedModel, "waits_for_launches", waits)
    assert [len(each) for each in engine.run_side_by_side(loaded, iter([asks]), least=8)] == together


def test_nobody_waits_where_no_prompt_has_conditions_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A front is read in runs of leaves; of one of them two of its prompts ask nothing, two share more."""
    loaded = replace(doubled("llama"), end_token_ids=frozenset())
    behind_fronts(monkeypatch)
    monkeypatch.setattr(room, "CPU_HELD", 1)
    front = random_ids(24, seed=1)
    longer = (*front, *random_ids(12, seed=2))
    asks = [
        Ask(replace(random_prompt(1), token_ids=(*begins, *random_ids(5, seed=20 + row))), sets, None, max_new_tokens=3)
        for row, (begins, sets) in enumerate([(front, (UNTOUCHED,))] * 2 + [(longer, SETS[:2])] * 2)
    ]
    check_asks(loaded, asks, 8, None, 1e-10)


def test_fewer_rows_wait_for_each_other_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three are too many and two too; nothing else is halved."""
    loaded = replace(doubled("llama"), end_token_ids=frozenset())
    asks = rows_of_a_filing(loaded, known=False)
    behind_fronts(monkeypatch)
    tried: list[int] = []
    own = answering.answer_together

    def answer(loaded, reads):  # type: ignore[no-untyped-def]
        tried.append(len(reads))
        if len(reads) > 1:
            raise torch.OutOfMemoryError("out of memory")
        own(loaded, reads)

    monkeypatch.setattr(waiting, "answer_together", answer)
    answers = dict(engine.run_rows(loaded, asks, least=8))
    assert tried == [3, 1, 1, 1]
    assert {each.halvings for said in answers.values() for each in said} == {0}

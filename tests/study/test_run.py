"""The one loop, with a fake engine: what is computed, once, in which order, by whom, and what stays where it ends."""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from fake_engine import END, FakeEngine, ids_in

from harness.errors import ModelError
from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.gate_conditions import PLAIN_TEXT, over_plain_text
from harness.experiment.heads import Blueprint, Head
from harness.experiment.locks import try_claim
from harness.experiment.plan import jobs_of
from harness.experiment.record import Ask, Completion
from harness.experiment.store import Store
from harness.experiment.store_merge import merge_stores
from harness.study.asked_model import AskedModel
from harness.study.inputs import Inputs
from harness.study.progress import Progress
from harness.study.run import Run
from study.runs import ONE, SAME, TWO, execute, ids_of, nothing_to_load


def test_equal_jobs_are_computed_once_row_by_row_baseline_first(inputs: Inputs, store: Path) -> None:
    engine = execute(inputs, store, [TWO, ONE, SAME])
    sets = (frozenset[Head](), frozenset(TWO.heads), frozenset(ONE.heads))
    assert engine.calls == [(row, "full", sets, None) for row in ids_of(inputs)]


def test_records_hold_what_the_engine_said(inputs: Inputs, store: Path) -> None:
    execute(inputs, store, [BASELINE, TWO])
    with Store(store) as opened:
        records = Run(inputs, opened, run_id="b").records([BASELINE, TWO, ONE])
    assert set(records) == {*jobs_of(BASELINE, inputs.rows), *jobs_of(TWO, inputs.rows)}
    two, baseline = (records[jobs_of(condition, inputs.rows)[0]] for condition in (TWO, BASELINE))
    assert two.completion == Completion(ids_in("xx"), None, -2.0, None, hooks_fired=2, smallest_gap=0.5)
    assert (two.text, two.device) == ("xx", FakeEngine.device)
    assert (baseline.text, baseline.completion.end_token_id) == ("none", END)
    assert baseline.seconds >= 0


def test_each_kind_of_prompt_is_asked_in_one_call(inputs: Inputs, store: Path) -> None:
    """In whatever order the conditions come: the ablated ones must stand with their baseline."""
    engine = execute(inputs, store, [BASELINE, NEEDLE_ABSENT, ONE])
    first = ids_of(inputs)[0]
    assert [call[:3] for call in engine.calls if call[0] == first] == [
        (first, "full", (frozenset(), frozenset(ONE.heads))),
        (first, "needle_absent", (frozenset(),)),
    ]


def test_rows_done_before_an_error_stay(inputs: Inputs, store: Path) -> None:
    class FailingEngine(FakeEngine):
        def answer(self, ask: Ask) -> tuple[Completion, ...]:
            if len(self.calls) == 2:
                raise ModelError("row 3: broken")
            return super().answer(ask)

    with pytest.raises(ModelError, match="row 3"):
        execute(inputs, store, [ONE], load=FailingEngine)
    assert [call[0] for call in execute(inputs, store, [ONE], run_id="b").calls] == ids_of(inputs)[2:]


def test_two_runs_at_once_share_the_rows(inputs: Inputs, store: Path) -> None:
    """Each in its own thread, with its own connection; both plan before either works, and each does one row first."""
    Store(store).close()
    both_planned, one_row_each = threading.Barrier(2), threading.Barrier(2)
    engines = [FakeEngine(), FakeEngine()]

    def work(index: int) -> None:
        def load() -> FakeEngine:
            both_planned.wait(timeout=300)
            return engines[index]

        def wait_for_the_other(progress: Progress) -> None:
            if progress.rows_done == 1:
                one_row_each.wait(timeout=300)

        with Store(store) as opened:
            run = Run(inputs, opened, run_id="a", share=index / 2)
            run.execute([ONE, TWO], load, wait_for_the_other)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs = engines[0].jobs + engines[1].jobs
    assert len(jobs) == len(set(jobs)) == 18
    assert all(engine.jobs for engine in engines)


def test_rows_of_others_are_waited_for_and_not_done_again(inputs: Inputs, store: Path) -> None:
    """Another process holds the first row; it is done there before this one comes back to it."""
    first, *others = ids_of(inputs)
    claim = try_claim(store, first)
    assert claim.__enter__()

    def let_go(progress: Progress) -> None:
        if progress.rows_done == len(others):
            claim.__exit__(None, None, None)
            execute(replace(inputs, rows=inputs.rows[:1]), store, [ONE], run_id="other")

    engine = execute(inputs, store, [ONE], progress=let_go)
    assert [call[0] for call in engine.calls] == others
    assert not execute(inputs, store, [ONE], run_id="b", load=nothing_to_load).calls


def test_rows_of_a_filing_are_claimed_together_before_any_is_asked(inputs: Inputs, store: Path) -> None:
    """Whoever comes meanwhile leaves the whole group alone, and claims are gone when all of it is kept."""
    held: list[list[str]] = []

    class Looking(FakeEngine):
        def answer(self, ask: Ask) -> tuple[Completion, ...]:
            free = []
            for row_id in ids_of(inputs):
                with try_claim(store, row_id) as mine:
                    free += [row_id] if mine else []
            held.append([row_id for row_id in ids_of(inputs) if row_id not in free])
            return super().answer(ask)

    execute(inputs, store, [ONE], load=Looking)
    filings = [[id_ for id_ in ids_of(inputs) if id_.startswith(asked.split("/")[0])] for asked in ids_of(inputs)]
    assert held == filings
    assert {len(group) for group in held} == {2}


def test_a_share_says_where_to_begin(inputs: Inputs, store: Path) -> None:
    engine = FakeEngine()
    with Store(store) as opened:
        Run(inputs, opened, run_id="a", share=0.5).execute([ONE], lambda: engine, lambda _: None)
    ids = ids_of(inputs)
    # half of three filings of two rows: from the second filing on
    assert [call[0] for call in engine.calls] == ids[2:] + ids[:2]


def test_progress_is_told_after_each_row(inputs: Inputs, store: Path) -> None:
    told: list[Progress] = []
    execute(inputs, store, [ONE], progress=told.append)
    assert [(each.rows_done, each.rows) for each in told] == [(n, 6) for n in range(1, 7)]
    assert all(before.seconds <= after.seconds for before, after in itertools.pairwise(told))
    rows = enumerate(ids_of(inputs), start=1)
    assert [(each.just_done, each.own) for each in told] == [((row,), n) for n, row in rows]


@dataclass(frozen=True, eq=False)
class Narrow(AskedModel):
    """A model of a small window."""

    window: int = 0

    @property
    def blueprint(self) -> Blueprint:
        return replace(AskedModel(self.settings).blueprint, window=self.window)


def test_a_prompt_beyond_the_window_is_named_before_any_model_is_loaded(inputs: Inputs, store: Path) -> None:
    row = inputs.rows[0]
    narrow = replace(inputs, model=Narrow(inputs.settings, window=len(inputs.prompts.asked(row).token_ids)))
    with pytest.raises(ModelError, match=f"{row.id}: .* tokens, new ones included; .*, the window of tiny;"):
        execute(narrow, store, [BASELINE], load=nothing_to_load)


def test_prompts_of_a_row_come_kind_by_kind(inputs: Inputs, store: Path) -> None:
    """Whatever the order of the conditions: an engine takes all head sets of one prompt at once."""
    text = [PLAIN_TEXT, over_plain_text(ONE)]
    engine = execute(inputs, store, [text[0], NEEDLE_ABSENT, text[1], ONE, BASELINE])
    row = ids_of(inputs)[0]
    assert [(kind, len(sets)) for of_row, kind, sets, _ in engine.calls if of_row == row] == [
        ("full", 2),
        ("needle_absent", 1),
        ("plain_text", 2),
    ]


PERMUTED = Condition("permutation", "own-draw00-k02", (Head(0, 0), Head(2, 2)), gate="own", only_right=True)


class Knowing(FakeEngine):
    """Answers these rows rightly untouched; fails once it was asked `most` prompts."""

    def __init__(self, right: Sequence[str], most: int | None = None) -> None:
        super().__init__()
        self.right, self.most = right, most

    def answer(self, ask: Ask) -> tuple[Completion, ...]:
        if len(self.calls) == self.most:
            raise ModelError("broken")
        if ask.prompt.row_id not in self.right:
            return super().answer(ask)
        return tuple(
            completion if heads else replace(completion, token_ids=ask.prompt.value_ids)
            for heads, completion in zip(ask.head_sets, super().answer(ask), strict=True)
        )


def test_permutations_are_asked_where_the_untouched_model_is_right(inputs: Inputs, store: Path) -> None:
    """It is asked first, of all rows of a filing, and what it said is a draft of the rest."""
    rows, before = ids_of(inputs), frozenset[Head]()
    first = rows[:2]  # of one filing
    engine = Knowing([rows[0], *rows[3:]])
    execute(inputs, store, [BASELINE, ONE, PERMUTED], load=lambda: engine)
    asked = [(row, sets) for row, _, sets, _ in engine.calls]
    assert asked[:4] == [
        *((row, (before,)) for row in first),
        (first[0], (frozenset(ONE.heads), frozenset(PERMUTED.heads))),
        (first[1], (frozenset(ONE.heads),)),
    ]
    assert all(ids is not None for _, _, sets, ids in engine.calls if before not in sets)
    assert not execute(inputs, store, [BASELINE, ONE, PERMUTED], run_id="b", load=nothing_to_load).calls
    with Store(store) as opened:
        run = Run(inputs, opened, run_id="c")
        records, plan = run.records([BASELINE, ONE, PERMUTED]), run.plan([BASELINE, ONE, PERMUTED])
    wrong = rows[1:3]
    assert set(records) == {
        *(job for each in (BASELINE, ONE) for job in jobs_of(each, inputs.rows)),
        *jobs_of(PERMUTED, inputs.rows, wrong=wrong),
    }
    assert (plan.work, plan.requested, plan.stored) == ((), 16, 16)


@pytest.mark.parametrize("most", range(1, 12))
def test_broken_off_between_the_rounds_a_run_goes_on_as_if_it_had_not_been(
    inputs: Inputs, store: Path, most: int, tmp_path: Path
) -> None:
    conditions = [BASELINE, ONE, PERMUTED]
    right = ids_of(inputs)[::2]
    whole = Knowing(right)
    execute(inputs, tmp_path / "whole.sqlite", conditions, load=lambda: whole)
    broken = Knowing(right, most)
    with pytest.raises(ModelError, match="broken"):
        execute(inputs, store, conditions, load=lambda: broken)
    again = Knowing(right)
    execute(inputs, store, conditions, run_id="b", load=lambda: again)
    assert sorted(map(repr, broken.jobs + again.jobs)) == sorted(map(repr, whole.jobs)), "nothing twice, nothing left"


def test_plain_text_of_a_document_is_read_once_for_its_rows(inputs: Inputs, store: Path) -> None:
    rows = tuple(replace(row, haystack_text=inputs.rows[0].haystack_text) for row in inputs.rows)
    of_one = replace(inputs, rows=rows)
    engine = execute(of_one, store, [PLAIN_TEXT, over_plain_text(ONE)])
    assert [(row, len(sets)) for row, _, sets, _ in engine.calls] == [(rows[0].id, 2)]
    with Store(store) as opened:
        assert len(Run(of_one, opened, run_id="b").records([PLAIN_TEXT, over_plain_text(ONE)])) == 2 * len(rows)


def test_prompts_that_are_done_stay_when_their_group_is_broken_off(inputs: Inputs, store: Path) -> None:
    """Two rows of one filing are asked together; the second fails, and the first is not asked again."""

    class FailingEngine(FakeEngine):
        def answer(self, ask: Ask) -> tuple[Completion, ...]:
            if len(self.calls) == 1:
                raise ModelError("broken")
            return super().answer(ask)

    first, second = ids_of(inputs)[:2]
    assert first.split("/")[0] == second.split("/")[0]
    with pytest.raises(ModelError, match="broken"):
        execute(inputs, store, [ONE], load=FailingEngine)
    assert next(call[0] for call in execute(inputs, store, [ONE], run_id="b").calls) == second


TEXT = Condition("plain_text", prompt="plain_text")


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7])
def test_parts_do_all_of_a_plan_and_nothing_twice(inputs: Inputs, tmp_path: Path, parts: int) -> None:
    """Each part in a store of its own, and by two workers; which ask nothing more once the stores are one."""
    conditions, engines = [BASELINE, TWO, ONE, TEXT], list[FakeEngine]()
    for number in range(1, parts + 1):
        model = AskedModel(replace(inputs.settings, part=(number, parts)))
        part = replace(inputs, model=model)
        engines.append(FakeEngine())
        with Store(tmp_path / str(number)) as opened:
            for worker in range(2):
                run = Run(part, opened, run_id="a", share=worker / 2, workers=2)
                run.execute(conditions, partial(engines.__getitem__, -1), lambda _: None)
            mine = run.part_of_rows(conditions)
            assert mine is not None
            assert {row for row, *_ in engines[-1].jobs} == mine
            assert not run.plan(conditions).work
    whole = execute(inputs, tmp_path / "whole", conditions)
    assert sorted((job for engine in engines for job in engine.jobs), key=str) == sorted(whole.jobs, key=str)
    merge_stores([tmp_path / str(number) for number in range(1, parts + 1)], tmp_path / "merged")
    assert not execute(inputs, tmp_path / "merged", conditions, load=nothing_to_load).jobs


def test_parts_of_one_study_cost_about_the_same(inputs: Inputs, store: Path) -> None:
    """Three filings of two rows: two parts of three rows, for each filing is cut."""
    found = []
    with Store(store) as opened:
        for part in ((1, 2), (2, 2)):
            of_part = replace(inputs, model=AskedModel(replace(inputs.settings, part=part)))
            found.append(Run(of_part, opened, run_id="a").part_of_rows([ONE]))
        assert Run(inputs, opened, run_id="a").part_of_rows([ONE]) is None
    first, second = (part or frozenset() for part in found)
    assert (len(first), len(second), first & second) == (3, 3, frozenset())
    assert first | second == set(ids_of(inputs))


def test_the_work_of_each_layer(inputs: Inputs, store: Path) -> None:
    """Six rows: untouched and TWO part in layer 0, ONE and TWO in layer 2; one task's three rows lose a head more."""
    with Store(store) as opened:
        run = Run(inputs, opened, run_id="a")
        assert run.work_by_layer([BASELINE, TWO, ONE]) == (12, 12, 18)
        mine = Condition("mine", "of_one", (Head(1, 0),), tasks=("ceo_lastname",))
        assert run.work_by_layer([TWO, ONE, mine]) == (12, 15, 21)

"""The one loop, with a fake engine: what is computed, once, in which order, and what a store gives back."""

import itertools
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from fake_engine import END, FakeEngine, ids_in
from other_settings import under
from small_inputs import small_inputs

from harness.errors import ModelError
from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.gate_conditions import PLAIN_TEXT, over_plain_text
from harness.experiment.heads import Blueprint, Head
from harness.experiment.intervention import ZEROED, Intervention, MeanValues
from harness.experiment.locks import try_claim
from harness.experiment.plan import jobs_of
from harness.experiment.record import Ask, Completion, Record
from harness.experiment.store import Store
from harness.experiment.store_merge import merge_stores
from harness.study.asked_model import AskedModel
from harness.study.inputs import Inputs, read_inputs
from harness.study.progress import Progress
from harness.study.run import Run

ONE = Condition("mine", "one", (Head(0, 1),))
SAME = Condition("mine", "same", (Head(0, 1),))
TWO = Condition("mine", "two", (Head(0, 1), Head(2, 3)))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Two tasks' rows of three filings, all for evaluation, and a tiny checkpoint for its tokenizer."""
    return small_inputs(tmp_path_factory.mktemp("inputs"), 3)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def nothing_to_load() -> NoReturn:
    raise AssertionError("the model was loaded, but everything is stored")


def execute(
    inputs: Inputs,
    store: Path,
    conditions: Sequence[Condition],
    *,
    run_id: str = "a",
    load: Callable[[], FakeEngine] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> FakeEngine:
    engine = FakeEngine()
    with Store(store) as opened:
        Run(inputs, opened, run_id=run_id).execute(conditions, load or (lambda: engine), progress)
    return engine


def ids_of(inputs: Inputs) -> list[str]:
    return [row.id for row in inputs.rows]


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


def test_a_second_run_computes_nothing(inputs: Inputs, store: Path) -> None:
    execute(inputs, store, [BASELINE, TWO])
    assert not execute(inputs, store, [BASELINE, TWO], run_id="b", load=nothing_to_load).calls
    with Store(store) as opened:
        plan = Run(inputs, opened, run_id="c").plan([TWO])
    assert (plan.work, plan.distinct, plan.stored) == ((), 12, 12)


def test_a_record_is_read_once(inputs: Inputs, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the plan or for the report; and the store is looked into once for all jobs of a row, not for each."""
    looks: list[int] = []
    found = Store.found

    def watched(self: Store, keys: Iterable[str], *, run: str | None = None) -> dict[str, Record]:
        looks.append(len(asked := list(keys)))
        return found(self, asked, run=run)

    execute(inputs, store, [BASELINE, TWO])
    monkeypatch.setattr(Store, "found", watched)
    with Store(store) as opened:
        run = Run(inputs, opened, run_id="b")
        run.plan([BASELINE, TWO])
        assert looks == [2] * len(inputs.rows)
        records = run.records([BASELINE, TWO, ONE])
        assert (len(records), looks[len(inputs.rows) :]) == (2 * len(inputs.rows), [len(inputs.rows)])


def test_a_damaged_record_alone_is_computed_again(inputs: Inputs, store: Path) -> None:
    execute(inputs, store, [BASELINE, TWO])
    row = ids_of(inputs)[1]
    database = sqlite3.connect(store, isolation_level=None)
    database.execute("UPDATE records SET record = replace(record, 'xx', 'xy') WHERE row_id = ?", (row,))
    database.close()
    engine = execute(inputs, store, [BASELINE, TWO], run_id="b")
    assert engine.jobs == [(row, "full", frozenset(TWO.heads))]
    with Store(store) as opened:
        records = Run(inputs, opened, run_id="c").records([TWO])
        assert {record.text for record in records.values()} == {"xx"}
        assert [repair.what for repair in opened.repairs("b")] == [row]


def test_nothing_in_a_store_of_version_1_is_computed_again(inputs: Inputs, store: Path) -> None:
    """Its keys are the same, and its records say the same in other words."""
    execute(inputs, store, [BASELINE, TWO])
    with Store(store) as opened:
        before = Run(inputs, opened, run_id="b").records([BASELINE, TWO])
    as_version_1(store)
    assert not execute(inputs, store, [BASELINE, TWO], run_id="b", load=nothing_to_load).calls
    with Store(store) as opened:
        after = Run(inputs, opened, run_id="c").records([BASELINE, TWO])
        assert opened.repairs("b") == ()
    assert after == {job: replace(record, device=None) for job, record in before.items()}


class MeasuringEngine(FakeEngine):
    """Measures the untouched answer token by token, as real ones do."""

    def answer(self, ask: Ask) -> tuple[Completion, ...]:
        return tuple(replace(each, baseline_logprobs=(-1.0,)) for each in super().answer(ask))


def test_what_a_store_lacks_is_computed_where_a_gates_outcome_needs_it(inputs: Inputs, store: Path) -> None:
    """Older records say nothing of the untouched answer's tokens: they serve all but the likelihood."""
    conditions = [BASELINE, NEEDLE_ABSENT, TWO]
    execute(inputs, store, conditions)
    assert not execute(inputs, store, conditions, run_id="b", load=nothing_to_load).calls
    likely = under(inputs, gate_outcome="likelihood")
    with Store(store) as opened:
        assert set(Run(likely, opened, run_id="c").records(conditions)) == {*jobs_of(NEEDLE_ABSENT, inputs.rows)}
    engine = MeasuringEngine()
    execute(likely, store, conditions, run_id="d", load=lambda: engine)
    assert {kind for _, kind, _ in engine.jobs} == {"full"}
    assert len(engine.jobs) == 2 * len(inputs.rows)
    assert not execute(likely, store, conditions, run_id="e", load=nothing_to_load).calls
    with Store(store) as opened:
        records = Run(inputs, opened, run_id="f").records([BASELINE, TWO])
    assert {record.completion.baseline_logprobs for record in records.values()} == {(-1.0,)}


def as_version_1(store: Path) -> None:
    """Rewrite a store as version 1 kept it."""

    def flat(text: str) -> str:
        fields = json.loads(text)
        completion = fields.pop("completion")
        del fields["device"], completion["baseline_logprobs"]
        return json.dumps(fields | completion)

    database = sqlite3.connect(store)
    database.create_function("flat", 1, flat)
    database.executescript(
        """
        UPDATE records SET record = flat(record);
        ALTER TABLE records DROP COLUMN digest;
        ALTER TABLE means DROP COLUMN digest;
        ALTER TABLE declarations DROP COLUMN digest;
        DROP TABLE repairs;
        PRAGMA user_version = 1;
        """
    )
    database.close()


def test_what_is_new_gets_the_stored_baselines_tokens(inputs: Inputs, store: Path) -> None:
    """End token included, so that log-probabilities do not depend on when a condition was asked for."""
    execute(inputs, store, [ONE])
    engine = execute(inputs, store, [ONE, TWO], run_id="b")
    ids = (*ids_in("none"), END)
    assert engine.calls == [(row, "full", (frozenset(TWO.heads),), ids) for row in ids_of(inputs)]
    with Store(store) as opened:
        records = Run(inputs, opened, run_id="c").records([TWO])
    assert {record.completion.baseline_logprob for record in records.values()} == {-5.0}


def test_the_untouched_model_is_the_same_in_every_manner(inputs: Inputs, store: Path) -> None:
    engine = execute(inputs, store, [ONE])
    assert set(engine.interventions) == {ZEROED}
    other = under(inputs, phase="decode")
    engine = execute(other, store, [BASELINE, ONE], run_id="b")
    ids = (*ids_in("none"), END)
    assert engine.calls == [(row, "full", (frozenset(ONE.heads),), ids) for row in ids_of(inputs)]
    assert set(engine.interventions) == {Intervention(phase="decode")}
    with Store(store) as opened:
        records = Run(other, opened, run_id="c").records([BASELINE, ONE])
    assert {(len(job.heads), job.phase) for job in records} == {(0, "all"), (1, "decode")}


def with_means(inputs: Inputs) -> Inputs:
    """The first filing's two rows are for the mean, the others are asked."""
    first = inputs.rows[0].filename
    rows = tuple(replace(row, split="identification") if row.filename == first else row for row in inputs.rows)
    kept = tuple(row for row in rows if row.split == "evaluation")
    return under(replace(inputs, rows=kept, all_rows=rows), mode="mean")


def test_means_are_found_first_once_and_part_of_the_key(inputs: Inputs, store: Path) -> None:
    inputs, told = with_means(inputs), list[Progress]()
    engine = execute(inputs, store, [ONE], progress=told.append)
    assert [(each.rows_done, each.rows, each.of) for each in told[:3]] == [
        (1, 2, "rows for the mean"),
        (2, 2, "rows for the mean"),
        (1, 4, "rows"),
    ]
    assert {each.values.sha256 for each in engine.interventions if isinstance(each.values, MeanValues)} == {
        MeanValues(np.full((3, 32), 2.0)).sha256
    }
    assert not execute(inputs, store, [ONE], run_id="b", load=nothing_to_load).calls
    told.clear()
    execute(inputs, store, [TWO], run_id="c", progress=told.append)
    assert [each.of for each in told] == ["rows"] * 4
    fewer = replace(inputs, all_rows=inputs.all_rows[1:])
    engine = execute(fewer, store, [BASELINE, ONE], run_id="d")
    assert [sets for _, _, sets, _ in engine.calls] == 4 * [(frozenset(ONE.heads),)]


def test_the_untouched_model_needs_no_means(inputs: Inputs, store: Path) -> None:
    told: list[Progress] = []
    engine = execute(with_means(inputs), store, [BASELINE], progress=told.append)
    assert [each.of for each in told] == ["rows"] * 4
    assert set(engine.interventions) == {ZEROED}


def test_records_without_means_are_none(inputs: Inputs, store: Path) -> None:
    with Store(store) as opened:
        run = Run(with_means(inputs), opened, run_id="a")
        assert run.records([BASELINE, ONE]) == {}
        assert (run.plan([ONE]).distinct, run.plan([ONE]).stored) == (8, 0)


def test_each_kind_of_prompt_is_asked_in_one_call(inputs: Inputs, store: Path) -> None:
    """In whatever order the conditions come: the ablated ones must stand with their baseline."""
    engine = execute(inputs, store, [BASELINE, NEEDLE_ABSENT, ONE])
    first = ids_of(inputs)[0]
    assert [call[:3] for call in engine.calls if call[0] == first] == [
        (first, "full", (frozenset(), frozenset(ONE.heads))),
        (first, "needle_absent", (frozenset(),)),
    ]


def test_refresh_computes_again_once(inputs: Inputs, store: Path) -> None:
    execute(inputs, store, [ONE])
    fresh = under(inputs, refresh=True)
    assert len(execute(fresh, store, [ONE], run_id="b").jobs) == 12
    assert not execute(fresh, store, [ONE], run_id="b", load=nothing_to_load).calls
    assert len(execute(fresh, store, [ONE], run_id="c").jobs) == 12
    assert not execute(inputs, store, [ONE], run_id="d", load=nothing_to_load).calls


def test_what_a_refresh_has_not_come_to_is_missing(inputs: Inputs, store: Path) -> None:
    """Reports of a refresh that was stopped mixed its records with those that it was to replace."""
    execute(inputs, store, [ONE])
    fresh = under(inputs, refresh=True)

    def stop(progress: Progress) -> None:
        if progress.rows_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(fresh, store, [ONE], run_id="b", progress=stop)
    done = {job for job in jobs_of(ONE, inputs.rows) if job.row_id in ids_of(inputs)[:2]}
    with Store(store) as opened:
        assert set(Run(fresh, opened, run_id="b").records([ONE])) == done
        assert len(Run(inputs, opened, run_id="c").records([ONE])) == 6


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


@pytest.mark.parametrize("change", [{"max_new_tokens": 5}, {"attn": "eager"}, {"dtype": "float64"}, {"depth": (0.9,)}])
def test_other_settings_find_no_stale_records(change: dict[str, object], inputs: Inputs, store: Path) -> None:
    execute(inputs, store, [ONE])
    other = read_inputs(replace(inputs.settings, **change))  # type: ignore[arg-type]  # of its type
    assert len(execute(other, store, [ONE], run_id="b").jobs) == 12


def test_the_run_key_names_the_weights_and_the_engine(inputs: Inputs) -> None:
    key = inputs.run_key
    assert len(key.fingerprint) == 64
    assert (key.dtype, key.attention, key.max_new_tokens) == ("float32", "sdpa", 20)
    assert key.engine.startswith(f"{inputs.settings.engine}-")


def test_the_run_key_holds_all_that_an_answer_depends_on(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for may stand for another thing tomorrow: a commit, a content, and what the model has."""
    monkeypatch.setattr(AskedModel, "fingerprints", ("its content", "its adapter"))
    shape = replace(inputs.shape, revision="0123abc")
    blueprint = replace(inputs.blueprint, shape=shape, attention="eager", dtype="bfloat16", device_type="cuda")
    settings = replace(inputs.settings, revision="main", dtype="auto", quantization="4bit")
    monkeypatch.setattr(AskedModel, "blueprint", blueprint)
    key = replace(inputs, model=AskedModel(settings)).run_key
    assert (key.fingerprint, key.adapter) == ("its content", "its adapter")
    assert (key.revision, key.dtype, key.attention, key.device_type) == ("0123abc", "bfloat16", "eager", "cuda")
    assert key.quantization == "4bit"


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


def test_another_entry_for_an_architecture_finds_no_stale_records(inputs: Inputs) -> None:
    keys = {under(inputs, architectures=entries).run_key for entries in [(), ("phi = a.b, c.d",), ("phi = a.b, c.e",)]}
    assert len(keys) == 3
    assert under(inputs, architectures=("phi=a.b,c.d",)).run_key in keys, "spaces say nothing"


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

"""What a run finds in its store: never computed twice, and never taken for another model's or another way's."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_engine import END, FakeEngine, ids_in
from other_settings import under

from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT
from harness.experiment.intervention import ZEROED, Intervention, MeanValues
from harness.experiment.plan import jobs_of
from harness.experiment.record import Ask, Completion, Record
from harness.experiment.store import Store
from harness.study.asked_model import AskedModel
from harness.study.inputs import Inputs, read_inputs
from harness.study.progress import Progress
from harness.study.run import Run
from study.runs import ONE, TWO, execute, ids_of, nothing_to_load


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


def test_another_entry_for_an_architecture_finds_no_stale_records(inputs: Inputs) -> None:
    keys = {under(inputs, architectures=entries).run_key for entries in [(), ("phi = a.b, c.d",), ("phi = a.b, c.e",)]}
    assert len(keys) == 3
    assert under(inputs, architectures=("phi=a.b,c.d",)).run_key in keys, "spaces say nothing"

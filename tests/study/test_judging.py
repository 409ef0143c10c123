"""Which gates a run holds, what its records make of them, and what a store tells of earlier verdicts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_gates import GATE
from other_settings import under

from harness.errors import SettingsError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.experiments import random_control
from harness.experiment.plan import Job, jobs_of
from harness.experiment.record import Completion, Record
from harness.experiment.store import Store
from harness.findings.samples import score_samples
from harness.retrieval.rows import Row
from harness.retrieval.traces import Extent, extent_of
from harness.settings import Settings
from harness.study.inputs import Inputs, read_inputs
from harness.study.judging import build_gate, declared_gates, earlier_note, judge_gates, way_of
from harness.study.run import Run


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """The demo's rows of ten filings."""
    return read_inputs(Settings(max_rows=90, random_draws=2))


@pytest.fixture
def run(inputs: Inputs, tmp_path: Path) -> Iterator[Run]:
    with Store(tmp_path / "store.sqlite") as store:
        yield Run(inputs, store, run_id="a")


def said(job: Job, *, right: bool, value: str) -> Record:
    return Record(job, Completion((1,), 3, -32.0, -1.0, 0, 1.0), value if right else "nothing", 0.0)


def records_of(conditions: tuple[Condition, ...], rows: tuple[Row, ...]) -> dict[Job, Record]:
    """Right untouched and under random heads; plain text costs half a nat for each of its 64 tokens."""
    values = {row.id: row.needle_value for row in rows}
    return {
        job: said(
            job, right=condition.experiment in ("baseline", "random_control", "permutation"), value=values[job.row_id]
        )
        for condition in conditions
        for job in jobs_of(condition, rows)
    }


def test_gates_are_those_all_of_whose_conditions_are_declared(inputs: Inputs) -> None:
    own, shared = (build_gate(inputs, name) for name in ("own", "shared"))
    assert [gate.name for gate in declared_gates(inputs, own.conditions + shared.conditions)] == [own.name, shared.name]
    assert declared_gates(inputs, shared.conditions) == (shared,)
    assert declared_gates(inputs, [*own.conditions[:-1], *random_control(inputs.study())]) == ()
    assert declared_gates(inputs, [BASELINE]) == ()


def test_an_unknown_gate(inputs: Inputs) -> None:
    with pytest.raises(SettingsError, match="expected one of own, shared, global"):
        build_gate(inputs, "general")


def judged(run: Run, records: dict[Job, Record], gate: str = "shared") -> str:
    inputs = run.inputs
    conditions = build_gate(inputs, gate).conditions
    samples = score_samples(conditions, inputs.rows, records, lambda row, text: (text == row.needle_value,) * 2)
    (found,) = judge_gates(run, conditions, records, samples).gates
    return found.verdict


def test_a_verdict_from_records(run: Run) -> None:
    inputs = run.inputs
    gate = build_gate(inputs, "shared")
    records = records_of(gate.conditions, inputs.rows)
    samples = score_samples(gate.conditions, inputs.rows, records, lambda row, text: (text == row.needle_value,) * 2)
    found = judge_gates(run, gate.conditions, records, samples)
    (figures,) = found.gates
    assert (figures.verdict, figures.n, figures.clusters) == ("pass", 90, 10)
    assert figures.plain_text is not None
    assert figures.plain_text.untouched == pytest.approx(-0.5)
    assert found.lacking == []
    assert found.margin == 0.1


def test_plain_text_that_lacks_records_is_named(run: Run) -> None:
    conditions = build_gate(run.inputs, "shared").conditions
    records = records_of(conditions, run.inputs.rows)
    last = conditions[-1]
    lost = jobs_of(last, run.inputs.rows)[0]
    samples = score_samples(conditions, run.inputs.rows, records, lambda row, text: (text == row.needle_value,) * 2)
    found = judge_gates(run, conditions, {job: record for job, record in records.items() if job != lost}, samples)
    assert found.lacking == [last.name]
    assert f"{last.name} (1 of 90 rows)" in found.gates[0].reasons[0]


def test_a_ranking_of_other_prompts_is_said_under_the_verdict(run: Run) -> None:
    """As `identify` writes it; a file that does not say what it was made on says nothing."""
    inputs, gate = run.inputs, build_gate(run.inputs, "shared")
    records = records_of(gate.conditions, inputs.rows)
    samples = score_samples(gate.conditions, inputs.rows, records, lambda row, text: (text == row.needle_value,) * 2)

    def notes(extent: Extent | None) -> list[str]:
        run.inputs = replace(inputs, ranking=replace(inputs.ranking, extent=extent))
        (found,) = judge_gates(run, gate.conditions, records, samples).gates
        return [note for note in found.notes if "other heads may be the best" in note]

    here = extent_of((len(p.token_ids), p.depth) for p in (run.prompt(row.id, "full") for row in inputs.rows))
    assert here is not None
    assert notes(None) == notes(here) == []
    (said,) = notes(replace(here, tokens=4 * here.tokens))
    assert said.startswith(f"the ranking was made on prompts of {4 * here.tokens:,.0f} tokens (median), and those")


def test_margins_and_leaks_are_the_runs(run: Run) -> None:
    records = records_of(build_gate(run.inputs, "shared").conditions, run.inputs.rows)
    assert judged(run, records) == "pass"
    run.inputs = replace(run.inputs, overlap={"a": "text"})
    assert judged(run, records) == "invalid"
    run.inputs = replace(under(run.inputs, gate_margin_shared=1.0), overlap={})
    assert judged(run, records) == "invalid", "no heads can cost more than all right answers"


def test_a_gate_that_was_judged_otherwise_before_says_so(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        assert earlier_note(store, GATE, Settings()) == ()
        store.note_judged("own", way_of(GATE, Settings()))
        assert earlier_note(store, GATE, Settings()) == (), "the same again is no other try"
        (said,) = earlier_note(store, GATE, Settings(seed=1))
        assert said.startswith("judged once before in this store, with other settings (seed 1, 0): of several")
        store.note_judged("own", way_of(GATE, Settings(seed=2, gate_margin=0.2)))
        store.note_judged("shared", way_of(GATE, Settings(seed=7)))
    with Store(tmp_path / "store.sqlite") as store:
        (said,) = earlier_note(store, GATE, Settings(seed=1))
        assert "in 2 other ways before in this store, with other settings (margin 0.1, 0.2; seed 1, 0, 2)" in said

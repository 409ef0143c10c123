"""Which gates a run holds, and what its records make of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import SettingsError
from harness.experiment.conditions import BASELINE, Condition, random_control
from harness.experiment.plan import Job, jobs_of
from harness.experiment.store import Record, Store
from harness.findings.samples import score_samples
from harness.gating import build_gate, declared_gates, judge_gates
from harness.inputs import Inputs, read_inputs
from harness.retrieval.rows import Row
from harness.run import Run
from harness.settings import Settings


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """The demo's rows of ten filings."""
    return read_inputs(Settings(max_rows=90, random_draws=2))


@pytest.fixture
def run(inputs: Inputs, tmp_path: Path) -> Iterator[Run]:
    with Store(tmp_path / "store.sqlite") as store:
        yield Run(inputs, store, run_id="a")


def said(job: Job, *, right: bool, value: str) -> Record:
    return Record(job, (1,), value if right else "nothing", 3, -32.0, -1.0, 0, 0.0, 1.0)


def records_of(conditions: tuple[Condition, ...], rows: tuple[Row, ...]) -> dict[Job, Record]:
    """Right untouched and under random heads; plain text costs half a nat for each of its 64 tokens."""
    values = {row.id: row.needle_value for row in rows}
    return {
        job: said(job, right=condition.experiment in ("baseline", "random_control"), value=values[job.row_id])
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
    with pytest.raises(SettingsError, match="expected one of own, shared"):
        build_gate(inputs, "global")


def judged(run: Run, records: dict[Job, Record], gate: str = "shared") -> str:
    inputs = run.inputs
    conditions = build_gate(inputs, gate).conditions
    samples = score_samples(conditions, inputs.rows, records, lambda row, text: (text == row.needle_value,) * 2)
    (found,) = judge_gates(run, conditions, records, samples).gates
    return found["verdict"]


def test_a_verdict_from_records(run: Run) -> None:
    inputs = run.inputs
    gate = build_gate(inputs, "shared")
    records = records_of(gate.conditions, inputs.rows)
    samples = score_samples(gate.conditions, inputs.rows, records, lambda row, text: (text == row.needle_value,) * 2)
    found = judge_gates(run, gate.conditions, records, samples)
    (figures,) = found.gates
    assert (figures["verdict"], figures["n"], figures["filings"]) == ("pass", 90, 10)
    assert figures["plain_text"] is not None
    assert figures["plain_text"]["untouched"] == pytest.approx(-0.5)
    assert found.lacking == []
    assert found.margin == 0.1


def test_plain_text_that_lacks_records_is_named(run: Run) -> None:
    conditions = build_gate(run.inputs, "shared").conditions
    records = records_of(conditions, run.inputs.rows)
    last = conditions[-1]
    lost = jobs_of(last, run.inputs.rows)[0]
    found = judge_gates(run, conditions, {job: record for job, record in records.items() if job != lost}, ())
    assert found.lacking == [last.name]
    assert f"{last.name} (1 of 90 rows)" in found.gates[0]["reasons"][0]


def test_margins_and_leaks_are_the_runs(run: Run) -> None:
    records = records_of(build_gate(run.inputs, "shared").conditions, run.inputs.rows)
    assert judged(run, records) == "pass"
    run.inputs = replace(run.inputs, ranking_overlap=1)
    assert judged(run, records) == "invalid"
    strict = replace(run.inputs.settings, gate_margin_shared=1.0)
    run.inputs = replace(run.inputs, ranking_overlap=0, settings=strict)
    assert judged(run, records) == "invalid", "twice the margin is more than there is to lose"

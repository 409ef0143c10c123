"""Gates of a run: which of them it holds, built from its inputs, and their results from what the store holds.

Knows nothing of pytest.
"""

from collections.abc import Iterable, Mapping, Sequence

from harness.errors import HeadsError
from harness.experiment.conditions import Condition
from harness.experiment.gate_conditions import GATES, Gate, make_gate
from harness.experiment.plan import Job, jobs_of
from harness.experiment.store import Record
from harness.findings.report.report_writing import Judged
from harness.findings.samples import Sample, text_samples
from harness.findings.verdicts.gate_results import gate_result
from harness.findings.verdicts.gate_samples import Answers
from harness.findings.verdicts.gates import Margins
from harness.inputs import Inputs
from harness.run import Run


def build_gate(inputs: Inputs, name: str) -> Gate:
    """The gate `own` or `shared` on these inputs.

    Raises:
        SettingsError: there is no such gate.
        HeadsError: the ranking holds no such heads, or too few are left for controls.
    """
    return make_gate(name, inputs.study(), inputs.settings.judged_k)


def declared_gates(inputs: Inputs, conditions: Iterable[Condition]) -> tuple[Gate, ...]:
    """The gates all of whose conditions are among these: their own controls are declared by nobody else."""
    names = {condition.name for condition in conditions}
    found = []
    for name in GATES:
        try:
            gate = build_gate(inputs, name)
        except HeadsError:
            continue  # nobody can have declared what cannot be built
        if names.issuperset(condition.name for condition in gate.conditions):
            found.append(gate)
    return tuple(found)


def judge_gates(
    run: Run, conditions: Sequence[Condition], records: Mapping[Job, Record], samples: Sequence[Sample]
) -> Judged:
    """What the run's gates add to its report."""
    inputs, settings = run.inputs, run.inputs.settings
    texts = text_samples(
        conditions,
        inputs.rows,
        records,
        lambda row_id: len(run.prompt(row_id, "plain_text").value_ids),
        manner=inputs.manner,
    )
    answers = Answers.of(samples, texts)
    results = [
        gate_result(
            gate,
            inputs.rows,
            answers,
            Margins(settings.margin_of(gate.experiment), settings.gate_flat, settings.gate_floor),
            candidates=inputs.ranking.all_candidates(),
            leaked_filings=inputs.ranking_overlap,
        )
        for gate in declared_gates(inputs, conditions)
    ]
    over_text = [condition for condition in conditions if condition.prompt == "plain_text"]
    lacking = [
        each.name for each in over_text if any(job not in records for job in jobs_of(each, inputs.rows, inputs.manner))
    ]
    return Judged(results, lacking, settings.gate_margin)

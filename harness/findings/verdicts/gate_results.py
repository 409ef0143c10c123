"""A gate's part of the report, from the samples of its conditions: the verdict and everything it rests on.

Only rows with a sample under every condition of the gate are compared; a condition that lacks any makes the gate
invalid, by name. The verdict is `gates`'s. Knows nothing of how samples come about.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from harness.experiment.gate_conditions import Gate, candidates_in_controls
from harness.experiment.heads import Head
from harness.findings.statistics import holm
from harness.findings.verdicts.gate_samples import Answers, lacking_samples, paired_counts, rows_of
from harness.findings.verdicts.gates import LEAST_FILINGS, Premises, judge, measure
from harness.findings.verdicts.validity import damage, degenerate_shares, plain_text
from harness.findings.verdicts.verdict_data import GateResult, Kind, Margins, TaskVerdict, Verdict
from harness.retrieval.rows import Row

TASK_LEVEL = 0.025
"""Of Holm's adjusted one-sided p, for a task's verdict."""


def gate_result(
    gate: Gate,
    rows: Sequence[Row],
    answers: Answers,
    margins: Margins,
    *,
    candidates: Collection[Head],
    leaked_filings: int | None,
    leaked_how: str = "",
    held_out: bool = False,
) -> GateResult:
    """A gate's part of the report. `rows` are all rows of the run, `candidates` heads that no control may hold.

    The last three are those of `Premises`.
    """
    premises = Premises(
        lacking_samples(gate, rows, answers),
        candidates_in_controls(gate, candidates),
        leaked_filings,
        leaked_how,
        held_out,
    )
    verdict = judge(paired_counts(gate.parts, rows, answers), margins, premises)
    text, degenerate = plain_text(gate, rows, answers), degenerate_shares(gate, rows, answers)
    return GateResult(
        **dict(verdict),
        name=gate.name,
        heads=gate.heads,
        experiment=gate.experiment,
        k=gate.k,
        k_effective=gate.k_effective,
        random_match=gate.parts[0].controls[0].random_match,
        control_heads=sum(part.controls[0].k_effective for part in gate.parts),
        mismatches=tuple(
            sum(part.controls[draw].mismatches or 0 for part in gate.parts) for draw in range(gate.n_draws)
        ),
        margins=margins,
        split_known=leaked_filings is not None,
        plain_text=text,
        degenerate=degenerate,
        damage=damage(verdict.drop, margins.margin, text, degenerate),
        tasks=task_verdicts(gate, rows, answers, margins, premises),
        conditions=tuple(condition.name for condition in gate.conditions),
    )


def task_verdicts(
    gate: Gate, rows: Sequence[Row], answers: Answers, margins: Margins, premises: Premises
) -> tuple[TaskVerdict, ...]:
    """Each task's own verdict, on its rows alone; `premises` are the gate's.

    `invalid` where its own rows lack samples, where its own figures are unsound, or where the gate's heads are.
    `pass` where Holm's adjusted p of "the difference is at most the margin" (one-sided, over filings and draws) is
    at most 2.5 %; `fail` where the difference's interval lies below the margin, with 20 filings at least; never
    either below 10 filings.
    """
    tasks = list(dict.fromkeys(row.task for part in gate.parts for row in rows_of(part.retrieval, rows)))
    found = []
    for task in tasks:
        of_task = [row for row in rows if row.task == task]
        data = paired_counts(gate.parts, of_task, answers)
        own = replace(premises, missing=lacking_samples(gate, of_task, answers))
        verdict, drops = judge(data, margins, own, bootstrap=False), measure(data)
        known = drops is not None and drops.difference is not None
        p = drops.difference.p_above(margins.margin) if drops is not None and drops.difference is not None else 1.0
        found.append((task, verdict, p, known))
    adjusted = holm([p for _, _, p, _ in found])
    return tuple(
        TaskVerdict(
            task=task,
            verdict=_task_kind(verdict, corrected, known_split=not premises.may_have_leaked),
            n=verdict.n,
            filings=verdict.filings,
            drop=verdict.drop,
            random_drop=verdict.random_drop,
            difference=verdict.difference,
            interval=verdict.interval,
            p=p if known else None,
            adjusted_p=corrected if known else None,
        )
        for (task, verdict, p, known), corrected in zip(found, adjusted, strict=True)
    )


def _task_kind(verdict: Verdict, adjusted_p: float, *, known_split: bool) -> Kind:
    if verdict.verdict == "invalid":
        return "invalid"
    if verdict.filings >= LEAST_FILINGS and adjusted_p <= TASK_LEVEL:
        return "pass" if known_split else "inconclusive"
    return "fail" if verdict.verdict == "fail" else "inconclusive"

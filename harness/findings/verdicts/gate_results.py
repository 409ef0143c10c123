"""A gate's part of the report, from the samples of its conditions: the verdict and everything it rests on.

Only rows with a sample under every condition of the gate are compared; a condition that lacks any makes the gate
invalid, by name. The verdict is `gates`'s. Knows nothing of how samples come about.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from harness.choices import GateOutcome
from harness.experiment.gate_conditions import Gate, candidates_in_controls
from harness.experiment.heads import Head
from harness.experiment.permutations import ALL_AT_MOST
from harness.findings.statistics import holm
from harness.findings.verdicts.gate_data import GateData, Premises
from harness.findings.verdicts.gate_samples import OUTCOMES, Answers, lacking_samples, paired_sums, rows_of
from harness.findings.verdicts.gates import arrays, judge
from harness.findings.verdicts.rule import LEAST_CLUSTERS, LEVEL, estimate
from harness.findings.verdicts.validity import damage, degenerate_shares, how_broken, plain_text
from harness.findings.verdicts.verdict_data import GateResult, Kind, Margins, Permuted, TaskVerdict, Verdict
from harness.retrieval.rows import Row

TASK_LEVEL = LEVEL / 2
"""Of Holm's adjusted one-sided p, for a task's verdict."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the samples: heads that no control may hold, and how ranking and evaluation were split.

    The last three are those of `Premises`; `notes` are said under the verdict.
    """

    candidates: Collection[Head]
    leaked_filings: int | None
    leaked_how: str = ""
    held_out: bool = False
    notes: tuple[str, ...] = ()


def gate_result(
    gate: Gate, rows: Sequence[Row], answers: Answers, margins: Margins, known: Known, outcome: GateOutcome = "accuracy"
) -> GateResult:
    """A gate's part of the report. `rows` are all rows of the run."""
    text, degenerate = plain_text(gate, rows, answers), degenerate_shares(gate, rows, answers)
    premises = Premises(
        missing=lacking_samples(gate, rows, answers, OUTCOMES[outcome]),
        candidates=candidates_in_controls(gate, known.candidates),
        leaked_filings=known.leaked_filings,
        leaked_how=known.leaked_how,
        held_out=known.held_out,
        broken=how_broken(text, degenerate),
        n_sets=gate.reach.n_sets,
        enough_heads=gate.reach.enough_heads,
        enough_layers=gate.reach.enough_layers,
        held=gate.reach.held,
    )
    data = paired_sums(gate, rows, answers, OUTCOMES[outcome])
    verdict = judge(data, margins, premises)
    lost = verdict.drop / verdict.baseline if verdict.drop is not None and verdict.baseline else None
    controls = [[nested[-1] for nested in part.controls] for part in gate.parts]
    return GateResult(
        **dict(verdict),
        name=gate.name,
        heads=gate.heads,
        experiment=gate.experiment,
        k=gate.k,
        ks=gate.ks,
        k_effective=gate.k_effective,
        control_heads=sum(of_part[0].k_effective for of_part in controls),
        mismatches=tuple(sum(of_part[draw].mismatches or 0 for of_part in controls) for draw in range(gate.n_controls)),
        permuted=_permuted(gate),
        margins=margins,
        outcome=outcome,
        split_known=known.leaked_filings is not None,
        plain_text=text,
        degenerate=degenerate,
        damage=damage(lost, margins.margin, text, degenerate),
        tasks=task_verdicts(gate, rows, answers, margins, premises, outcome),
        notes=known.notes,
        conditions=tuple(condition.name for condition in gate.conditions),
    )


def task_verdicts(  # a gate, its samples, and what a verdict is measured by
    gate: Gate,
    rows: Sequence[Row],
    answers: Answers,
    margins: Margins,
    premises: Premises,
    outcome: GateOutcome = "accuracy",
) -> tuple[TaskVerdict, ...]:
    """Each task's own verdict, on its rows alone; `premises` are the gate's.

    `invalid` where its own rows lack samples, where its own figures are unsound, or where the gate's heads are.
    `pass` where Holm's adjusted p of "the share is at most the margin" (one-sided, over clusters and draws) is at most
    2.5 %, and nobody doubts the split; `fail` where the share's interval lies below the margin, with 20 clusters at
    least; never either below 10 clusters.
    """
    tasks = list(dict.fromkeys(row.task for part in gate.parts for row in rows_of(part.largest, rows)))
    found = []
    for task in tasks:
        of_task = [row for row in rows if row.task == task]
        data = paired_sums(gate, of_task, answers, OUTCOMES[outcome])
        own = replace(premises, missing=lacking_samples(gate, of_task, answers, OUTCOMES[outcome]))
        found.append((task, judge(data, margins, own, bootstrap=False), _p_above(data, margins.margin)))
    adjusted = holm([1.0 if p is None else p for _, _, p in found])
    return tuple(
        TaskVerdict(
            task=task,
            verdict=_task_kind(verdict, corrected, known_split=not premises.may_have_leaked),
            n=verdict.n,
            clusters=verdict.clusters,
            drop=verdict.drop,
            control_drop=verdict.control_drop,
            difference=verdict.difference,
            share=verdict.share,
            interval=verdict.interval,
            p=p,
            adjusted_p=None if p is None else corrected,
        )
        for (task, verdict, p), corrected in zip(found, adjusted, strict=True)
    )


def _p_above(data: GateData, margin: float) -> float | None:
    sums = arrays(data)
    return None if sums is None else float(estimate(sums).difference.p_above(margin))


def _task_kind(verdict: Verdict, adjusted_p: float, *, known_split: bool) -> Kind:
    if verdict.verdict == "invalid":
        return "invalid"
    if verdict.clusters >= LEAST_CLUSTERS and adjusted_p <= TASK_LEVEL:
        return "pass" if known_split else "inconclusive"
    return "fail" if verdict.verdict == "fail" else "inconclusive"


def _permuted(gate: Gate) -> Permuted:
    reach = gate.reach
    return Permuted(
        layers=reach.layers,
        sets=float(reach.n_sets),
        all_taken=reach.n_sets <= ALL_AT_MOST,
        held=reach.held,
        one_head_p=reach.one_head_p,
    )

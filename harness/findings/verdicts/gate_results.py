"""A gate's part of the report, from the samples of its conditions: the verdict and everything it rests on.

Only rows with a sample under every condition of the gate are compared; a condition that lacks any makes the gate
invalid, by name. The verdict is `gates`'s. Beside it stand:

- whether the model is whole: lost retrieval and a broken model both answer wrongly. What tells them apart is how likely
  the model still finds plain text that nothing asks it to look up, and how many of its completions are degenerate;
- each task's own verdict;
- several gates as one claim: what is left of their verdicts when the chance of any false pass is held to one gate's.

Source of the claim's rank: P. H. Westfall and S. S. Young (1993), Resampling-based multiple testing, Wiley, section 2.2
(single-step maxT). All gates share their permutations, so that it needs no more of them: a permutation counts against
a gate where *any* gate's heads cost as much under it as that gate's own do. The margin's p are corrected by Holm's
method.

Knows nothing of how samples come about.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.choices import GateOutcome
from harness.experiment.conditions import BASELINE
from harness.experiment.gate_conditions import (
    PLAIN_TEXT,
    TEXT_CONTROLS,
    Gate,
    candidates_in_controls,
    over_plain_text,
)
from harness.experiment.heads import Head
from harness.experiment.permutations import ALL_AT_MOST
from harness.findings.statistics import holm
from harness.findings.verdicts.gate_samples import (
    MEASURES,
    Answers,
    GateData,
    Premises,
    complete_rows,
    lacking_samples,
    paired_sums,
    rows_of,
)
from harness.findings.verdicts.gates import arrays, judge
from harness.findings.verdicts.rule import LEAST_CLUSTERS, LEVEL, TOLERANCE, estimate
from harness.findings.verdicts.verdict_data import (
    Claim,
    ClaimPart,
    Damage,
    DegenerateShares,
    GateResult,
    Kind,
    Margins,
    Permuted,
    PlainText,
    TaskVerdict,
    Verdict,
)
from harness.retrieval.rows import Row

BROKEN_TEXT = 0.5
"""Nats a token that plain text may become less likely (its perplexity 1.65 times as high) before a model counts as
broken. A convention, as is the next one."""
BROKEN_OUTPUTS = 0.25
"""The part of completions by which degenerate ones may rise before a model counts as broken."""
ONE_SIDED = LEVEL / 2
"""Of a one-sided p against the margin, adjusted by Holm's method."""


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
        missing=lacking_samples(gate, rows, answers, MEASURES[outcome]),
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
    data = paired_sums(gate, rows, answers, MEASURES[outcome])
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
        data = paired_sums(gate, of_task, answers, MEASURES[outcome])
        own = replace(premises, missing=lacking_samples(gate, of_task, answers, MEASURES[outcome]))
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
    if verdict.clusters >= LEAST_CLUSTERS and adjusted_p <= ONE_SIDED:
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


def plain_text(gate: Gate, rows: Sequence[Row], answers: Answers) -> PlainText | None:
    """How likely plain text is, a token, untouched; and how that changes under the heads and under some controls."""
    n_controls = min(TEXT_CONTROLS, gate.n_controls)
    untouched: list[float] = []
    changes: list[list[float]] = [[] for _ in range(1 + n_controls)]
    filings = set()
    for part in gate.parts:
        sets = (part.largest, *(nested[-1] for nested in part.controls[:n_controls]))
        needed = [PLAIN_TEXT, *map(over_plain_text, sets)]
        for row in rows_of(part.largest, rows):
            if all(answers.has(condition, row.id) for condition in needed):
                before, *after = (answers.texts[condition.name][row.id].per_token for condition in needed)
                untouched.append(before)
                filings.add(row.cluster_name)
                for change, value in zip(changes, after, strict=True):
                    change.append(value - before)
    if not untouched:
        return None
    n = len(untouched)
    judged, *controls = (sum(change) / n for change in changes)
    return PlainText(
        n=n, filings=len(filings), untouched=sum(untouched) / n, change=judged, control_changes=tuple(controls)
    )


def degenerate_shares(gate: Gate, rows: Sequence[Row], answers: Answers) -> DegenerateShares | None:
    """The parts of completions that are degenerate: untouched, under the heads, and under the controls in the mean.

    Where several k are judged, at the largest.
    """
    counts = [0, 0, 0]
    n = 0
    for part in gate.parts:
        for row in complete_rows(gate, part, rows, answers):
            n += 1
            faults = [
                bool(answers.samples[condition.name][row.id].faults)
                for condition in (BASELINE, part.largest, *(nested[-1] for nested in part.controls[: gate.n_controls]))
            ]
            counts = [counts[0] + faults[0], counts[1] + faults[1], counts[2] + sum(faults[2:])]
    if not n:
        return None
    untouched, judged, controls = counts
    return DegenerateShares(untouched=untouched / n, judged=judged / n, controls=controls / (n * gate.n_controls))


def damage(share: float | None, margin: float, text: PlainText | None, degenerate: DegenerateShares | None) -> Damage:
    """What the heads took from the model: answers alone, its language, nothing beyond the margin, or one cannot say.

    share: of the right answers, what the heads cost.
    """
    if share is None or text is None or degenerate is None:
        return "unknown"
    if how_broken(text, degenerate) is not None:
        return "broken model"
    return "lost answers" if share > margin else "none"


def how_broken(text: PlainText | None, degenerate: DegenerateShares | None) -> str | None:
    """In words, how the heads break the model; `None` where they do not, or where that is unknown."""
    ways = []
    if text is not None and text.change < -BROKEN_TEXT:
        ways.append(f"plain text {text.change:+.2f} nats a token")
    if degenerate is not None and degenerate.judged - degenerate.untouched > BROKEN_OUTPUTS:
        ways.append(f"{degenerate.judged:.0%} of its completions degenerate, {degenerate.untouched:.0%} untouched")
    return ", ".join(ways) or None


@dataclass(frozen=True, slots=True)
class JudgedGate:
    """A gate that was judged: its name, its margin, its sums, whether it passed, and the numbers of its permutations.

    `draws` are `None` where all sets were taken instead.
    """

    name: str
    margin: float
    data: GateData
    passed: bool
    draws: tuple[int, ...] | None


def joint_claim(gates: Sequence[JudgedGate]) -> Claim | None:
    """The claim of at least two gates; `None` where figures of one of them are unknown."""
    found = [(gate, sums) for gate in gates if (sums := arrays(gate.data)) is not None]
    if len(gates) < 2 or len(found) < len(gates):
        return None
    estimates = [estimate(sums) for _, sums in found]
    of_margins = holm([float(e.difference.p_above(gate.margin)) for gate, e in zip(gates, estimates, strict=True)])
    ranks = _ranks(gates) or tuple(min(1.0, len(gates) * float(each.rank_p)) for each in estimates)
    return Claim(
        parts=tuple(
            ClaimPart(
                gate=gate.name,
                adjusted_p=p,
                adjusted_rank_p=rank,
                holds=gate.passed and p <= ONE_SIDED and rank <= LEVEL + TOLERANCE,
            )
            for gate, p, rank in zip(gates, of_margins, ranks, strict=True)
        )
    )


def _ranks(gates: Sequence[JudgedGate]) -> tuple[float, ...] | None:
    """The corrected rank p of each gate, over the permutations that all have; `None` where a gate has all sets."""
    costs: list[Mapping[int, float]] = []
    for gate in gates:
        if gate.draws is None:
            return None
        costs.append(dict(zip(gate.draws, gate.data.lost_to_permutations(), strict=True)))
    common = sorted(set.intersection(*(set(each) for each in costs)))
    most = [max(each[draw] for each in costs) for draw in common]
    return tuple(
        (1 + sum(cost >= gate.data.lost_of_answered() - TOLERANCE for cost in most)) / (len(common) + 1)
        for gate in gates
    )

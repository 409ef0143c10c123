"""Judging: the gates of a run, from its samples to what its report says of them, earlier verdicts among it.

A gate that passes with the best of five seeds, or at the best of five k, passes falsely up to five times as often as it
says. Nobody can forbid trying; a verdict can say how much was tried: how often a gate was judged before, with which
seeds and k. Ways of judging are noted in the store, so of another store's nothing is known. Knows nothing of pytest.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from harness.errors import HeadsError
from harness.experiment.conditions import Condition
from harness.experiment.gate_conditions import GATES, Gate, make_gate
from harness.experiment.plan import Job, jobs_of
from harness.experiment.rankings import HeadRanking
from harness.experiment.record import Record
from harness.experiment.store import Store
from harness.findings.rankings.ranking_summary import unsettled
from harness.findings.report.report_writing import Judged
from harness.findings.samples import (
    Sample,
    text_samples,
)
from harness.findings.verdicts.gate_results import JudgedGate, Known, gate_result, joint_claim
from harness.findings.verdicts.gate_samples import MEASURES, Answers, paired_sums
from harness.findings.verdicts.verdict_data import Margins
from harness.retrieval.traces import Extent, apart, extent_of, seen_words
from harness.settings import Settings
from harness.study.facts import FactsRun, asked_facts, facts_lost
from harness.study.inputs import Inputs
from harness.study.run import Run


def build_gate(inputs: Inputs, name: str) -> Gate:
    """The gate `own`, `shared` or `global` on these inputs.

    Raises:
        SettingsError: there is no such gate.
        HeadsError: the ranking holds no such heads, or too few are left for controls.
    """
    return make_gate(name, inputs.study(), inputs.settings.judged_ks)


def declared_gates(inputs: Inputs, conditions: Iterable[Condition]) -> tuple[Gate, ...]:
    """The gates all of whose conditions are among these: their own controls are declared by nobody else."""
    conditions = tuple(conditions)
    names = {condition.name for condition in conditions}
    found = []
    for name in (gate for gate in GATES if any(condition.gate == gate for condition in conditions)):
        try:
            gate = build_gate(inputs, name)
        except HeadsError:
            continue  # nobody can have declared what cannot be built
        if names.issuperset(condition.name for condition in gate.conditions):
            found.append(gate)
    return tuple(found)


def gate_notes(ranking: HeadRanking, evaluated: Extent | None) -> Iterator[str]:
    """What there is to know of the ranking before one believes a verdict on these prompts."""
    yield from apart(ranking.extent, evaluated)
    if ranking.mean_scores is None:
        yield (
            f"the ranking lists each task's best {ranking.top_k} heads and no scores of the others: the next ranks may "
            "be among the controls"
        )


def judge_gates(
    run: Run, conditions: Sequence[Condition], records: Mapping[Job, Record], samples: Sequence[Sample]
) -> Judged:
    """What the run's gates add to its report; nothing where it did a part of the study alone."""
    inputs, settings = run.inputs, run.inputs.settings
    if settings.part is not None:
        return Judged(margin=settings.gate_margin)
    texts = text_samples(
        conditions,
        inputs.rows,
        records,
        lambda row_id: inputs.prompts.facts(inputs.by_id[row_id], "plain_text").n_value,
        manner=inputs.manner,
    )
    answers = Answers.of(samples, texts)
    gates = declared_gates(inputs, conditions)
    asked = dict.fromkeys(job.row_id for job in records if job.prompt == "full")
    prompts = (inputs.prompts.facts(inputs.by_id[row_id]) for row_id in asked)
    known = Known(
        candidates=inputs.ranking.all_candidates(),
        leaked_filings=inputs.ranking_overlap,
        leaked_how=seen_words(inputs.known_by),
        held_out=settings.heads_held_out,
        notes=tuple(gate_notes(inputs.ranking, extent_of((each.n_tokens, each.depth) for each in prompts))),
    )
    margins = {gate.heads: Margins(margin=settings.margin_of(gate.heads), flat=settings.gate_flat) for gate in gates}
    results = []
    asked_beside = asked_facts(settings)
    facts = FactsRun.beside(run, asked_beside) if asked_beside else None
    for gate in gates:
        judged_heads = {part.largest.source_task: part.largest.heads for part in gate.parts}
        notes = (*unsettled(inputs.ranking, judged_heads, gate.heads), *earlier_note(run.store, gate, settings))
        of_gate = replace(known, notes=(*known.notes, *notes))
        results.append(gate_result(gate, inputs.rows, answers, margins[gate.heads], of_gate, settings.gate_outcome))
        if facts is not None:
            results[-1] = results[-1].model_copy(update={"facts": facts_lost(facts, gate)})
        if results[-1].verdict != "invalid":
            run.store.note_judged(gate.heads, way_of(gate, settings))
    judged = [
        JudgedGate(
            result.name,
            margins[gate.heads].margin,
            paired_sums(gate, inputs.rows, answers, MEASURES[settings.gate_outcome]),
            passed=result.verdict == "pass",
            draws=None if result.permuted.all_taken else gate.draws,
        )
        for gate, result in zip(gates, results, strict=True)
    ]
    over_text = [condition for condition in conditions if condition.prompt == "plain_text"]
    lacking = [
        each.name for each in over_text if any(job not in records for job in jobs_of(each, inputs.rows, inputs.manner))
    ]
    return Judged(results, lacking, settings.gate_margin, joint_claim(judged))


def way_of(gate: Gate, settings: Settings) -> str:
    """In which way a gate is judged: everything that one might try another value of."""
    way = {
        "seed": settings.seed,
        "k": list(gate.ks),
        "draws": settings.gate_draws,
        "strata": settings.gate_strata,
        "margin": settings.margin_of(gate.heads),
        "flat": settings.gate_flat,
        "outcome": settings.gate_outcome,
        "scorer": settings.scorer,
        "model": settings.model,
        "heads": None if settings.heads is None else settings.heads.name,
    }
    return json.dumps(way, sort_keys=True)


def earlier_note(store: Store, gate: Gate, settings: Settings) -> tuple[str, ...]:
    """A sentence on the other ways in which this gate was judged; nothing where there are none."""
    here = way_of(gate, settings)
    others = [json.loads(way) for way in store.judged(gate.heads) if way != here]
    if not others:
        return ()
    every = [json.loads(here), *others]
    differing = [f"{name} {_values(every, name)}" for name in every[0] if len({str(way[name]) for way in every}) > 1]
    times = "once" if len(others) == 1 else f"in {len(others)} other ways"
    return (
        f"judged {times} before in this store, with other settings ({'; '.join(differing)}): of several verdicts the "
        "best is worth less than one that was declared alone",
    )


def _values(ways: Sequence[dict[str, object]], name: str) -> str:
    """The different values of a setting, this gate's first."""
    return ", ".join(dict.fromkeys(str(way[name]).strip("[]") for way in ways))

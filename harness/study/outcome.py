"""What came of a run: its gates judged, its report, and the results that tests assert on.

The store's records are scored, and what was asked of which model, on which data, with which programs is said beside
them; `harness.findings.report.report_writing` makes the report of it. Knows nothing of pytest.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.choices import EDGE_MODES
from harness.errors import HeadsError
from harness.experiment.conditions import Condition
from harness.experiment.gate_conditions import GATES, Gate, make_gate
from harness.experiment.intervention import DEFAULT_MANNER
from harness.experiment.plan import Job, jobs_of
from harness.experiment.rankings import HeadRanking
from harness.experiment.record import Record
from harness.findings.damage import DamageShare, damage_shares
from harness.findings.rankings.ranking_summary import unsettled
from harness.findings.report.report_data import (
    ConditionResult,
    DataInfo,
    ExcludedRow,
    Exit,
    ModelSection,
    ReportData,
    RunInfo,
)
from harness.findings.report.report_writing import Judged, Setup, build_report
from harness.findings.samples import (
    DONOR_VALUE,
    Fault,
    Flags,
    OwnScore,
    Place,
    Sample,
    score_samples,
    text_samples,
)
from harness.findings.verdicts.gate_results import JudgedGate, Known, gate_result, joint_claim
from harness.findings.verdicts.gate_samples import OUTCOMES, Answers, paired_sums
from harness.findings.verdicts.verdict_data import GateResult, Margins
from harness.retrieval.extents import Extent, apart, extent_of
from harness.retrieval.placement import recurring_rows
from harness.retrieval.rows import Row
from harness.retrieval.scoring import SCORER_VERSION, hedges, matches_value, value_tokens
from harness.retrieval.traces import seen_words
from harness.settings import DEMO, Shown
from harness.study.inputs import Inputs, donor_row
from harness.study.provenance import commit_of, earlier_note, program_versions, way_of
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
    gates = declared_gates(inputs, conditions)
    asked = dict.fromkeys(job.row_id for job in records if job.prompt == "full")
    known = Known(
        candidates=inputs.ranking.all_candidates(),
        leaked_filings=inputs.ranking_overlap,
        leaked_how=seen_words(inputs.known_by),
        held_out=settings.heads_held_out,
        notes=tuple(gate_notes(inputs.ranking, extent_of(run.prompt(row_id, "full") for row_id in asked))),
    )
    margins = {gate.heads: Margins(margin=settings.margin_of(gate.heads), flat=settings.gate_flat) for gate in gates}
    results = []
    for gate in gates:
        judged_heads = {part.largest.source_task: part.largest.heads for part in gate.parts}
        notes = (*unsettled(inputs.ranking, judged_heads, gate.heads), *earlier_note(run.store, gate, settings))
        of_gate = replace(known, notes=(*known.notes, *notes))
        results.append(gate_result(gate, inputs.rows, answers, margins[gate.heads], of_gate, settings.gate_outcome))
        if results[-1].verdict != "invalid":
            run.store.note_judged(gate.heads, way_of(gate, settings))
    judged = [
        JudgedGate(
            result.name,
            margins[gate.heads].margin,
            paired_sums(gate, inputs.rows, answers, OUTCOMES[settings.gate_outcome]),
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


@dataclass(frozen=True)
class Result:
    """What a test of a condition asserts on: the condition, and its part of the report."""

    condition: Condition
    figures: ConditionResult

    @property
    def n(self) -> int:
        """Rows with a sound record."""
        return self.figures.n

    @property
    def missing(self) -> int:
        """Rows asked for that have none."""
        return self.figures.requested - self.n

    @property
    def accuracy(self) -> float | None:
        """Matches of the n rows; `None` where n is 0."""
        return self.figures.accuracy

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson 95 % interval of the accuracy."""
        return self.figures.interval

    @property
    def drop(self) -> float | None:
        """The baseline's accuracy minus this one's, on the same rows."""
        drop = self.figures.drop
        return None if drop is None else drop.estimate

    def properties(self) -> Iterator[tuple[str, object]]:
        """Scalars for a test's `user_properties`."""
        yield "condition", self.condition.name
        yield "k_effective", self.condition.k_effective
        for name in ("n", "missing", "accuracy", "drop"):
            yield name, getattr(self, name)


@dataclass(frozen=True, repr=False)
class GateVerdict:
    """What a gate's test asserts on: its part of the report, and a `message` to read where it did not pass.

    Its repr, which pytest shows of a bare `assert verdict.passed`, is the message's first line and the reasons.
    """

    figures: GateResult
    passed: bool
    message: str

    def __repr__(self) -> str:
        return f"<{'; '.join([self.message.partition(chr(10))[0], *self.figures.reasons])}>"


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a session began: by which command, and when, on the calendar and on the clock."""

    command: str | None = None
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    clock: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long ago that was."""
        return round(time.monotonic() - self.clock, 3)


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the report on it, and the samples that this rests on."""

    report: ReportData
    samples: Sequence[Sample]

    def at_end(self, how: Exit, since: Beginning) -> ReportData:
        """The report of a session that ended so, just now."""
        run = self.report.run.model_copy(update={"exit": how, "seconds": since.seconds})
        return self.report.model_copy(update={"run": run})


def run_outcome(  # what is reported, of which run, how scored, since when, and how it ended
    run: Run, conditions: Sequence[Condition], own_score: OwnScore, *, since: Beginning, how: Exit, root: Path
) -> Outcome:
    """What the store holds of these conditions, scored, judged and reported; `root` is the folder of the project.

    Raises:
        HarnessError: the store cannot be read, or two different conditions share a name.
    """
    inputs, settings = run.inputs, run.inputs.settings
    own = _with_donors(own_score, inputs) if settings.mode == "resample" else own_score
    records = run.records(conditions)
    flags, place = (_flags(run), _place(run)) if records else (None, None)
    samples = score_samples(
        conditions, inputs.rows, records, inputs.score, own, flags=flags, place=place, manner=inputs.manner
    )
    judged = judge_gates(run, conditions, records, samples)
    setup = Setup(
        run=RunInfo(
            name=settings.run,
            started=since.started,
            seconds=since.seconds,
            exit=how,
            commit=commit_of(root),
            out_of_memory=sum(record.completion.halvings > 0 for record in records.values()),
            command=since.command,
        ),
        configuration=_configuration(run, root),
        versions=program_versions() | {"scorer": str(SCORER_VERSION)},
        model=_model_info(run),
        ranking=inputs.ranking,
        data=_data_info(inputs),
    )
    damage = _damage(run, conditions, samples)
    return Outcome(build_report(setup, conditions, inputs.rows, samples, judged, damage), samples)


def _damage(run: Run, conditions: Sequence[Condition], samples: Sequence[Sample]) -> tuple[DamageShare, ...]:
    """What this way of ablating does of what zeroing does, as far as the store holds the same conditions zeroed."""
    inputs, settings = run.inputs, run.inputs.settings
    if inputs.manner == DEFAULT_MANNER or not samples:
        return ()
    asked = [condition for condition in conditions if condition.prompt == "full"]
    records = run.records(asked, manner=DEFAULT_MANNER)
    zeroed = score_samples(asked, inputs.rows, records, inputs.score, place=_place(run), manner=DEFAULT_MANNER)

    def unseen(row_id: str, layer: int) -> bool:
        window, prompt = inputs.blueprint.windows[layer], run.prompt(row_id, "full")
        return window is not None and prompt.needle_end <= len(prompt.token_ids) - window

    return damage_shares(asked, samples, zeroed, unseen if settings.mode in EDGE_MODES else None)


def _flags(run: Run) -> Flags:
    """What is wrong with a completion beside its text: two values of its task, or special tokens within it."""
    inputs = run.inputs
    special = {number for number, token in inputs.model.tokenizer.added_tokens_decoder.items() if token.special}

    def flags(row: Row, record: Record) -> frozenset[Fault]:
        found: set[Fault] = set()
        if hedges(record.text, row.needle_value, inputs.tasks[row.task].compare, inputs.values[row.task]):
            found.add("hedging")
        if not special.isdisjoint(record.completion.token_ids):
            found.add("turn_marker")
        return frozenset(found)

    return flags


def _place(run: Run) -> Place:
    """Where an untouched answer says the value, by the rule `value` whatever rule decides matches."""

    inputs = run.inputs

    def place(row: Row, untouched: Record) -> tuple[int, int] | None:
        compare, values = inputs.tasks[row.task].compare, inputs.values[row.task]
        return value_tokens(untouched.completion.token_ids, row.needle_value, compare, run.decode, values)

    return place


def _with_donors(own_score: OwnScore, inputs: Inputs) -> OwnScore:
    """The user's metrics, and whether a completion matches the donor's value by the rule `value`.

    A head that hands over the answer makes the model say the donor's; damage alone does not.
    """
    donors: dict[str, Row] = {}

    def score(row: Row, completion: str) -> Mapping[str, float]:
        if row.id not in donors:
            donors[row.id] = donor_row(inputs, row)
        donor = donors[row.id]
        said = matches_value(completion, donor.needle_value, inputs.tasks[row.task].compare, inputs.values[row.task])
        return {**own_score(row, completion), DONOR_VALUE: float(said)}

    return score


def _configuration(run: Run, root: Path) -> dict[str, Shown]:
    """The settings, and of mean values the hash: the settings alone do not tell which numbers they were."""
    configuration, means = run.inputs.settings.shown(root), run.interventions.means
    return configuration if means is None else configuration | {"mean_sha256": means.sha256}


def _data_info(inputs: Inputs) -> DataInfo:
    return DataInfo(
        source=inputs.source,
        split_seed=inputs.split_seed,
        excluded=tuple(ExcludedRow(row=each.row_id, reason=each.reason) for each in inputs.excluded),
        ranking_overlap=inputs.ranking_overlap,
        known_by=inputs.known_by,
        cut=inputs.n_cut,
        value_recurs=recurring_rows(inputs.rows, inputs.tasks),
    )


def _model_info(run: Run) -> ModelSection:
    shape, key, asked = run.inputs.shape, run.inputs.run_key, run.inputs.settings.model
    kept = run.inputs.blueprint.quantized_file
    return ModelSection(
        id=DEMO if asked == DEMO else shape.id or asked,
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        head_dim=shape.head_dim,
        revision=shape.revision,
        fingerprint=key.fingerprint,
        dtype=key.dtype,
        attention=key.attention,
        device=key.device_type,
        quantization=key.quantization if kept is None else f"{kept}, read as full weights",
        adapter=key.adapter,
    )

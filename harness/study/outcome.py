"""What came of a run: its report, and the results that tests assert on.

The store's records are scored (`judging` says what its gates make of them, `provenance` what stands behind it);
`harness.findings.report.report_writing` makes the report of it. Knows nothing of pytest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.choices import EDGE_MODES
from harness.experiment.conditions import Condition
from harness.experiment.intervention import DEFAULT_MANNER
from harness.experiment.record import Record
from harness.findings.damage import DamageShare, damage_shares
from harness.findings.report.report_data import (
    ConditionResult,
    Exit,
    ReportData,
)
from harness.findings.report.report_writing import build_report
from harness.findings.samples import (
    DONOR_VALUE,
    Fault,
    Flags,
    OwnScore,
    Place,
    Sample,
    score_samples,
)
from harness.findings.verdicts.verdict_data import GateResult
from harness.retrieval.rows import Row
from harness.retrieval.scoring import hedges, matches_value, value_tokens
from harness.study.inputs import Inputs, donor_row
from harness.study.judging import judge_gates
from harness.study.provenance import Beginning, RowTimes, part_of, setup_of
from harness.study.run import Run


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


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the report on it, and the samples that this rests on."""

    report: ReportData
    samples: Sequence[Sample]

    def at_end(self, how: Exit, since: Beginning, rows: RowTimes, notices: Sequence[str] = ()) -> ReportData:
        """The report of a session that ended so, just now, asked rows meanwhile, and was told these notices."""
        times = {"seconds": since.seconds, "rows_from": rows.began, "rows_to": rows.ended}
        run = self.report.run.model_copy(update={"exit": how, "notices": tuple(notices), **times})
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
    part = part_of(run, conditions)
    setup = setup_of(run, records.values(), part, since=since, how=how, root=root)
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
        window = inputs.blueprint.windows[layer]
        if window is None:
            return False
        prompt = run.prompt(row_id, "full")
        return prompt.needle_end <= len(prompt.token_ids) - window

    return damage_shares(asked, samples, zeroed, unseen if settings.mode in EDGE_MODES else None)


def _flags(run: Run) -> Flags:
    """What is wrong with a completion beside its text: two values of its task, or special tokens within it."""
    inputs = run.inputs
    special = inputs.model.special_tokens

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
        return value_tokens(untouched.completion.token_ids, row.needle_value, compare, inputs.model.known_text, values)

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

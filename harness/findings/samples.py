"""Samples: what a model answered to one row under one condition, scored.

Records hold no scores; they are made here, on reading, by the rules that the caller hands in. A row without a
record makes no sample: it is missing, never wrong. Knows nothing of models or of how records are kept.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NotRequired, TypedDict

from harness.experiment.conditions import Condition, distinct
from harness.experiment.intervention import DEFAULT_MANNER, Manner
from harness.experiment.plan import Job, jobs_of
from harness.experiment.record import Record
from harness.findings.degenerate import Fault, faults_of
from harness.retrieval.rows import Row

Score = Callable[[Row, str], tuple[bool, bool]]
"""(row, completion) -> whether it matches by the rule `value`, and by the rule `published`."""

Flags = Callable[[Row, Record], frozenset[Fault]]
"""(row, record) -> what is wrong with a completion beside what its text alone tells."""

OwnScore = Callable[[Row, str], Mapping[str, float]]
"""(row, completion) -> a user's own metrics by name."""

DONOR_VALUE = "donor_value"
"""The metric of resample ablation: whether the completion holds the donor's value."""


class SampleLine(TypedDict):
    """A line of `samples.jsonl`: one row under one condition."""

    condition: str
    row: str
    filename: str
    cluster: NotRequired[str]  # older files do not say it
    task: str
    depth: float | None
    value: str
    completion: str
    match: bool
    published_match: bool
    ended: bool
    faults: list[str]
    tokens: int
    gold_logprob: float | None
    baseline_logprob: float | None
    own: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Sample:
    """One scored completion. `tokens` counts those generated, the end token left out; `faults` say what is wrong with
    it as text (`degenerate`).

    A log-probability or own metric that is infinite or not a number is `None`.
    """

    condition: str
    row: str
    filename: str
    task: str
    depth: float | None
    value: str
    completion: str
    match: bool
    published_match: bool
    ended: bool
    tokens: int
    gold_logprob: float | None
    baseline_logprob: float | None
    faults: frozenset[Fault] = frozenset()
    own: Mapping[str, float | None] = field(default_factory=dict)
    cluster: str | None = None

    @property
    def cluster_name(self) -> str:
        """What the row belongs to beside others (`Row.cluster_name`)."""
        return self.filename if self.cluster is None else self.cluster

    def line(self) -> SampleLine:
        """What `samples.jsonl` says of it."""
        return {
            "condition": self.condition,
            "row": self.row,
            "filename": self.filename,
            "cluster": self.cluster_name,
            "task": self.task,
            "depth": self.depth,
            "value": self.value,
            "completion": self.completion,
            "match": self.match,
            "published_match": self.published_match,
            "ended": self.ended,
            "faults": sorted(self.faults),
            "tokens": self.tokens,
            "gold_logprob": self.gold_logprob,
            "baseline_logprob": self.baseline_logprob,
            "own": dict(self.own),
        }


@dataclass(frozen=True, slots=True)
class TextSample:
    """How likely a model found a row's plain text under one condition: the mean log-probability of its tokens."""

    condition: str
    row: str
    filename: str
    per_token: float


def text_samples(
    conditions: Iterable[Condition],
    rows: Sequence[Row],
    records: Mapping[Job, Record],
    n_tokens: Callable[[str], int],
    *,
    manner: Manner = DEFAULT_MANNER,
) -> tuple[TextSample, ...]:
    """A sample for each row of each condition over plain text that has a record with a finite log-probability.

    n_tokens: how many tokens of a row's plain text are measured, by the row's id.
    """
    filing = {row.id: row.filename for row in rows}
    return tuple(
        TextSample(condition.name, job.row_id, filing[job.row_id], logprob / n_tokens(job.row_id))
        for condition in distinct(conditions)
        if condition.prompt == "plain_text"
        for job in jobs_of(condition, rows, manner)
        if (record := records.get(job)) is not None and math.isfinite(logprob := record.completion.gold_logprob)
    )


def score_samples(
    conditions: Iterable[Condition],
    rows: Sequence[Row],
    records: Mapping[Job, Record],
    score: Score,
    own: OwnScore | None = None,
    *,
    flags: Flags | None = None,
    manner: Manner = DEFAULT_MANNER,
) -> tuple[Sample, ...]:
    """A sample for each row of each condition that has a record, condition by condition in the order given.

    Conditions over plain text ask nothing, and have `text_samples` instead.

    Equal answers to a row are scored once. Raises SettingsError where two different conditions share a name.
    """
    by_id = {row.id: row for row in rows}
    scored: dict[tuple[str, str, tuple[int, ...]], _Scored] = {}
    samples = []
    for condition in distinct(conditions):
        for job in jobs_of(condition, rows, manner) if condition.prompt != "plain_text" else ():
            record = records.get(job)
            if record is None:
                continue
            row, text, ended = by_id[job.row_id], record.text, record.completion.ended
            key = (row.id, text, record.completion.all_ids)
            if key not in scored:
                metrics = own(row, text) if own is not None else {}
                finite = {name: _finite(value) for name, value in metrics.items()}
                faults = faults_of(text, row.needle_value, ended=ended)
                faults |= flags(row, record) if flags is not None else frozenset()
                scored[key] = _Scored(*score(row, text), faults, finite)
            samples.append(_sample(condition, row, record, scored[key]))
    return tuple(samples)


class _Scored(NamedTuple):
    """What is worked out once of equal answers to a row."""

    match: bool
    published_match: bool
    faults: frozenset[Fault]
    own: Mapping[str, float | None]


def _sample(condition: Condition, row: Row, record: Record, scored: _Scored) -> Sample:
    return Sample(
        condition=condition.name,
        row=row.id,
        filename=row.filename,
        task=row.task,
        depth=row.depth,
        value=row.needle_value,
        completion=record.text,
        match=scored.match,
        published_match=scored.published_match,
        ended=record.completion.ended,
        tokens=len(record.completion.token_ids),
        gold_logprob=_finite(record.completion.gold_logprob),
        baseline_logprob=_finite(record.completion.baseline_logprob),
        faults=scored.faults,
        own=scored.own,
        cluster=row.cluster,
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None

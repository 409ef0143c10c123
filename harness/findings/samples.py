"""Samples: what a model answered to one row under one condition, scored.

Records hold no scores; they are made here, on reading, by the rules that the caller hands in. A row without a
record makes no sample: it is missing, never wrong. Knows nothing of models or of how records are kept.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import ReportError
from harness.experiment.conditions import Condition
from harness.experiment.intervention import Manner
from harness.experiment.plan import DEFAULT, Job, jobs_of
from harness.experiment.store import Record
from harness.findings.report_data import SampleLine
from harness.retrieval.rows import Row

Score = Callable[[Row, str], tuple[bool, bool]]
"""(row, completion) -> whether it matches by the rule `value`, and by the rule `published`."""

OwnScore = Callable[[Row, str], Mapping[str, float]]
"""(row, completion) -> a user's own metrics by name."""

DONOR_VALUE = "donor_value"
"""The metric of resample ablation: whether the completion holds the donor's value."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One scored completion. `tokens` counts those generated, the end token left out.

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
    own: Mapping[str, float | None] = field(default_factory=dict)

    def line(self) -> SampleLine:
        """What `samples.jsonl` says of it."""
        return {
            "condition": self.condition,
            "row": self.row,
            "filename": self.filename,
            "task": self.task,
            "depth": self.depth,
            "value": self.value,
            "completion": self.completion,
            "match": self.match,
            "published_match": self.published_match,
            "ended": self.ended,
            "tokens": self.tokens,
            "gold_logprob": self.gold_logprob,
            "baseline_logprob": self.baseline_logprob,
            "own": dict(self.own),
        }


def score_samples(
    conditions: Iterable[Condition],
    rows: Sequence[Row],
    records: Mapping[Job, Record],
    score: Score,
    own: OwnScore | None = None,
    *,
    manner: Manner = DEFAULT,
) -> tuple[Sample, ...]:
    """A sample for each row of each condition that has a record, condition by condition in the order given.

    Equal answers to a row are scored once. Raises ReportError where two different conditions share a name.
    """
    by_id = {row.id: row for row in rows}
    scored: dict[tuple[str, str], tuple[bool, bool, Mapping[str, float | None]]] = {}
    samples = []
    for condition in distinct(conditions):
        for job in jobs_of(condition, rows, manner):
            record = records.get(job)
            if record is None:
                continue
            row, text = by_id[job.row_id], record.text
            if (row.id, text) not in scored:
                metrics = own(row, text) if own is not None else {}
                finite = {name: _finite(value) for name, value in metrics.items()}
                scored[row.id, text] = (*score(row, text), finite)
            samples.append(_sample(condition, row, record, scored[row.id, text]))
    return tuple(samples)


def distinct(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """The conditions without repetitions; two different ones of one name are a ReportError."""
    by_name: dict[str, Condition] = {}
    for condition in conditions:
        if by_name.setdefault(condition.name, condition) != condition:
            raise ReportError(
                f"condition {condition.name}: declared twice with different heads or rows; expected one "
                "meaning a name; give one of them another name"
            )
    return tuple(by_name.values())


def _sample(
    condition: Condition, row: Row, record: Record, scored: tuple[bool, bool, Mapping[str, float | None]]
) -> Sample:
    match, published_match, own = scored
    return Sample(
        condition=condition.name,
        row=row.id,
        filename=row.filename,
        task=row.task,
        depth=row.depth,
        value=row.needle_value,
        completion=record.text,
        match=match,
        published_match=published_match,
        ended=record.ended,
        tokens=len(record.token_ids),
        gold_logprob=_finite(record.gold_logprob),
        baseline_logprob=_finite(record.baseline_logprob),
        own=own,
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None

"""Samples: what a model answered to one row under one condition, scored.

Records hold no scores; they are made here, on reading, by the rules that the caller hands in. A row without a
record makes no sample: it is missing, never wrong. Degenerate completions, those that tell of a broken model, or of one
that guesses, are flagged whatever their match. Knows nothing of models or of how records are kept.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, TypeVar

from harness.experiment.conditions import Condition, distinct
from harness.experiment.intervention import DEFAULT_MANNER, Manner
from harness.experiment.plan import Job, jobs_of, untouched
from harness.experiment.record import Record
from harness.findings.section import UNIQUE, Count, EachOnce, Fraction, LogProbability, Name, Real, Section
from harness.retrieval.rows import Row
from harness.retrieval.scoring import answer_of, normalise

Fault = Literal["empty", "repeating", "cut_off", "several_numbers", "hedging", "turn_marker"]

_REPEATING = re.compile(r"(\S.{0,40}?)\s*(?:\1\s*){3,}$", re.DOTALL)
"""The end of a text that says the same, up to some forty characters of it, four times over."""
_TURN_MARKER = re.compile(r"<\|\w+\|>|<(?:start|end)_of_turn>|\[/?INST\]|</?s>")
"""How models mark where a turn begins or ends, where their tokenizer does not know it for a special token."""


def faults_of(completion: str, value: str, *, ended: bool) -> frozenset[Fault]:
    """What is wrong with a completion as a piece of text.

    `empty`: no letter, digit or sign. `repeating`: it ends with the same piece, up to some forty characters long, at
    least four times in a row; a number's own digits are not looked at. `cut_off`: no end token came within the tokens
    allowed. `several_numbers`: the value is one number, and the answer holds different ones. `turn_marker`: the model
    went on into another turn, by a mark in the text. (What else tells of one, and `hedging`, is
    not in a text alone.)
    """
    text = answer_of(completion).strip()
    found: set[Fault] = set()
    if not text:
        found.add("empty")
    if _repeats(completion.strip()):
        found.add("repeating")
    if _TURN_MARKER.search(completion):
        found.add("turn_marker")
    if not ended:
        found.add("cut_off")
    if len(normalise(value, "number")) == len(normalise(value, "text")) == 1:
        found.update(["several_numbers"] if len(set(normalise(text, "number"))) > 1 else [])
    return frozenset(found)


def _repeats(text: str) -> bool:
    match = _REPEATING.search(text)
    return match is not None and not match[0].replace(",", "").strip().isdigit()


Score = Callable[[Row, str], tuple[bool, bool]]
"""(row, completion) -> whether it matches by the rule `value`, and by the rule `published`."""

Flags = Callable[[Row, Record], frozenset[Fault]]
"""(row, record) -> what is wrong with a completion beside what its text alone tells."""

Place = Callable[[Row, Record], tuple[int, int] | None]
"""(row, the untouched model's record) -> which of its tokens say the right value, half-open; `None` where none do."""

OwnScore = Callable[[Row, str], Mapping[str, float]]
"""(row, completion) -> a user's own metrics by name."""

DONOR_VALUE = "donor_value"
"""The metric of resample ablation: whether the completion holds the donor's value."""


class Sample(Section):
    """One scored completion, of one row under one condition: a line of `samples.jsonl`."""

    condition: Name
    row: Name
    filename: str
    cluster: str
    """What the row belongs to beside others; its filing where it names none."""
    task: Name
    depth: Fraction | None
    """Where in its haystack the needle stands."""
    value: str
    """What would be right."""
    completion: str
    match: bool
    """Whether it is right by the rule that was asked for."""
    published_match: bool
    """Whether it is right by the published rule."""
    ended: bool
    """Whether it came to an end token."""
    faults: Annotated[tuple[Fault, ...], EachOnce, UNIQUE]
    """What is wrong with it as a piece of text."""
    tokens: Count
    """How many were generated, the end token left out."""
    gold_logprob: LogProbability | None
    """Of the right value's tokens after the prompt; null where it is infinite or not a number, as below."""
    baseline_logprob: LogProbability | None
    """Of the untouched model's completion."""
    value_logprob: Real | None = None
    """Of the right value's tokens where the untouched model's completion says them; null where it does not, or where
    that was not measured."""
    own: dict[str, Real | None]
    """A user's own metrics by name."""


Pairing = tuple[Sample, Sample]
"""Two samples of one row: before, and after."""


@dataclass(frozen=True, slots=True)
class TextSample:
    """How likely a model found a row's plain text under one condition: the mean log-probability of its tokens."""

    condition: str
    row: str
    filename: str
    per_token: Real


S = TypeVar("S", Sample, TextSample)


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


def by_condition(samples: Iterable[S]) -> dict[str, dict[str, S]]:
    """Each condition's samples by row."""
    found: dict[str, dict[str, S]] = {}
    for sample in samples:
        found.setdefault(sample.condition, {})[sample.row] = sample
    return found


def score_samples(
    conditions: Iterable[Condition],
    rows: Sequence[Row],
    records: Mapping[Job, Record],
    score: Score,
    own: OwnScore | None = None,
    *,
    flags: Flags | None = None,
    place: Place | None = None,
    manner: Manner = DEFAULT_MANNER,
) -> tuple[Sample, ...]:
    """A sample for each row of each condition that has a record, condition by condition in the order given.

    Conditions over plain text ask nothing, and have `text_samples` instead.

    `place` says where the untouched model's answer holds the value; without it nothing is known of its likelihood.
    A condition that is asked only where the untouched model is right has no sample of a row where it is wrong, also
    where there is a record.

    Equal answers to a row are scored once. Raises SettingsError where two different conditions share a name.
    """
    by_id = {row.id: row for row in rows}
    before = {row.id: records.get(untouched(row.id)) for row in rows}
    matches: dict[tuple[str, str], tuple[bool, bool]] = {}

    def matched(row: Row, text: str) -> tuple[bool, bool]:
        if (row.id, text) not in matches:
            matches[row.id, text] = score(row, text)
        return matches[row.id, text]

    asked = tuple(each for each in distinct(conditions) if each.prompt != "plain_text")
    wrong: set[str] = set()
    if any(each.only_right for each in asked):
        wrong = {id_ for id_, answer in before.items() if answer and not matched(by_id[id_], answer.text)[0]}
    scored: dict[tuple[str, str, tuple[int, ...]], _Scored] = {}
    samples = []
    of_value: dict[str, tuple[int, int] | None] = {}
    for condition in asked:
        for job in jobs_of(condition, rows, manner, wrong):
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
                scored[key] = _Scored(*matched(row, text), faults, finite)
            if row.id not in of_value:
                answer = before[row.id]
                of_value[row.id] = None if answer is None or place is None else place(row, answer)
            value_logprob = _at(of_value[row.id], record) if condition.prompt == "full" else None
            samples.append(_sample(condition, row, record, scored[key], value_logprob))
    return tuple(samples)


class _Scored(NamedTuple):
    """What is worked out once of equal answers to a row."""

    match: bool
    published_match: bool
    faults: frozenset[Fault]
    own: Mapping[str, float | None]


def _at(tokens: tuple[int, int] | None, record: Record) -> float | None:
    """The log-probability of these tokens of the untouched model's completion, under a record's condition."""
    each = record.completion.baseline_logprobs
    return None if tokens is None or each is None else math.fsum(each[slice(*tokens)])


def _sample(condition: Condition, row: Row, record: Record, scored: _Scored, value_logprob: float | None) -> Sample:
    return Sample(
        condition=condition.name,
        row=row.id,
        filename=row.filename,
        cluster=row.cluster_name,
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
        value_logprob=_finite(value_logprob),
        faults=tuple(sorted(scored.faults)),
        own=dict(scored.own),
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None

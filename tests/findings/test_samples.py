"""Samples: a scored answer for each row and condition that has a record, and nothing else."""

import math
from dataclasses import replace
from typing import get_args

import pytest
from fake_study import make_rows, score
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SettingsError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.experiment.plan import Job
from harness.experiment.record import Completion, Record
from harness.findings.samples import Fault, Sample, faults_of, score_samples
from harness.retrieval.rows import Row
from harness.retrieval.scoring import value_tokens

MINE = Condition("mine", heads=(Head(1, 2),), tasks=("b",))
ROWS = make_rows(("a", "b"), 2)


def record(row: Row, condition: Condition, text: str) -> Record:
    job = Job(row.id, frozenset(condition.heads))
    return Record(job, Completion((5, 6, 7), 2, -1.5, None, 1, 0.5), text, 0.1)


def test_rows_without_a_record_make_no_sample() -> None:
    records = [record(ROWS[0], BASELINE, "0."), record(ROWS[1], BASELINE, "8"), record(ROWS[3], MINE, "1.")]
    samples = score_samples([BASELINE, MINE], ROWS, {r.job: r for r in records}, score)
    assert [(s.condition, s.row, s.match) for s in samples] == [
        ("baseline", "filing_000.txt/a", True),
        ("baseline", "filing_000.txt/b", False),
        ("mine", "filing_001.txt/b", True),
    ]
    assert samples[2] == Sample(
        condition="mine",
        row="filing_001.txt/b",
        filename="filing_001.txt",
        cluster="filing_001.txt",
        task="b",
        depth=None,
        value="1",
        completion="1.",
        match=True,
        published_match=True,
        ended=True,
        faults=(),
        tokens=3,
        gold_logprob=-1.5,
        baseline_logprob=None,
        own={},
    )


def test_equal_answers_to_a_row_are_scored_once() -> None:
    asked: list[tuple[str, str]] = []

    def counting(row: Row, completion: str) -> tuple[bool, bool]:
        asked.append((row.id, completion))
        return True, False

    records = [record(ROWS[1], BASELINE, "x"), record(ROWS[1], MINE, "x"), record(ROWS[3], MINE, "x")]
    samples = score_samples([BASELINE, MINE], ROWS, {r.job: r for r in records}, counting)
    assert len(samples) == 3
    assert asked == [("filing_000.txt/b", "x"), ("filing_001.txt/b", "x")]


def test_what_is_not_a_number_is_unknown() -> None:
    sound = record(ROWS[1], MINE, "x")
    bad = replace(sound, completion=replace(sound.completion, gold_logprob=-math.inf, baseline_logprob=math.nan))
    (sample,) = score_samples(
        [MINE], ROWS, {bad.job: bad}, score, own=lambda row, text: {"length": len(text), "bad": math.nan}
    )
    assert (sample.gold_logprob, sample.baseline_logprob) == (None, None)
    assert sample.own == {"length": 1.0, "bad": None}


WORDS = ("The", " number", " is", " 1", ".")


def says(ids: list[int]) -> str:
    return "".join(WORDS[each] for each in ids)


def test_the_likelihood_of_a_value_in_a_sentence() -> None:
    """Where a model answers in sentences the value does not stand first: its likelihood there says nothing.

    The value is the fourth of the untouched answer's tokens. Zeroing heads leaves a hundredth of its probability, and
    that of the words before it as it was.
    """
    asked, unasked = ROWS[3], ROWS[1]
    logprobs = {BASELINE: (-0.1, -0.2, 0.0, math.log(0.9), 0.0), MINE: (-0.1, -0.2, 0.0, math.log(0.009), -3.0)}
    records = []
    for row, ids in ((asked, (0, 1, 2, 3, 4)), (unasked, (0, 1, 2, 4))):
        for condition, each in logprobs.items():
            said = Completion(ids, 9, math.log(0.002), -0.3, 1, 0.5, baseline_logprobs=each)
            records.append(Record(Job(row.id, frozenset(condition.heads)), said, says(list(ids)), 0.1))

    def place(row: Row, untouched: Record) -> tuple[int, int] | None:
        return value_tokens(untouched.completion.token_ids, row.needle_value, "number", says)

    samples = score_samples([BASELINE, MINE], ROWS, {r.job: r for r in records}, score, place=place)
    found = {(s.condition, s.row): s.value_logprob for s in samples}
    assert found == {
        ("baseline", asked.id): pytest.approx(math.log(0.9)),
        ("mine", asked.id): pytest.approx(math.log(0.009)),
        ("baseline", unasked.id): None,
        ("mine", unasked.id): None,
    }
    assert {s.gold_logprob for s in samples} == {math.log(0.002)}


@pytest.mark.parametrize("lacking", ["place", "logprobs", "untouched", "prompt"])
def test_where_the_likelihood_is_unknown(lacking: str) -> None:
    condition = replace(MINE, prompt="needle_absent") if lacking == "prompt" else MINE
    job = Job(ROWS[1].id, frozenset(MINE.heads), condition.prompt)
    each = None if lacking == "logprobs" else (-1.0,) * 3
    made = Record(job, Completion((5, 6, 7), 2, -1.5, None, 1, 0.5, baseline_logprobs=each), "x", 0.1)
    records = {job: made} if lacking == "untouched" else {job: made, Job(ROWS[1].id, frozenset()): made}
    place = None if lacking == "place" else (lambda row, untouched: (0, 1))
    (sample,) = score_samples([condition], ROWS, records, score, place=place)
    assert sample.value_logprob is None


def test_what_a_text_alone_does_not_tell() -> None:
    """Two answers that read alike are told apart by their tokens."""
    plain = record(ROWS[1], BASELINE, "x")
    marked = record(ROWS[1], MINE, "x")
    marked = replace(marked, completion=replace(marked.completion, token_ids=(5, 9)))
    samples = score_samples(
        [BASELINE, MINE],
        ROWS,
        {r.job: r for r in (plain, marked)},
        score,
        flags=lambda row, record: frozenset({"turn_marker"} if 9 in record.completion.token_ids else ()),
    )
    assert [sample.faults for sample in samples] == [(), ("turn_marker",)]


def test_one_name_has_one_meaning() -> None:
    other = replace(MINE, heads=(Head(0, 0),))
    with pytest.raises(SettingsError, match="condition mine: declared twice"):
        score_samples([MINE, other], ROWS, {}, score)
    assert score_samples([MINE, MINE], ROWS, {}, score) == ()


@pytest.mark.parametrize(
    ("completion", "value", "expected"),
    [
        ("1,500", "1,500", set()),
        ("The year is 1993.", "1993", set()),
        ("", "1993", {"empty"}),
        (" \n", "Smith", {"empty"}),
        ("the the the the", "Smith", {"repeating"}),
        ("no no no", "Smith", set()),
        ("Smith, Smith, Smith, Smith, ", "Smith", {"repeating"}),
        ("It is in in the in the in the in the", "Ohio", {"repeating"}),
        ("aaaaaa", "Smith", {"repeating"}),
        ("1111", "1111", set()),
        ("5,555,555", "5,555,555", set()),
        ("1 1 1 1 1", "1", {"repeating"}),
        ("1993 or 1994", "1993", {"several_numbers"}),
        ("1993, that is 1993", "1993", set()),
        ("1993 or 1994", "Smith", set()),
        ("5 of 7", "Unit 5", set()),
        ("seven, or 8", "7", {"several_numbers"}),
        ("<think>7 or 8?</think>7", "7", set()),
        ("<think>7 or", "7", {"empty"}),
        ("Smith<|im_end|>", "Smith", {"turn_marker"}),
        ("Smith [INST] And", "Smith", {"turn_marker"}),
        ("Smith <b>", "Smith", set()),
    ],
)
def test_kinds(completion: str, value: str, expected: set[str]) -> None:
    assert faults_of(completion, value, ended=True) == expected
    assert faults_of(completion, value, ended=False) == expected | {"cut_off"}


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=60), st.text("ab 1", min_size=1, max_size=6))
def test_any_text_is_taken(completion: str, value: str) -> None:
    assert faults_of(completion, value, ended=True) <= set(get_args(Fault))


@settings(derandomize=True, deadline=None)
@given(st.text("abcdefgh ", min_size=1, max_size=20).filter(str.strip), st.integers(4, 8))
def test_what_is_said_four_times_repeats(piece: str, times: int) -> None:
    said = " ".join([piece.strip()] * times)
    assert "repeating" in faults_of(said, "Smith", ended=True)

"""Keys: everything that an answer depends on makes another one, and nothing else does."""

import json
import math
import struct
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.heads import Head
from harness.experiment.plan import Job
from harness.experiment.record import (
    Completion,
    Record,
    RunKey,
    job_key,
    means_key,
    read_record,
    record_text,
    tokens_digest,
    upgraded,
)

RECORD = Record(
    Job("f1/ceo", frozenset({Head(17, 24), Head(3, 1)})), Completion((5, 7), 2, -0.1, None, 42, 0.5), "Lee", 0.25, "cpu"
)

floats = st.floats(allow_nan=False) | st.sampled_from([-0.0, 5e-324, math.inf, -math.inf])
records = st.builds(
    Record,
    job=st.builds(
        Job,
        row_id=st.text(),
        heads=st.frozensets(st.builds(Head, st.integers(0, 99), st.integers(0, 99)), max_size=4),
        prompt=st.sampled_from(["full", "needle_absent", "plain_text"]),
        mode=st.sampled_from(["zero", "mean", "resample"]),
        phase=st.sampled_from(["all", "decode"]),
    ),
    completion=st.builds(
        Completion,
        token_ids=st.lists(st.integers(0, 2**31)).map(tuple),
        end_token_id=st.none() | st.integers(0, 2**40),
        gold_logprob=floats,
        baseline_logprob=st.none() | floats,
        hooks_fired=st.integers(0, 2**40),
        smallest_gap=floats,
        halvings=st.integers(0, 9),
        baseline_logprobs=st.none() | st.lists(floats, max_size=4).map(tuple),
    ),
    text=st.text(st.characters(), max_size=20),
    seconds=floats,
    device=st.none() | st.text(max_size=5),
)


def bits(value: float | None) -> bytes | None:
    return None if value is None else struct.pack("<d", value)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(record=records)
def test_records_come_back_equal_to_the_last_bit(record: Record) -> None:
    again = read_record(record_text(record))
    assert again == record
    assert bits(again.seconds) == bits(record.seconds)
    for name in ("gold_logprob", "baseline_logprob", "smallest_gap"):
        assert bits(getattr(again.completion, name)) == bits(getattr(record.completion, name))
    each = zip(again.completion.baseline_logprobs or (), record.completion.baseline_logprobs or (), strict=True)
    assert all(bits(one) == bits(other) for one, other in each)


def test_what_a_record_had_not_yet_when_it_was_written_is_unknown() -> None:
    fields = json.loads(record_text(RECORD))
    del fields["device"], fields["completion"]["baseline_logprobs"], fields["completion"]["halvings"]
    assert read_record(json.dumps(fields)) == replace(RECORD, device=None)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("job", "row_id", 3),
        ("job", "heads", "L1H2"),
        ("job", "heads", [3]),
        ("job", "heads", ["L1"]),
        ("job", "prompt", "empty"),
        ("job", "mode", None),
        ("job", "phase", "some"),
        ("job", "more", 1),
        ("completion", "token_ids", "57"),
        ("completion", "token_ids", [5.0]),
        ("completion", "token_ids", [True]),
        ("completion", "end_token_id", "2"),
        ("completion", "gold_logprob", None),
        ("completion", "gold_logprob", "0.1"),
        ("completion", "baseline_logprob", False),
        ("completion", "baseline_logprobs", -0.5),
        ("completion", "baseline_logprobs", ["0.1"]),
        ("completion", "hooks_fired", 1.5),
        ("completion", "halvings", None),
        (None, "completion", None),
        (None, "job", []),
        (None, "text", 1993),
        (None, "seconds", "1"),
        (None, "device", 0),
        (None, "more", 1),
    ],
)
def test_a_value_of_another_kind_is_an_error(part: str | None, name: str, value: object) -> None:
    fields = json.loads(record_text(RECORD))
    (fields if part is None else fields[part])[name] = value
    with pytest.raises(ValueError, match=r"than expected|no |unexpected|head"):
        read_record(json.dumps(fields))


def test_a_record_of_version_1_says_the_same() -> None:
    old = (
        '{"job": {"row_id": "f1/ceo", "heads": ["L3H1", "L17H24"], "prompt": "full", "mode": "zero", "phase": "all"}, '
        '"token_ids": [5, 7], "text": "Lee", "end_token_id": 2, "gold_logprob": -0.1, "baseline_logprob": null, '
        '"hooks_fired": 42, "seconds": 0.25, "smallest_gap": 0.5, "halvings": 0}'
    )
    assert read_record(upgraded(old)) == replace(RECORD, device=None)
    assert math.isinf(read_record(upgraded(old.replace("0.5, ", "null, "))).completion.smallest_gap)
    for bad in (old.replace("[5, 7]", "57"), old.replace('"text"', '"texts"'), "[]", old[:-1]):
        with pytest.raises(ValueError, match=r"than expected|no |unexpected|delimiter"):
            upgraded(bad)


JOB = Job("f1/ceo", frozenset({Head(17, 24), Head(3, 1)}))
RUN = RunKey("abc", None, "float32", "sdpa", "cpu", "reference-1", 20, "2.13.0", "5.1.0")
OTHERS = [replace(RUN, **{field.name: "x"}) for field in fields(RunKey)]  # type: ignore[arg-type]  # any other value


def test_the_key_depends_on_everything_and_on_nothing_else() -> None:
    key = job_key(RUN, JOB, tokens_digest([1, 2], [3]))
    assert len(key) == 64
    assert key == job_key(RUN, replace(JOB, heads=frozenset({Head(3, 1), Head(17, 24)})), tokens_digest((1, 2), (3,)))
    assert key == job_key(RUN, replace(JOB, row_id="another row of equal prompt and value"), tokens_digest([1, 2], [3]))
    others = {job_key(other, JOB, tokens_digest([1, 2], [3])) for other in OTHERS}
    others |= {
        job_key(RUN, replace(JOB, heads=frozenset()), tokens_digest([1, 2], [3])),
        job_key(RUN, replace(JOB, heads=frozenset({Head(17, 24)})), tokens_digest([1, 2], [3])),
        job_key(RUN, replace(JOB, prompt="needle_absent"), tokens_digest([1, 2], [3])),
        job_key(RUN, replace(JOB, mode="mean"), tokens_digest([1, 2], [3])),
        job_key(RUN, replace(JOB, phase="decode"), tokens_digest([1, 2], [3])),
        job_key(RUN, JOB, tokens_digest([1, 2], [3]), "what its heads put out instead"),
        job_key(RUN, JOB, tokens_digest([1], [2, 3])),
        job_key(RUN, JOB, tokens_digest([1, 2], [])),
        job_key(RUN, JOB, tokens_digest([12], [3])),
    }
    assert len(others) == len(OTHERS) + 9
    assert key not in others


@settings(derandomize=True, deadline=None)
@given(st.permutations([Head(layer, head) for layer in range(12) for head in range(12)]))
def test_the_key_does_not_depend_on_how_a_set_was_filled(heads: list[Head]) -> None:
    first = job_key(RUN, Job("r", frozenset(sorted(heads))), tokens_digest([], []))
    assert job_key(RUN, Job("r", frozenset(heads)), tokens_digest([], [])) == first


def test_a_key_is_the_same_on_every_machine() -> None:
    assert (
        job_key(RUN, JOB, tokens_digest([1, 2], [3]))
        == "97ecd96b2da1af14c141df6a9a222fb3369fc88740f4b897b36a2515566cdd52"
    )


def test_means_depend_on_the_model_and_the_prompts_alone() -> None:
    key = means_key(RUN, ["a", "b"])
    assert key == means_key(replace(RUN, engine="x", max_new_tokens=3), iter(["a", "b"]))
    others = [
        means_key(RUN, ["b", "a"]),
        means_key(RUN, ["ab"]),
        *(
            means_key(other, ["a", "b"])
            for other in OTHERS
            if (other.engine, other.max_new_tokens) == (RUN.engine, RUN.max_new_tokens)
        ),
    ]
    assert len({key, *others}) == 1 + 2 + len(OTHERS) - 2

"""Degenerate completions, one kind at a time, and texts that are none."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.findings.degenerate import Fault, faults_of


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

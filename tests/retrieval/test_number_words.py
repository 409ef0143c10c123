"""Numbers in words: what is rewritten before the library reads them, and every number up to a million read back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.retrieval.number_words import NO_NUMBER, exactly_written, words_as_digits

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def spelled(n: int, comma: str) -> str:
    """A number in words by hand: the oracle."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{ONES[n // 100]} hundred" + (f" {spelled(n % 100, comma)}" if n % 100 else "")
    scale, word = (10**6, "million") if n >= 10**6 else (10**3, "thousand")
    return f"{spelled(n // scale, comma)} {word}" + (f"{comma} {spelled(n % scale, comma)}" if n % scale else "")


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 10**9 - 1), st.sampled_from(["", ","]))
def test_numbers_as_they_are_spelled_out(n: int, comma: str) -> None:
    assert words_as_digits(exactly_written(spelled(n, comma))) == str(n)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("two and a half million", "two point five million" + NO_NUMBER),
        ("2 and a half million", "2.5 million"),
        ("half a million", "0.5 million"),
        ("a quarter of a million", "0.25 million"),
        ("three quarters of a million", "0.75 million"),
        ("two or three hundred", "two hundred or three hundred"),
        ("5-10 million", "5 million-10 million"),
        ("twenty-five hundred", "twenty-five hundred"),
        ("nineteen eighty-eight", "1988"),
        ("twenty five", "twenty five"),
        ("three millions", "three million"),
        ("one thousand, two thousand", "one thousand, two thousand"),
        ("one thousand, two hundred", "one thousand two hundred"),
        ("one of", f"{NO_NUMBER} of"),
        ("no one", f"no {NO_NUMBER}"),
        ("one employee", "one employee"),
        ("twenty one", "twenty one"),
        ("somebody", "somebody"),
    ],
)
def test_what_is_written_otherwise(text: str, written: str) -> None:
    assert exactly_written(text) == written


@pytest.mark.parametrize(
    "text",
    [
        "several hundred",
        "a few thousand",
        "hundreds",
        "tens of thousands",
        "two dozen",
        "12 dozen",
        "two-thirds",
        "two thirds of a million",
        f"2{NO_NUMBER} million",
        "no-one",
    ],
)
def test_what_says_no_exact_number(text: str) -> None:
    assert not any(word.isdigit() for word in words_as_digits(exactly_written(text)).split())

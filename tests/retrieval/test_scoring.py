"""Scoring: both rules on cases worked out by hand, the traps of earlier work, and properties."""

import json
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.retrieval.scoring import (
    Compare,
    answer_of,
    hedges,
    matches_published,
    matches_value,
    normalise,
    unigram_recall,
)

CASES = [json.loads(line) for line in Path(__file__).with_name("scoring_cases.jsonl").read_text("utf-8").splitlines()]
"""Answers as models give them, each with its value, whether it is right, and what kind of trap it is."""

exhaustive = settings(derandomize=True, deadline=None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}: {case['value']} in {case['completion']}")
def test_answers_as_models_give_them(case: dict[str, Any]) -> None:
    said = matches_value(case["completion"], case["value"], case["compare"], case.get("others", ()))
    assert said is case["right"]


@pytest.mark.parametrize(
    ("completion", "hedging"),
    [
        ("Delaware or Texas", True),
        ("It is Delaware, not West Virginia.", True),
        ("West Virginia", False),
        ("Delaware. Delaware!", False),
        ("Texas", False),
        ("Ohio", False),
        ("<think>Delaware or Texas?</think>Texas", False),
    ],
)
def test_two_values_of_a_task_in_one_answer(completion: str, hedging: bool) -> None:
    states = ("Delaware", "Virginia", "West Virginia", "Texas")
    assert hedges(completion, "Delaware", "text", states) is hedging
    assert not hedges("25 or 3", "25", "number", ["3"]), "several numbers may be no guess: 25 full-time, 3 part-time"


def test_the_answer_follows_the_thought() -> None:
    assert answer_of("Delaware") == "Delaware"
    assert answer_of("<think>a</think>b") == "b"
    assert answer_of("a</think>b<think>c</think>d") == "d"
    assert answer_of("a</think>b<think>c") == "b"
    assert answer_of("<think>a") == ""
    assert matches_published("<think>Ohio</think>Texas", "Texas")
    assert not matches_published("<think>Ohio</think>Texas", "Ohio")


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        (" 700", "seven hundred"),
        ("The company has seven hundred employees.", "700"),
        ("Seven Hundred (700)", "700"),
        ("approximately 1,234,567 shares", "1234567"),
        ("1234567", "1,234,567"),
        ("$1,500.50.", "1500.5"),
        ("1500.00", "1500"),
        ("007", "7"),
        ("one thousand two hundred thirty-four", "1,234"),
        ("twelve hundred", "1200"),
        ("1.5 million", "1,500,000"),
        ("2 hundred thousand", "200000"),
        ("three point five", "3.5"),
        ("a hundred", "100"),
        ("zero", "0"),
        ("December 31, 1985", "1985"),
        ("12/31/1985", "1985"),
        ("from 1984-1985", "1985"),
        ("'1985'", "1985"),
        ("The answer is.1985", "1985"),
        ("１２３", "123"),
        ("1\u00a0234", "1234"),
        ("1’234’567", "1234567"),
        ("-5", "−5"),
        ("5 or 6", "6"),
    ],
)
def test_numbers_that_are_equal(completion: str, value: str) -> None:
    assert matches_value(completion, value, "number")


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("1500", "5"),
        ("7 100", "seven hundred"),
        ("3M", "3"),
        ("5th", "5"),
        ("1.2.3", "1.2"),
        ("1,2345", "1"),
        ("1,2345", "2345"),
        ("10²", "102"),
        ("10²", "10"),
        ("2½", "2"),
        ("1.23457e+06", "1234567"),
        ("-5", "5"),
        ("1 500", "1500"),
        ("1993\u00a0500", "1993500"),
        ("12345678901234567890123456789012345678", "12345678901234567890123456789012345679"),
        ("", "5"),
        ("none", "5"),
    ],
)
def test_numbers_that_differ(completion: str, value: str) -> None:
    assert not matches_value(completion, value, "number")


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        (" Delaware.", "Delaware"),
        ("the state of NEW YORK", "New York"),
        ("New\nYork", "New York"),
        ("O’Brien", "O'Brien"),
        ("Johnson and Johnson", "Johnson & Johnson"),
        ("C.R. Bard, Inc", "C. R. Bard, Inc."),
        ("Second Street", "Second"),
        ("Straße", "STRASSE"),
        ("Cafe\u0301 Roma", "Café"),
        ("1234 Corp", "1,234 Corp"),
        ("<b>Smith</b>", "Smith"),
    ],
)
def test_names_that_are_equal(completion: str, value: str) -> None:
    assert matches_value(completion, value, "text")


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("Smithson", "Smith"),
        ("2nd Street", "Second Street"),
        ("York New", "New York"),
        ("New Old York", "New York"),
        ("कि", "क"),
        ("1500", "5"),
        ("", "Smith"),
    ],
)
def test_names_that_differ(completion: str, value: str) -> None:
    assert not matches_value(completion, value, "text")


@pytest.mark.parametrize(
    ("value", "compare"),
    [("", "text"), (" \n", "text"), ("...", "text"), ("$", "number"), ("none", "number"), ("3M", "number")],
)
def test_a_value_without_tokens_is_an_error_and_never_found_everywhere(value: str, compare: Compare) -> None:
    with pytest.raises(DataError, match=r"^needle_value: got .*; expected .* in it; correct the value$"):
        matches_value("anything", value, compare)


@pytest.mark.parametrize("value", ["", " ", ","])
def test_published_refuses_an_empty_value(value: str) -> None:
    with pytest.raises(DataError, match="needle_value"):
        matches_published("anything", value)


@pytest.mark.parametrize(
    ("completion", "value", "match"),
    [
        ("1500", "5", True),  # the published rule's own weakness
        ("1,234,567 shares", "1234567", True),
        ("seven hundred", "700", True),
        ("Seven hundred employees", "700", True),
        ("7 100", "seven hundred", False),
        ("DELAWARE", "Delaware", True),
        ("Smithson", "Smith", True),
        ("Second Street", "Second", True),
        ("Smith", "Smith, Jr.", False),
        ("", "5", False),
    ],
)
def test_published(completion: str, value: str, match: bool) -> None:
    assert matches_published(completion, value) is match


@exhaustive
@given(st.integers(0, 10**40), st.text(max_size=20), st.text(max_size=20))
def test_a_number_is_found_between_any_words_however_it_is_grouped(n: int, left: str, right: str) -> None:
    for written in (str(n), f"{n:,}", f"{n:,}.0", f"${n:,}."):
        assert str(n) in normalise(f"{left} | {written} | {right}", "number")


@exhaustive
@given(st.decimals(0, 10**9, places=4))
def test_numbers_are_exact_decimals(number: Decimal) -> None:
    (token,) = normalise(f"{number:f}", "number")
    assert Decimal(token) == number
    assert token == "0" or not token.startswith("00")
    assert "." not in token or not token.endswith(("0", "."))


@exhaustive
@given(st.text(max_size=60))
def test_normalising_is_stable_and_blind_to_case(text: str) -> None:
    for compare in ("text", "number"):
        tokens = normalise(text, compare)
        assert normalise(" ".join(tokens), compare) == tokens
    assert normalise(text.upper().lower(), "text") == normalise(text.upper(), "text")


@exhaustive
@given(st.text(min_size=1, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_a_value_is_found_in_itself_and_between_other_words(value: str, left: str, right: str) -> None:
    if not normalise(value, "text"):
        return
    assert matches_value(value, value, "text")
    # A mark that came first would belong to what stands before it.
    if not unicodedata.category(unicodedata.normalize("NFKC", value)[0]).startswith("M"):
        assert matches_value(f"{left} ; {value} ; {right}", value, "text")


@pytest.mark.parametrize(
    ("completion", "value", "recall"),
    [
        ("Acme Widgets, Inc.", "ACME widgets inc", 1),
        ("It is Acme.", "Acme Widgets", 1 / 2),
        ("Acme", "Acme Acme", 1 / 2),
        ("Acme Acme Acme", "Acme", 1),
        ("1,234", "1234", 0),  # two words against one
        ("", "Acme", 0),
        ("Acme", "?!", 0),
    ],
)
def test_unigram_recall_by_hand(completion: str, value: str, recall: float) -> None:
    assert unigram_recall(completion, value) == pytest.approx(recall)

"""Scoring: both rules on cases worked out by hand, the traps of earlier work, and properties."""

import json
import re
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.demo import MODEL_FOLDER
from harness.errors import DataError
from harness.retrieval.scoring import (
    Compare,
    answer_of,
    hedges,
    matches_published,
    matches_value,
    normalise,
    unigram_recall,
    value_span,
    value_tokens,
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


WORDS = [
    "one",
    "thousand",
    "two",
    "hundred",
    "1,234",
    "1",
    "234",
    "5.",
    "-5",
    "million",
    "Smith",
    "smith,",
    "(the",
    "&",
]


@pytest.mark.parametrize(
    ("completion", "value", "compare", "said"),
    [
        ("Smith", "Smith", "text", "Smith"),
        ("The CEO is Mr. SMITH.", "Smith", "text", "SMITH"),
        ("Blacksmith, then Smith", "Smith", "text", "Smith"),
        ("It is Johnson & Johnson, of Ohio", "Johnson and Johnson", "text", "Johnson & Johnson"),
        ("It has 1,234 employees", "1234", "number", "1,234"),
        ("It has 1 234 employees", "1234", "number", None),
        ("It has one thousand two hundred people, or 200", "200", "number", "200"),
        ("There are seven hundred holders", "700", "number", "seven hundred"),
        ("twenty-five in all", "25", "number", "twenty-five"),
        ("about 1.5 million, not 5", "1500000", "number", "1.5 million"),
        ("about 1.5 million, not 5", "5", "number", "5"),
        ("from 1,500 to 15", "15", "number", "15"),
        ("a loss of -5", "-5", "number", "-5"),
        ("in 1999.", "1999", "number", "1999"),
        ("file_1999_a", "1999", "text", "1999"),
        ("Café Noir", "cafe\u0301 noir", "text", "Café Noir"),
        ("It is not said", "1999", "number", None),
        ("", "Smith", "text", None),
    ],
)
def test_the_value_in_an_answer(completion: str, value: str, compare: Compare, said: str | None) -> None:
    span = value_span(completion, value, compare)
    assert (None if span is None else completion[slice(*span)]) == said


def test_other_values_of_the_task() -> None:
    others = ("West Virginia", "Virginia Beach", "Ohio")
    text = "Not West Virginia nor Virginia Beach: Virginia."
    found = value_span(text, "Virginia", "text", others)
    assert found == (38, 46)
    assert value_span(text, "Virginia", "text") == (9, 17)
    assert value_span("West Virginia", "Virginia", "text", others) is None


def test_what_a_model_thought_before_is_no_answer() -> None:
    text = "<think>Smith? Or Lee.</think>It is Lee, says Lee."
    assert value_span(text, "Lee", "text") == (35, 38)
    assert text[35:38] == "Lee"
    assert value_span(text, "Smith", "text") is None


def test_the_first_of_two_places() -> None:
    assert value_span("Smith, I say: Smith.", "Smith", "text") == (0, 5)


def test_a_value_of_nothing() -> None:
    with pytest.raises(DataError, match="needle_value"):
        value_span("Smith", "--", "text")


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), st.sampled_from(["text", "number"]), st.data())
def test_against_every_stretch(words: list[str], compare: Compare, data: st.DataObject) -> None:
    """Slowly: of all stretches whose ends cut no token, the value's own that ends first, and of those the shortest."""
    text = " ".join(words)
    whole = normalise(text, compare)
    if not whole:
        return
    value = data.draw(st.sampled_from(whole))
    cuts = sorted({0, len(text), *(at for found in re.finditer(r"\b|[^\w\s]", text) for at in found.span())})
    own = [
        (end, -start)
        for start in cuts
        for end in cuts
        if start < end
        and matches_value(text[start:end], value, compare)
        and normalise(text[:start], compare) + normalise(text[start:], compare) == whole
        and normalise(text[:end], compare) + normalise(text[end:], compare) == whole
        and normalise(text[:start], compare) + normalise(text[start:end], compare) == normalise(text[:end], compare)
    ]
    end, start = min(own)
    assert value_span(text, value, compare) == (-start, end)


def letters(ids: list[int]) -> str:
    """Each token a byte; a letter of two bytes is there with its second."""
    return bytes(ids).decode(errors="replace")


@pytest.mark.parametrize(
    ("text", "value", "tokens"),
    [("the é is", "é", (4, 6)), ("Zoë, said", "Zoë", (0, 4)), ("by Zoë", "zoë", (3, 7)), ("by Zoe", "Zoë", None)],
)
def test_a_letter_of_several_tokens(text: str, value: str, tokens: tuple[int, int] | None) -> None:
    assert value_tokens(list(text.encode()), value, "text", letters) == tokens


def test_words_and_their_spaces() -> None:
    pieces = ["It", " has", " 1", ",", "234", " people", "."]

    def decode(ids: list[int]) -> str:
        return "".join(pieces[each] for each in ids)

    assert value_tokens(range(len(pieces)), "people", "text", decode) == (5, 6)
    assert value_tokens(range(len(pieces)), "1234", "number", decode) == (2, 5)
    assert value_tokens(range(len(pieces)), "234", "number", decode) is None


ANSWERS: tuple[tuple[str, str, Compare], ...] = (
    ("The chief executive is Mr. Kelborne of Ohio.", "Kelborne", "text"),
    ("There were 12,345 holders of record.", "12345", "number"),
    ("There were twelve thousand holders.", "12000", "number"),
)


@pytest.mark.parametrize(("text", "value", "compare"), ANSWERS)
def test_a_real_tokenizers_tokens_say_the_value(text: str, value: str, compare: Compare) -> None:
    """And no fewer do."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL_FOLDER)

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids))

    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = value_tokens(ids, value, compare, decode)
    assert found is not None
    start, end = found
    assert matches_value(decode(ids[start:end]), value, compare)
    assert not matches_value(decode(ids[start + 1 : end]), value, compare)
    assert not matches_value(decode(ids[start : end - 1]), value, compare)

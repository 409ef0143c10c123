"""Which tokens of an answer say the value: by hand, and against every stretch of the answer."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.demo import MODEL_FOLDER
from harness.errors import DataError
from harness.retrieval.scoring import Compare, matches_value, normalise, value_span
from harness.retrieval.value_place import value_tokens

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

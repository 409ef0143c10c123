"""Sentences end where a reader would end them, and never beyond a line."""

import pytest
from made_up_filing import filing

from harness.retrieval.filings.filing import Section
from harness.retrieval.filings.sentences import section_sentences


def texts(text: str) -> list[str]:
    return [sentence.text for sentence in section_sentences(Section("1", text))]


def test_lines_and_stops() -> None:
    text = "ITEM 1. BUSINESS\nWe sell. We buy!  \n\n  Sales  12  13\nGrowth came late"
    assert texts(text) == ["ITEM 1.", "BUSINESS", "We sell.", "We buy!", "Sales  12  13", "Growth came late"]


@pytest.mark.parametrize(
    "text",
    [
        "It became Zeta Corp. in 1990.",
        "It was sold to Marygold & Co., a bank.",
        "Two Ph.D.s work with Dr. Roe at St. Ives.",
        "Marygold & Co. Advisory Services has an office.",
        "It cost approx. 5 million.",
    ],
)
def test_abbreviations_end_nothing(text: str) -> None:
    assert texts(text) == [text]


def test_a_companys_name_ends_a_sentence_before_a_word_that_opens_one() -> None:
    assert texts("It was bought by Sync Research, Inc. Accordingly, it moved.") == [
        "It was bought by Sync Research, Inc.",
        "Accordingly, it moved.",
    ]


def test_places_and_lines() -> None:
    text = "One. Two.\nthree"
    for sentence in section_sentences(Section("1A", text)):
        assert text[sentence.start : sentence.end] == sentence.text
        assert sentence.section == "1A"
    assert [sentence.line for sentence in section_sentences(Section("1A", text))] == [0, 0, 1]


def test_every_character_but_spaces_is_in_a_sentence() -> None:
    for section in filing().sections:
        together = "".join("".join(sentence.text.split()) for sentence in section_sentences(section))
        assert together == "".join(section.text.split())


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("We sell.", True),
        ("“We sell.”", True),
        ("(a) We sell.", False),
        ("• We sell.", True),
        ("and then sold.", False),
        ("President and Director", False),
        ("Sales 12 13", False),
    ],
)
def test_which_are_whole(text: str, whole: bool) -> None:
    (sentence,) = section_sentences(Section("1", text))
    assert sentence.is_whole is whole

"""Where sentences stand, and runs of them as a haystack."""

import pytest
from made_up_filing import filing

from harness.errors import DataError
from harness.retrieval.filings.filing import Filing, Section
from harness.retrieval.filings.sentences import (
    Run,
    Window,
    largest_part,
    runs_of,
    section_sentences,
    sentences_of,
    text_of,
)


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


FILING = Filing("a", (Section("1", "One two. Three\nfour. Five!  Six.\nHEAD\nSeven."), Section("2", "Eight.")), {})
SENTENCES = tuple(enumerate(sentences_of(FILING)))
"""One two. | Three | four. | Five! | Six. | HEAD | Seven. | Eight."""


def text(*numbers: int) -> str:
    return text_of(FILING, runs_of([SENTENCES[number] for number in numbers]))


def test_all_of_it_with_a_cut_paragraph_mended() -> None:
    assert text(*range(8)) == "One two. Three four. Five!  Six.\nHEAD\nSeven.\n\nEight."
    assert len(runs_of(SENTENCES)) == 3


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0, 2), "One two.\nfour."),
        ((0, 3), "One two.\nFive!"),
        ((2, 4), "four. Six."),
        ((4, 6), "Six.\nSeven."),
        ((0, 7), "One two.\n\nEight."),
        ((), ""),
    ],
)
def test_parts_of_it(numbers: tuple[int, ...], expected: str) -> None:
    assert text(*numbers) == expected


def test_a_run_that_the_filing_does_not_have() -> None:
    for run in (Run("3", 0, 1), Run("2", 0, 7), Run("2", 3, 3)):
        with pytest.raises(DataError, match=rf"a: no characters {run.start} to {run.end} of section {run.section}"):
            text_of(FILING, [run])


def test_the_window_grows_from_the_start() -> None:
    window = Window(SENTENCES)
    assert window.size == 8
    assert text_of(FILING, window.part(2)) == "One two. Three"
    assert window.part(8) == runs_of(SENTENCES)


def test_the_window_grows_around_what_it_holds_by_equal_shares() -> None:
    window = Window(SENTENCES, (6, 7))
    assert window.size == 6
    parts = [text_of(FILING, window.part(number)) for number in (0, 2, 3, 6)]
    assert parts[:2] == ["Seven.", "Six.\nHEAD\nSeven."]
    assert parts[2:] == ["Five!  Six.\nHEAD\nSeven.", text(*range(8))]
    several = Window(SENTENCES, (4, 7))
    assert [text_of(FILING, several.part(number)) for number in (0, 4)] == [text(4, 5, 6), text(*range(8))]
    alone = Window(SENTENCES[:1], (0, 1))
    assert (alone.size, alone.part(0)) == (0, runs_of(SENTENCES[:1]))


@pytest.mark.parametrize("held", [None, (0, 1), (3, 4), (7, 8), (2, 5)])
def test_the_largest_part_is_the_one_that_trying_all_finds(held: tuple[int, int] | None) -> None:
    window = Window(SENTENCES, held)
    least = 1 if held is None else 0
    for most in range(60):

        def fits(runs: tuple[Run, ...], most: int = most) -> bool:
            return len(text_of(FILING, runs)) <= most

        parts = [window.part(number) for number in range(least, window.size + 1)]
        fitting = [part for part in parts if fits(part)]
        assert largest_part(window, fits) == (fitting[-1] if fitting else None)

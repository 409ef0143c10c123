"""Runs of a filing, joined and cut."""

import pytest

from harness.errors import DataError
from harness.retrieval.filings.filing import Filing, Section
from harness.retrieval.filings.haystack import Run, Window, largest_part, runs_of, text_of
from harness.retrieval.filings.sentences import sentences_of

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


def test_the_window_grows_around_its_centre_by_equal_shares() -> None:
    window = Window(SENTENCES, centre=6)
    assert window.size == 6
    parts = [text_of(FILING, window.part(number)) for number in (0, 2, 3, 6)]
    assert parts[:2] == ["Seven.", "Six.\nHEAD\nSeven."]
    assert parts[2:] == ["Five!  Six.\nHEAD\nSeven.", text(*range(8))]
    alone = Window(SENTENCES[:1], centre=0)
    assert (alone.size, alone.part(0)) == (0, runs_of(SENTENCES[:1]))


@pytest.mark.parametrize("centre", [None, 0, 3, 7])
def test_the_largest_part_is_the_one_that_trying_all_finds(centre: int | None) -> None:
    window = Window(SENTENCES, centre)
    least = 1 if centre is None else 0
    for most in range(60):

        def fits(runs: tuple[Run, ...], most: int = most) -> bool:
            return len(text_of(FILING, runs)) <= most

        parts = [window.part(number) for number in range(least, window.size + 1)]
        fitting = [part for part in parts if fits(part)]
        assert largest_part(window, fits) == (fitting[-1] if fitting else None)

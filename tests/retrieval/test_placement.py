"""Placement: the needle's characters, its depth, and a haystack that stays as it was."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.choices import Insertion
from harness.errors import DataError
from harness.retrieval.placement import place_needle, sentence_boundaries
from harness.retrieval.rows import Placement, Row

NEEDLE = "The CEO is Smith."


def row(haystack: str, needle: str = NEEDLE, placement: Placement = "insert") -> Row:
    return Row("a.txt", "ceo_lastname", needle, "Smith", haystack, placement=placement)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", [""]),
        ("One", ["One"]),
        ("One. Two! Three? Four", ["One.", " Two!", " Three?", " Four"]),
        ('He said "Go." Then left.', ['He said "Go."', " Then left."]),
        ("Acme Inc. of Ohio. It grew.", ["Acme Inc. of Ohio.", " It grew."]),
        ("By J. P. Morgan & Co. Smith. So.", ["By J. P. Morgan & Co. Smith.", " So."]),
        ("The U.S. Army. It won.", ["The U.S. Army.", " It won."]),
        ("About 3.5 percent. Good.", ["About 3.5 percent.", " Good."]),
        ("It was approx. five. etc. and so. on", ["It was approx. five. etc. and so. on"]),
        ("ITEM 1\n \nBusiness is good.\nNew", ["ITEM 1", "\n \nBusiness is good.", "\nNew"]),
        ("一。二！三", ["一。", "二！", "三"]),
    ],
)
def test_sentence_boundaries(text: str, sentences: list[str]) -> None:
    at = sentence_boundaries(text)
    assert [text[start:end] for start, end in pairwise(at)] == [part for part in sentences if part]
    assert at[0] == 0
    assert at[-1] == len(text)


@pytest.mark.parametrize(
    ("depth", "document", "achieved"),
    [
        (0.0, "The CEO is Smith. Aaaa. Bbbb. Cc", 0.0),
        (0.17, "The CEO is Smith. Aaaa. Bbbb. Cc", 0.0),  # character 2.38 of 14: nearer to 0 than to 5
        (0.25, "Aaaa. The CEO is Smith. Bbbb. Cc", 5 / 14),
        (0.5, "Aaaa. The CEO is Smith. Bbbb. Cc", 5 / 14),
        (0.7, "Aaaa. Bbbb. The CEO is Smith. Cc", 11 / 14),
        (1.0, "Aaaa. Bbbb. Cc The CEO is Smith.", 1.0),
    ],
)
def test_the_nearest_boundary(depth: float, document: str, achieved: float) -> None:
    placed = place_needle(row("Aaaa. Bbbb. Cc"), depth=depth)
    assert placed.document == document
    assert placed.depth == achieved
    assert placed.needle is not None
    assert document[slice(*placed.needle)] == NEEDLE


def test_of_two_boundaries_as_near_the_earlier() -> None:
    assert place_needle(row("Aaaa. Bbbb. Cc"), depth=8 / 14).depth == 5 / 14


def test_published_cuts_at_the_character() -> None:
    placed = place_needle(row("abcdefg"), depth=0.5, insertion="published")
    assert placed.document == f"abc {NEEDLE} defg"
    assert placed.depth == 3 / 7


def test_an_empty_haystack_is_the_needle_alone() -> None:
    placed = place_needle(row(""), depth=0.5)
    assert (placed.document, placed.depth) == (NEEDLE, 0.0)


@pytest.mark.parametrize("depth", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_depth_outside_is_refused(depth: float) -> None:
    with pytest.raises(DataError, match=r"row a\.txt/ceo_lastname: depth: got .*; expected a number from 0 to 1"):
        place_needle(row("Text."), depth=depth)


@pytest.mark.parametrize(
    ("haystack", "without"),
    [
        (f"One. {NEEDLE} Two.", "One. Two."),
        (f"One.\n{NEEDLE} Two.", "One.\nTwo."),
        (f"One. {NEEDLE}\nTwo.", "One.\nTwo."),
        (f"One.\n\n{NEEDLE}\n\nTwo.", "One.\n\n\n\nTwo."),
        (f"{NEEDLE} Two.", "Two."),
        (f"One. {NEEDLE}", "One."),
        (NEEDLE, ""),
        (f"({NEEDLE})", "()"),
    ],
)
def test_a_needle_in_place_stays_where_it_is_and_is_cut_out_cleanly(haystack: str, without: str) -> None:
    natural = row(haystack, placement="in_place")
    placed = place_needle(natural, depth=0.9)
    assert placed.document == haystack
    assert placed.needle is not None
    assert haystack[slice(*placed.needle)] == NEEDLE
    left_out = place_needle(natural, depth=0.1, insertion="published", keep=False)
    assert left_out.document == without
    assert left_out.needle is None
    assert left_out.depth == placed.depth


@pytest.mark.parametrize(("haystack", "count"), [("None here.", 0), (f"{NEEDLE} {NEEDLE}", 2)])
def test_in_place_needs_the_needle_exactly_once(haystack: str, count: int) -> None:
    with pytest.raises(DataError, match=f"the needle stands {count} times in the haystack; expected once"):
        place_needle(row(haystack, placement="in_place"), depth=0.5)


texts = st.text(st.sampled_from('ab Z.!?\n\t"é。'), max_size=60)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(texts, st.text("xyü. ", min_size=1).map(lambda inner: f"Q{inner}Q"), st.floats(0, 1), st.booleans())
def test_taking_the_needle_out_gives_the_haystack_back(
    haystack: str, needle: str, depth: float, published: bool
) -> None:
    insertion: Insertion = "published" if published else "sentence"
    placed = place_needle(row(haystack, needle), depth=depth, insertion=insertion)
    assert placed.needle is not None
    start, end = placed.needle
    assert placed.document[start:end] == needle
    left, right = placed.document[:start], placed.document[end:]
    at = round(placed.depth * len(haystack))
    assert haystack[:at] + haystack[at:] == haystack
    assert left in (haystack[:at], haystack[:at] + " ")
    assert right in (haystack[at:], " " + haystack[at:])
    assert not left or left[-1].isspace()
    assert not right or right[0].isspace()
    if not published:
        assert at in sentence_boundaries(haystack)
        assert all(
            abs(at - depth * len(haystack)) <= abs(b - depth * len(haystack)) for b in sentence_boundaries(haystack)
        )
    assert place_needle(row(haystack, needle), depth=depth, insertion=insertion, keep=False).document == haystack

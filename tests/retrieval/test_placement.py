"""Where the needle goes, how much of its haystack stays, and what else stands there."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_tokenizer

from harness.choices import Insertion
from harness.demo.filings import demo_rows
from harness.errors import DataError
from harness.retrieval.placement import (
    cut_to_length,
    cut_together,
    place_needle,
    recurring_rows,
    sentence_boundaries,
    value_recurs,
    value_stands,
)
from harness.retrieval.prompts import build_prompt
from harness.retrieval.rows import Placement, Row, occurrences
from harness.retrieval.tasks import EDGAR_TASKS

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


YEAR_NEEDLE = "The year was 1967."
PLACEMENTS: tuple[Placement, ...] = ("insert", "in_place")
sentences = st.lists(st.integers(1, 12).map(lambda n: f"S{'o' * n} it was."), max_size=12)


def make_row(before: list[str], behind: list[str], placement: Placement) -> Row:
    middle = [YEAR_NEEDLE] if placement == "in_place" else []
    text = " ".join([*before, *middle, *behind]) or "One."
    return Row("f", "year", YEAR_NEEDLE, "1967", text, haystack_token_length=99, placement=placement)


def count(row: Row) -> int:
    """A prompt of words, each three characters or less a token; 7 tokens are not of the haystack."""
    return 7 + sum(1 + len(word) // 4 for word in row.haystack_text.split())


def slow_parts(row: Row) -> list[str]:
    """Every part that a cut may leave, by the definition, largest first."""
    text = row.haystack_text
    bounds = sentence_boundaries(text)
    if row.placement == "insert":
        return [text[:bound] for bound in sorted(bounds, reverse=True)]
    start = text.index(YEAR_NEEDLE)
    end = start + len(YEAR_NEEDLE)
    parts = []
    for first in [start, *(bound for bound in bounds if bound < start)]:
        for last in [end, *(bound for bound in bounds if bound > end)]:
            parts.append(text[first:last].lstrip() if first else text[first:last])
    return sorted(parts, key=len, reverse=True)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(before=sentences, behind=sentences, placement=st.sampled_from(PLACEMENTS), n_tokens=st.integers(1, 90))
def test_what_is_left(before: list[str], behind: list[str], placement: Placement, n_tokens: int) -> None:
    row = make_row(before, behind, placement)
    bare = count(replace(row, haystack_text=YEAR_NEEDLE if placement == "in_place" else ""))
    if bare > n_tokens:
        with pytest.raises(DataError, match=f"row f/year: a prompt of {bare} tokens .* at most {n_tokens}, as seq-len"):
            cut_to_length(row, n_tokens, count)
        return
    cut = cut_to_length(row, n_tokens, count)
    assert count(cut) <= n_tokens
    if count(row) <= n_tokens:
        assert cut is row
        return
    assert replace(cut, haystack_text=row.haystack_text, haystack_token_length=99) == row, "nothing else changes"
    assert cut.haystack_token_length is None
    fitting = [part for part in slow_parts(row) if count(replace(row, haystack_text=part)) <= n_tokens]
    assert cut.haystack_text in fitting
    if placement == "insert":
        assert cut.haystack_text == fitting[0]
    else:
        assert occurrences(YEAR_NEEDLE, cut.haystack_text) == 1


def test_a_needle_in_place_stays_where_it_was_among_the_rest() -> None:
    row = make_row(["One is so."] * 30, ["Two is so."] * 10, "in_place")
    for n_tokens in (60, 100, 150):
        left, right = cut_to_length(row, n_tokens, count).haystack_text.split(YEAR_NEEDLE)
        assert left.count("One is so.") == pytest.approx(3 * right.count("Two is so."), abs=3)
        assert left.startswith("One")


def test_few_prompts_are_counted() -> None:
    """A document of 2,000 sentences is not tried 2,000 times."""
    counted: list[int] = []

    def noting(row: Row) -> int:
        counted.append(count(row))
        return counted[-1]

    row = make_row([], [f"S{'o' * (i % 9)} it was." for i in range(2000)], "insert")
    cut_to_length(row, 3000, noting)
    assert len(counted) < 15


def one_document(lengths: list[int], wordy: list[int]) -> list[Row]:
    """A document of sentences of so many words, and rows whose needles lie apart; `wordy`: words of their questions."""
    said = [f"S{i} is {'so ' * n}it." for i, n in enumerate(lengths)]
    needles = [said[i * len(lengths) // len(wordy)] for i in range(len(wordy))]
    text = " ".join(said)
    return [
        Row(f"f{words}", f"t{i}", needles[-1 - i], "so", text, placement="in_place") for i, words in enumerate(wordy)
    ]


def count_with_question(row: Row) -> int:
    """Words, the question's among them, whose number is written in the row's filename."""
    return int(row.filename[1:]) + len(row.haystack_text.split())


def partitions(rows: list[Row]) -> Iterator[list[list[Row]]]:
    """Every way to put rows together."""
    if not rows:
        yield []
        return
    for rest in partitions(rows[1:]):
        yield [rows[:1], *rest]
        for i, group in enumerate(rest):
            yield [*rest[:i], [rows[0], *group], *rest[i + 1 :]]


def hull(group: list[Row]) -> tuple[int, int]:
    """From their first needle to the end of their last one."""
    starts = [row.haystack_text.index(row.needle_sentence) for row in group]
    return min(starts), max(start + len(row.needle_sentence) for start, row in zip(starts, group, strict=True))


def fit(group: list[Row], text: str, n_tokens: int) -> bool:
    return all(count_with_question(replace(row, haystack_text=text)) <= n_tokens for row in group)


def fit_bare(group: list[Row], n_tokens: int) -> bool:
    start, end = hull(group)
    return fit(group, group[0].haystack_text[start:end], n_tokens)


def slow_window(group: list[Row], n_tokens: int) -> str:
    """The largest part that all of them fit into, the same share of what lies on either side of their needles."""
    text, (start, end) = group[0].haystack_text, hull(group)
    bounds = sentence_boundaries(text)
    left = {(start - b) / start: b for b in bounds if b < start}
    right = {(b - end) / (len(text) - end): b for b in bounds if b > end}
    for share in sorted({*left, *right}, reverse=True):
        first = min((b for at, b in left.items() if at <= share), default=start)
        last = max((b for at, b in right.items() if at <= share), default=end)
        part = text[first:last].strip()
        if fit(group, part, n_tokens):
            return part
    return text[start:end]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=5, max_size=14),
    wordy=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    n_tokens=st.integers(10, 80),
)
def test_rows_of_one_document_share_as_few_parts_of_it_as_can_be(
    lengths: list[int], wordy: list[int], n_tokens: int
) -> None:
    rows = one_document(lengths, wordy)
    cut = cut_together(rows, n_tokens, count_with_question)
    able = [row for row in rows if fit_bare([row], n_tokens)]
    assert [found is not None for found in cut] == [row in able for row in rows]
    groups: dict[str, list[Row]] = {}
    for row, found in zip(rows, cut, strict=True):
        if found is not None:
            assert replace(found, haystack_text=row.haystack_text) == row
            groups.setdefault(found.haystack_text, []).append(row)
    for window, group in groups.items():
        assert window == slow_window(group, n_tokens)
        assert all(occurrences(row.needle_sentence, window) == 1 for row in group)
    possible = (parts for parts in partitions(able) if all(fit_bare(part, n_tokens) for part in parts))
    assert len(groups) <= min(map(len, possible))


def test_needles_that_are_put_in_get_one_beginning_of_the_document() -> None:
    """The shortest of the cuts that they would get alone."""
    document = " ".join(f"S{'o' * (i % 9)} it was." for i in range(200))
    rows = [Row(f"f{words}", f"t{words}", YEAR_NEEDLE, "1967", document) for words in (3, 20, 11)]
    cut = cut_together(rows, 300, count_with_question)
    (kept,) = {found.haystack_text for found in cut if found is not None}
    assert kept == cut_to_length(rows[1], 300, count_with_question).haystack_text
    assert cut_together(rows, 820, count_with_question) == tuple(rows)
    too_long = replace(rows[0], filename="f301")
    assert cut_together([*rows, too_long], 300, count_with_question) == (*cut, None)


def test_few_prompts_of_rows_together_are_counted() -> None:
    """A document of 2,000 sentences and nine needles in place: about as many as of one row, and one or two of each."""
    rows = one_document([i % 9 for i in range(2000)], [3, 1, 4, 1, 5, 9, 2, 6, 5])
    counted = []

    def noting(row: Row) -> int:
        counted.append(row.task)
        return count_with_question(row)

    assert len({found.haystack_text for found in cut_together(rows, 13000, noting) if found is not None}) == 1
    assert len(counted) < 60


@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("in_place", [False, True])
def test_whole_prompts(depth: float, in_place: bool) -> None:
    row = demo_rows(1, n_sentences=12)[0]
    if in_place:
        ends = sentence_boundaries(row.haystack_text)
        at = ends[round(depth * (len(ends) - 1))]
        parts = [row.haystack_text[:at].strip(), row.needle_sentence, row.haystack_text[at:].strip()]
        row = replace(row, haystack_text=" ".join(part for part in parts if part), placement="in_place")

    def tokens(row: Row) -> int:
        return len(build_prompt(row, EDGAR_TASKS[row.task], tiny_tokenizer(), depth=depth).token_ids)

    whole = tokens(row)
    for n_tokens in (whole - 1, whole - 300):
        cut = cut_to_length(row, n_tokens, tokens)
        prompt = build_prompt(cut, EDGAR_TASKS[row.task], tiny_tokenizer(), depth=depth)
        assert n_tokens - 200 < len(prompt.token_ids) <= n_tokens
        needle = prompt.token_ids[prompt.needle_start : prompt.needle_end]
        assert row.needle_sentence in tiny_tokenizer().decode(list(needle))
        absent = build_prompt(cut, EDGAR_TASKS[row.task], tiny_tokenizer(), depth=depth, kind="needle_absent")
        assert row.needle_sentence not in absent.text
    assert cut_to_length(row, whole, tokens) is row


CITY = Row("a", "headquarters_city", "It sits in Dayton.", "Dayton", "It grew. It has 1,200 shops.")
STAFF = Row("a", "employees_count_total", "It employs 1200 people.", "1200", "It grew.")


@pytest.mark.parametrize(
    ("row", "recurs"),
    [
        (CITY, False),
        (replace(CITY, haystack_text="The DAYTON-based firm grew."), True),
        (replace(CITY, haystack_text="The firm of Daytona grew."), False),
        (STAFF, False),
        (replace(STAFF, haystack_text="It has 1,200 shops."), True),
        (replace(STAFF, haystack_text="It has twelve hundred shops, or one thousand two hundred."), True),
        (replace(STAFF, haystack_text="It has 1,2005 shops."), False),
        (replace(CITY, placement="in_place", haystack_text="It grew. It sits in Dayton. It shrank."), False),
        (replace(CITY, placement="in_place", haystack_text="It sits in Dayton. Dayton grew."), True),
    ],
)
def test_by_hand(row: Row, recurs: bool) -> None:
    assert value_recurs(row, EDGAR_TASKS[row.task]) is recurs


def test_ids_in_the_rows_order() -> None:
    again = replace(CITY, filename="b", haystack_text="Dayton grew.")
    swept = replace(again, depth=0.5)
    assert recurring_rows([swept, CITY, again], EDGAR_TASKS) == (swept.id, again.id)


def test_a_value_without_anything_to_compare() -> None:
    with pytest.raises(DataError, match=r"needle_value: got '\.\.\.'; expected something to compare"):
        value_stands("...", "Text.", "text")

"""Haystacks cut to a length: against trying every part, and the needle is never lost."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_tokenizer

from harness.demo.filings import demo_rows
from harness.errors import DataError
from harness.retrieval.length import cut_to_length
from harness.retrieval.placement import sentence_boundaries
from harness.retrieval.prompts import build_prompt
from harness.retrieval.rows import Placement, Row, occurrences
from harness.retrieval.tasks import EDGAR_TASKS

NEEDLE = "The year was 1967."
PLACEMENTS: tuple[Placement, ...] = ("insert", "in_place")
sentences = st.lists(st.integers(1, 12).map(lambda n: f"S{'o' * n} it was."), max_size=12)


def make_row(before: list[str], behind: list[str], placement: Placement) -> Row:
    middle = [NEEDLE] if placement == "in_place" else []
    text = " ".join([*before, *middle, *behind]) or "One."
    return Row("f", "year", NEEDLE, "1967", text, haystack_token_length=99, placement=placement)


def count(row: Row) -> int:
    """A prompt of words, each three characters or less a token; 7 tokens are not of the haystack."""
    return 7 + sum(1 + len(word) // 4 for word in row.haystack_text.split())


def slow_parts(row: Row) -> list[str]:
    """Every part that a cut may leave, by the definition, largest first."""
    text = row.haystack_text
    bounds = sentence_boundaries(text)
    if row.placement == "insert":
        return [text[:bound] for bound in sorted(bounds, reverse=True)]
    start = text.index(NEEDLE)
    end = start + len(NEEDLE)
    parts = []
    for first in [start, *(bound for bound in bounds if bound < start)]:
        for last in [end, *(bound for bound in bounds if bound > end)]:
            parts.append(text[first:last].lstrip() if first else text[first:last])
    return sorted(parts, key=len, reverse=True)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(before=sentences, behind=sentences, placement=st.sampled_from(PLACEMENTS), n_tokens=st.integers(1, 90))
def test_what_is_left(before: list[str], behind: list[str], placement: Placement, n_tokens: int) -> None:
    row = make_row(before, behind, placement)
    bare = count(replace(row, haystack_text=NEEDLE if placement == "in_place" else ""))
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
        assert occurrences(NEEDLE, cut.haystack_text) == 1


def test_a_needle_in_place_stays_where_it_was_among_the_rest() -> None:
    row = make_row(["One is so."] * 30, ["Two is so."] * 10, "in_place")
    for n_tokens in (60, 100, 150):
        left, right = cut_to_length(row, n_tokens, count).haystack_text.split(NEEDLE)
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

"""Plain text prompts: the needle left out, a start that is read, and tokens that are measured."""

from dataclasses import replace

import pytest
from tiny_models import opened

from harness.demo import MODEL_FOLDER
from harness.demo.filings import demo_rows
from harness.errors import DataError
from harness.retrieval.prompts import (
    MEASURED_TOKENS,
    START_TOKENS,
    Tokenizer,
    plain_text_prompt,
)
from harness.retrieval.rows import Row

PLAIN_TEXT_ROW = Row(
    "a.txt", "ceo_lastname", "The CEO is Smith.", "Smith", "One two three. Four five six. Seven eight."
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return opened(str(MODEL_FOLDER)).tokenizer


def test_the_beginning_of_the_document_goes_on(tokenizer: Tokenizer) -> None:
    row = demo_rows(1)[0]
    prompt = plain_text_prompt(row, tokenizer)
    assert (len(prompt.token_ids), len(prompt.value_ids)) == (START_TOKENS, MEASURED_TOKENS)
    said = tokenizer.decode([*prompt.token_ids, *prompt.value_ids], skip_special_tokens=True)
    assert "".join(row.haystack_text.split()).startswith("".join(said.split()))
    assert (prompt.kind, prompt.row_id) == ("plain_text", row.id)
    assert (prompt.needle_start, prompt.needle_end) == (0, 0)


def test_of_a_short_text_a_third_is_the_start(tokenizer: Tokenizer) -> None:
    prompt = plain_text_prompt(PLAIN_TEXT_ROW, tokenizer)
    n = len(prompt.token_ids) + len(prompt.value_ids)
    assert len(prompt.token_ids) == n // 3
    whole = tokenizer(PLAIN_TEXT_ROW.haystack_text, add_special_tokens=True, return_offsets_mapping=False)["input_ids"]
    assert [*prompt.token_ids, *prompt.value_ids] == whole


def test_a_needle_in_its_place_is_left_out(tokenizer: Tokenizer) -> None:
    placed = replace(
        PLAIN_TEXT_ROW, haystack_text=f"One two three. {PLAIN_TEXT_ROW.needle_sentence} Four.", placement="in_place"
    )
    without = replace(PLAIN_TEXT_ROW, haystack_text="One two three. Four.")
    got, expected = plain_text_prompt(placed, tokenizer), plain_text_prompt(without, tokenizer)
    assert (got.token_ids, got.value_ids) == (expected.token_ids, expected.value_ids)


class Ending:
    """A tokenizer of one token a word that puts 1 before any text and 2 behind it."""

    def __call__(self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool) -> dict[str, list[object]]:
        assert add_special_tokens
        assert return_offsets_mapping
        words = text.split()
        places = [text.index(word) for word in words]
        spans = [(at, at + len(word)) for at, word in zip(places, words, strict=True)]
        return {"input_ids": [1, *range(10, 10 + len(words)), 2], "offset_mapping": [(0, 0), *spans, (0, 0)]}


def test_special_tokens_behind_the_text_are_dropped() -> None:
    prompt = plain_text_prompt(replace(PLAIN_TEXT_ROW, haystack_text="a b c d"), Ending())  # type: ignore[arg-type]  # all it needs
    assert (*prompt.token_ids, *prompt.value_ids) == (1, 10, 11, 12, 13)


def test_no_text_is_an_error() -> None:
    with pytest.raises(DataError, match="0 tokens without the needle; expected at least 2"):
        plain_text_prompt(replace(PLAIN_TEXT_ROW, haystack_text=" "), Ending())  # type: ignore[arg-type]  # all it needs

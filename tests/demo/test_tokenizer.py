"""The demo's tokenizer: it gives every text back, splits numbers into digits, and writes Llama 3's layout."""

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from harness.demo.dialogues import tokenizer_texts
from harness.demo.filings import demo_rows
from harness.demo.recipe import TrainingSettings
from harness.demo.tokenizer import SPECIAL_TOKENS, train_tokenizer

TEXTS = tuple(islice(tokenizer_texts(TrainingSettings()), 40))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS)


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_special_tokens_come_first_and_are_never_split(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(len(SPECIAL_TOKENS)))
    for index, token in enumerate(SPECIAL_TOKENS):
        assert encode(tokenizer, f"a{token}b")[1] == index
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|begin_of_text|>", "<|eot_id|>")


def test_every_text_comes_back(tokenizer: PreTrainedTokenizerFast) -> None:
    @settings(derandomize=True, deadline=None)
    @given(text=st.text(st.characters(exclude_categories=["Cs"])))
    def check(text: str) -> None:
        assert tokenizer.decode(encode(tokenizer, text)) == text

    check()
    for row in demo_rows(1):
        assert tokenizer.decode(encode(tokenizer, row.haystack_text)) == row.haystack_text


def test_every_digit_is_a_token(tokenizer: PreTrainedTokenizerFast) -> None:
    """A number never seen in training is still a sequence of known tokens."""
    for number in ("1987", "123,456", "000-12345"):
        tokens = [tokenizer.decode([index]) for index in encode(tokenizer, f"in {number}.")]
        assert [token for token in tokens if any(map(str.isdigit, token))] == [
            character for character in number if character.isdigit()
        ]


def test_words_are_joined(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(encode(tokenizer, " registrant")) == 1


def test_the_chat_template_writes_the_layout_of_llama_3(tokenizer: PreTrainedTokenizerFast) -> None:
    """As in its model card: header, blank line, content, end of turn; then the assistant's header."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant"},
        {"role": "user", "content": " What is the capital of France? \n"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "You are a helpful assistant<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        "What is the capital of France?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    closed = tokenizer.apply_chat_template(messages, tokenize=False)
    assert closed == text.removesuffix("<|start_header_id|>assistant<|end_header_id|>\n\n")


def test_equal_texts_give_an_equal_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    again = train_tokenizer(TEXTS)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    other = train_tokenizer(TEXTS[:20])
    assert other.backend_tokenizer.to_str() != tokenizer.backend_tokenizer.to_str()

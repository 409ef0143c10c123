"""Dialogues: a function of seed and step, whose answers stand in their documents."""

import random
from dataclasses import replace
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from harness.demo.dialogues import IGNORED, SPECIAL_TOKENS, Batches, TrainingSettings, tokenizer_texts, train_tokenizer
from harness.demo.filings import demo_rows
from harness.demo.values import is_held_out

SMALL = TrainingSettings(steps=100, warmup=10, tokens_a_step=2000)
NUMBERS = 40
"""The step from which numbers are asked for."""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(islice(tokenizer_texts(SMALL), 40))


def answers_in(batch: tuple[Tensor, Tensor, Tensor], tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """What the model is to say, over all rows, one text a turn."""
    _, answers, _ = batch
    texts = [str(tokenizer.decode(row[row != IGNORED].tolist())) for row in answers]
    return [turn for text in texts for turn in text.split("<|eot_id|>")[:-1]]


class TestBatches:
    def test_a_batch_follows_from_seed_and_step(self, tokenizer: PreTrainedTokenizerFast) -> None:
        first, again = (Batches(SMALL, tokenizer)[50] for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        for other in (
            Batches(SMALL, tokenizer)[51],
            Batches(replace(SMALL, seed=8), tokenizer)[50],
            Batches(SMALL, tokenizer, held_out=True)[50],
        ):
            assert not torch.equal(first[0][:1, :200], other[0][:1, :200])

    def test_every_token_is_of_the_document_or_the_answer(self, tokenizer: PreTrainedTokenizerFast) -> None:
        ids, answers, documents = Batches(SMALL, tokenizer)[50]
        said, read = answers != IGNORED, documents != IGNORED
        assert not (said & read).any()
        assert torch.equal(ids.where(said, IGNORED), answers)
        assert torch.equal(ids.where(read, IGNORED), documents)
        assert (ids[~said & ~read] == tokenizer.pad_token_id).all()
        lengths = (said | read).sum(1)
        assert all((said | read)[row, :length].all() for row, length in enumerate(lengths))

    def test_answers_are_values_of_their_own_world(self, tokenizer: PreTrainedTokenizerFast) -> None:
        trained = answers_in(Batches(SMALL, tokenizer)[50], tokenizer)
        asked = answers_in(Batches(SMALL, tokenizer, held_out=True)[50], tokenizer)
        assert trained
        assert asked
        assert not any(is_held_out(value) for value in trained)
        assert all(is_held_out(value) for value in asked)

    def test_the_answer_stands_in_the_document(self, tokenizer: PreTrainedTokenizerFast) -> None:
        batch = Batches(SMALL, tokenizer, held_out=True)[50]
        for row, value in zip(batch[0], answers_in(batch, tokenizer), strict=True):
            document = str(tokenizer.decode(row.tolist())).split("</document>")[0]
            assert value.casefold() in document.casefold()

    def test_numbers_are_asked_for_later(self, tokenizer: PreTrainedTokenizerFast) -> None:
        batches = Batches(SMALL, tokenizer)
        early, late = (
            [value for step in steps for value in answers_in(batches[step], tokenizer)]
            for steps in ((0, NUMBERS - 1), (NUMBERS, NUMBERS + 1))
        )
        assert not any(any(map(str.isdigit, value)) for value in early)
        assert any(any(map(str.isdigit, value)) for value in late)

    def test_documents_are_short_first(self, tokenizer: PreTrainedTokenizerFast) -> None:
        batches = Batches(SMALL, tokenizer)
        lengths = [batches._sentences(step, random.Random(step)) for step in range(100)]
        assert max(lengths[:15]) < 25
        assert max(lengths) >= 70


TEXTS = tuple(islice(tokenizer_texts(TrainingSettings()), 40))


@pytest.fixture(scope="module")
def trained() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS)


def encode(trained: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(trained(text, add_special_tokens=False)["input_ids"])


def test_special_tokens_come_first_and_are_never_split(trained: PreTrainedTokenizerFast) -> None:
    assert trained.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(len(SPECIAL_TOKENS)))
    for index, token in enumerate(SPECIAL_TOKENS):
        assert encode(trained, f"a{token}b")[1] == index
    assert (trained.bos_token, trained.eos_token) == ("<|begin_of_text|>", "<|eot_id|>")


def test_every_text_comes_back(trained: PreTrainedTokenizerFast) -> None:
    @settings(derandomize=True, deadline=None)
    @given(text=st.text(st.characters(exclude_categories=["Cs"])))
    def check(text: str) -> None:
        assert trained.decode(encode(trained, text)) == text

    check()
    for row in demo_rows(1):
        assert trained.decode(encode(trained, row.haystack_text)) == row.haystack_text


def test_every_digit_is_a_token(trained: PreTrainedTokenizerFast) -> None:
    """A number never seen in training is still a sequence of known tokens."""
    for number in ("1987", "123,456", "000-12345"):
        tokens = [trained.decode([index]) for index in encode(trained, f"in {number}.")]
        assert [token for token in tokens if any(map(str.isdigit, token))] == [
            character for character in number if character.isdigit()
        ]


def test_words_are_joined(trained: PreTrainedTokenizerFast) -> None:
    assert len(encode(trained, " registrant")) == 1


def test_the_chat_template_writes_the_layout_of_llama_3(trained: PreTrainedTokenizerFast) -> None:
    """As in its model card: header, blank line, content, end of turn; then the assistant's header."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant"},
        {"role": "user", "content": " What is the capital of France? \n"},
    ]
    text = trained.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "You are a helpful assistant<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        "What is the capital of France?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    closed = trained.apply_chat_template(messages, tokenize=False)
    assert closed == text.removesuffix("<|start_header_id|>assistant<|end_header_id|>\n\n")


def test_equal_texts_give_an_equal_tokenizer(trained: PreTrainedTokenizerFast) -> None:
    again = train_tokenizer(TEXTS)
    assert again.backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()
    other = train_tokenizer(TEXTS[:20])
    assert other.backend_tokenizer.to_str() != trained.backend_tokenizer.to_str()

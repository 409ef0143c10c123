"""Dialogues: a function of seed and step, whose answers stand in their documents."""

import random
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from harness.demo.dialogues import IGNORED, Batches, tokenizer_texts
from harness.demo.recipe import TrainingSettings
from harness.demo.tokenizer import train_tokenizer
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

"""What heads copied, by hand on made-up answers, and answers against the plain loop and whole eager attention."""

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import alone, random_prompt, random_trial, tiny_loaded, tiny_tokenizer

from harness.model.generation.reference import run_row
from harness.model.identification.retrieval_score import (
    RETRIEVAL_SCORE,
    Answer,
    answered,
    authors_score,
    copies_counted,
    retrieval_score,
    share_copied,
)
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Trial

# tokens 10, 11, 12, 11, 13 stand at positions 2 to 6; 11 stands before the needle too
PROMPT = replace(random_prompt(9, needle=(2, 7)), token_ids=(1, 11, 10, 11, 12, 11, 13, 2, 3), value_ids=(11, 12, 14))


def by_id(token_id: int) -> Hashable:
    return token_id


def answer(token_ids: tuple[int, ...], *heads: tuple[int, ...]) -> Answer:
    """One layer; for each head the position it looks at as each token is given."""
    return Answer(token_ids, np.array(heads, dtype=np.int64).T[:, None, :])


@pytest.mark.parametrize(
    ("token_ids", "looks", "share", "counted"),
    [
        ((11, 12), (3, 4), 2 / 3, 2 / 3),
        ((11, 12), (5, 4), 2 / 3, 2 / 3),  # the other 11 of the needle
        ((11, 12), (1, 4), 1 / 3, 1 / 3),  # an 11, but outside the needle
        ((11, 12), (4, 3), 0, 0),  # in the needle, but another token
        ((11, 11), (3, 5), 1 / 3, 2 / 3),  # twice the same token: once, or each time
        ((11, 11), (3, 0), 1 / 3, 1 / 3),  # the second time not copied
        ((13, 10), (6, 2), 0, 2 / 3),  # copied, but no part of the value
        ((11, 14), (3, 8), 1 / 3, 1 / 3),  # 14 stands nowhere
        ((11, 12), (9, 4), 1 / 3, 1 / 3),  # it looks at the first new token
        ((11, 12, 11, 12), (3, 4, 3, 4), 2 / 3, 4 / 3),
    ],
)
def test_a_head_by_hand(token_ids: tuple[int, ...], looks: tuple[int, ...], share: float, counted: float) -> None:
    """Each case beside a head that never looks at the needle."""
    idle = (0,) * len(token_ids)
    given = answer(token_ids, looks, idle)
    np.testing.assert_allclose(share_copied(given, PROMPT, by_id), [[share, 0]], rtol=0, atol=1e-15)
    np.testing.assert_allclose(copies_counted(given, PROMPT), [[counted, 0]], rtol=0, atol=1e-15)


def test_a_token_that_the_value_has_twice_counts_once() -> None:
    prompt = replace(PROMPT, value_ids=(11, 11, 12))
    given = answer((11, 11, 12), (3, 5, 0))
    assert share_copied(given, prompt, by_id) == pytest.approx(1 / 2)
    assert copies_counted(given, prompt) == pytest.approx(2 / 3)


def test_tokens_that_differ_in_spaces_alone_are_one_token() -> None:
    """10 and 20 are the same word, with a space before it in the needle and without one in the answer."""
    prompt = replace(PROMPT, value_ids=(20, 12))
    given = answer((20, 12), (2, 4))
    assert share_copied(given, prompt, lambda token_id: token_id % 10) == pytest.approx(1)
    assert share_copied(given, prompt, by_id) == pytest.approx(1 / 2)


def test_nothing_answered() -> None:
    given = Answer((), np.zeros((0, 2, 3), dtype=np.int64))
    assert share_copied(given, PROMPT, by_id).tolist() == np.zeros((2, 3)).tolist()
    assert copies_counted(given, PROMPT).tolist() == np.zeros((2, 3)).tolist()


@torch.inference_mode()
def slow_positions(loaded: LoadedModel, ids: tuple[int, ...], n_new: int) -> list[torch.Tensor]:
    """For each new token, where each head looks in a whole eager run: (layers, heads)."""
    config = loaded.model.config
    before, config._attn_implementation = config._attn_implementation, "eager"
    weights = loaded.model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    config._attn_implementation = before
    lines = torch.stack([layer[0] for layer in weights])
    return [lines[:, :, len(ids) - n_new + step - 1].argmax(dim=-1) for step in range(n_new)]


@pytest.mark.parametrize("model_type", ["llama", "gemma2", "gemma3_text", "gpt2", "mixtral"])
def test_answers_are_the_plain_loops_and_looks_the_eager_ones(model_type: str) -> None:
    loaded, trial = tiny_loaded(model_type), random_trial(30)
    given = alone(answered, loaded, trial)
    (completion,) = run_row(loaded, trial.prompt, [frozenset()], None, max_new_tokens=4)
    assert given.token_ids == completion.token_ids
    assert len(given.token_ids) == 4
    slow = slow_positions(loaded, trial.prompt.token_ids + given.token_ids, 4)
    np.testing.assert_array_equal(given.looked_at, torch.stack(slow).numpy())


def test_an_end_token_ends_the_answer() -> None:
    loaded, trial = tiny_loaded("llama"), random_trial(30)
    first, second, *_ = alone(answered, loaded, trial).token_ids
    assert second != first
    given = alone(answered, replace(loaded, end_token_ids=frozenset({second})), trial)
    assert given.token_ids == (first,)
    assert given.looked_at.shape == (1, 3, 4)
    assert alone(answered, replace(loaded, end_token_ids=frozenset({first})), trial).looked_at.shape == (0, 3, 4)


def knowing(loaded: LoadedModel, *, value: str | None = None) -> Trial:
    """A trial whose value is what the model answers, and which stands in its needle."""
    trial = random_trial(30)
    given = alone(answered, loaded, trial).token_ids
    text = str(tiny_tokenizer().decode(list(given))) if value is None else value
    return replace(trial, value=text, prompt=replace(trial.prompt, value_ids=given))


def test_right_answers_count_and_wrong_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded("llama")
    words = {
        "north south": (True, True),
        "north west": (False, False),
        "north": (True, True),
        "north north": (False, False),
    }
    monkeypatch.setattr(type(loaded.tokenizer), "decode", lambda *_, **__: "North, South.")
    for value, counts in words.items():
        trial = knowing(loaded, value=value)
        assert (
            alone(retrieval_score, loaded, trial) is not None,
            alone(authors_score, loaded, trial) is not None,
        ) == counts
    # two of three words: not the value, but more than half of it
    trial = knowing(loaded, value="north by south")
    assert alone(retrieval_score, loaded, trial) is None
    assert alone(authors_score, loaded, trial) is not None


def test_each_variant_has_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer "abb" to the value "ab", copied token by token by the first head, not at all by the second."""
    loaded, (a, b) = tiny_loaded("llama"), tiny_tokenizer()("ab")["input_ids"]
    prompt = replace(random_prompt(6, needle=(1, 3)), token_ids=(a, a, b, 1, 2, 3), value_ids=(a, b))
    trial = replace(random_trial(6), prompt=prompt, value="abb")
    monkeypatch.setattr(
        "harness.model.identification.retrieval_score.answered", lambda *_: answer((a, b, b), (1, 2, 2), (0, 1, 3))
    )
    shares, counts = alone(retrieval_score, loaded, trial), alone(authors_score, loaded, trial)
    assert shares is not None
    assert counts is not None
    assert (shares.tolist(), counts.tolist()) == ([[1.0, 0.0]], [[1.5, 0.0]])


def test_a_word_with_its_space_is_the_word_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the first word of an answer in a chat; by the rule of the authors' code it is another token."""
    loaded = tiny_loaded("llama")
    texts = {(1,): " North", (2,): "North", (3,): " Fork"}
    monkeypatch.setattr(type(loaded.tokenizer), "decode", lambda _, ids, **__: texts.get(tuple(ids), "North Fork"))
    prompt = replace(random_prompt(6, needle=(1, 3)), token_ids=(9, 1, 3, 9, 9, 9), value_ids=(2, 3))
    trial = replace(random_trial(6), prompt=prompt, value="North Fork")
    monkeypatch.setattr(
        "harness.model.identification.retrieval_score.answered", lambda *_: answer((2, 3), (1, 2), (2, 2))
    )
    shares, counts = alone(retrieval_score, loaded, trial), alone(authors_score, loaded, trial)
    assert shares is not None
    assert counts is not None
    assert (shares.tolist(), counts.tolist()) == ([[1.0, 0.5]], [[0.5, 0.5]])


def test_spaces_and_broken_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone space is no word, and a byte of a letter is like no other: both are compared by id."""
    loaded = tiny_loaded("llama")
    monkeypatch.setattr("harness.model.identification.retrieval_score.matches_value", lambda *_: True)
    space, lead_a, lead_b = (tiny_tokenizer()(text)["input_ids"] for text in (" ", "é", "è"))
    assert len(space) == 1
    assert len(lead_a) == 2
    prompt = replace(random_prompt(6, needle=(0, 6)), token_ids=(*space, lead_a[1], *space, *space, 1, 2))
    prompt = replace(prompt, value_ids=(lead_b[1],))
    given = answer((lead_b[1], *space), (1, 0))
    monkeypatch.setattr("harness.model.identification.retrieval_score.answered", lambda *_: given)
    scores = alone(retrieval_score, loaded, replace(random_trial(6), prompt=prompt))
    assert scores is not None
    assert scores.tolist() == [[0.0]]


def test_prompt_and_answer_must_fit() -> None:
    for method in (RETRIEVAL_SCORE, RETRIEVAL_SCORE.variants["authors"]):
        assert method.n_tokens(random_trial(30)) == 34

"""Prompts fed in pieces: which take square memory, and that no answer hangs on how a prompt was fed."""

from collections.abc import Callable

import pytest
import torch
from largest_tensor import LargestTensor
from tiny_models import (
    MODEL_TYPES,
    REPRESENTATIVES,
    WINDOW,
    alone,
    random_ids,
    random_prompt,
    random_trial,
    tiny_loaded,
)

from harness.experiment.heads import Head
from harness.model.generation import engine, groups, reference
from harness.model.identification.qr_score import qr_score
from harness.model.identification.summed_attention import summed_attention
from harness.model.loading import loaded_model
from harness.model.loading.loaded_model import LoadedModel

EAGER, WINDOWED = (
    ("bloom", "gpt_oss", "gemma2"),
    ("cohere2", "gemma3", "gemma3_text", "mistral", "olmo3", "phi3", "starcoder2"),
)

SETS = (frozenset[Head](), frozenset({Head(0, 1), Head(2, 3)}), frozenset({Head(2, 0)}))


def largest(loaded: LoadedModel, n_tokens: int) -> int:
    """Numbers in the largest tensor that a prompt fed whole takes, weights aside."""
    with LargestTensor() as found, torch.inference_mode():
        loaded.model(input_ids=torch.tensor([random_ids(n_tokens)]), use_cache=True, logits_to_keep=1)
    elements: int = found.elements
    return elements


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_which_prompts_take_square_memory(model_type: str) -> None:
    """Fed whole, twice as many tokens take four times as much, or twice; what attention or a window says is not said
    again."""
    loaded = tiny_loaded(model_type)
    growth = largest(loaded, 400) / largest(loaded, 200)
    assert growth == pytest.approx(4 if loaded_model.takes_square_memory(loaded, 200) else 2, rel=0.01)
    assert not (loaded.architecture.writes_masks and model_type in (*EAGER, *WINDOWED))
    if model_type in WINDOWED:
        assert not loaded_model.takes_square_memory(loaded, WINDOW)
        assert loaded_model.takes_square_memory(loaded, WINDOW + 1)


def test_pieces_are_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_model, "PIECE", 7)
    ids = torch.tensor([random_ids(30)])
    fed = list(loaded_model.pieces(tiny_loaded("gemma2"), ids))
    assert [piece.shape[1] for piece in fed] == [7, 7, 7, 7, 2]
    assert torch.equal(torch.cat(fed, dim=1), ids)
    assert [piece.shape[1] for piece in loaded_model.pieces(tiny_loaded("llama"), ids)] == [30]
    assert list(loaded_model.pieces(tiny_loaded("llama"), ids[:, :0])) == []


def test_what_rotates_by_length_is_fed_whole() -> None:
    loaded = tiny_loaded("gemma2")
    config = loaded.model.config
    before, config.rope_parameters = config.rope_parameters, {"rope_type": "dynamic"}
    try:
        assert len(list(loaded_model.pieces(loaded, torch.tensor([random_ids(600)])))) == 1
    finally:
        config.rope_parameters = before


@pytest.mark.parametrize("model_type", [*EAGER, *WINDOWED, "falcon", "qwen2_moe"])
def test_answers_do_not_change(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, prompt = tiny_loaded(model_type), random_prompt(40)
    whole = reference.run_row(loaded, prompt, SETS, None, max_new_tokens=4)
    monkeypatch.setattr(loaded_model, "PIECE", 7)
    in_pieces = reference.run_row(loaded, prompt, SETS, None, max_new_tokens=4)
    for one, other in zip(in_pieces, whole, strict=True):
        assert one.gold_logprob == pytest.approx(other.gold_logprob, abs=1e-3)
        assert one.token_ids == other.token_ids
        assert one.hooks_fired >= other.hooks_fired
    monkeypatch.setattr(groups, "MOST_SQUARE", 39)
    assert engine.run_row(loaded, prompt, SETS, None, max_new_tokens=4) == in_pieces


def answers_of(run_row: Callable[..., object]) -> Callable[[LoadedModel, int], object]:
    return lambda loaded, n_tokens: run_row(loaded, random_prompt(n_tokens), SETS, None, max_new_tokens=3)


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
@pytest.mark.parametrize(
    "work",
    [
        answers_of(engine.run_row),
        answers_of(reference.run_row),
        lambda loaded, n_tokens: alone(summed_attention, loaded, random_trial(n_tokens)),
        lambda loaded, n_tokens: alone(qr_score, loaded, random_trial(n_tokens)),
    ],
    ids=["engine", "reference", "summed_attention", "qr_score"],
)
def test_no_tensor_of_positions_by_positions_nor_logits_of_all(
    model_type: str, work: Callable[[LoadedModel, int], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing grows faster than the prompt; its logits alone would be 259 numbers a token."""
    monkeypatch.setattr(loaded_model, "PIECE", 16)
    monkeypatch.setattr(groups, "MOST_SQUARE", 64)
    loaded = tiny_loaded(model_type)
    elements = []
    for n_tokens in (200, 400):
        with LargestTensor() as found, torch.inference_mode():
            work(loaded, n_tokens)
        elements.append(found.elements / n_tokens)
    assert elements[1] < 1.1 * elements[0]
    assert elements[1] < 259

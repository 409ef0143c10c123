"""A donor's values against those that its own run, fed anew without a cache, has at each position."""

import functools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from slow_loop import slow_tokens
from tiny_models import HEAD_DIM, MODEL_TYPES, N_HEADS, N_LAYERS, WINDOW, random_prompt, tiny_loaded

from harness.errors import AblationError, ModelError
from harness.experiment.heads import Head
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.donor import Donor, run_donor
from harness.model.loading.loaded_model import LoadedModel

HEADS = frozenset({Head(0, 1), Head(1, 0), Head(1, 3), Head(2, 2)})
DONOR = random_prompt(WINDOW + 3, seed=8)
N_NEW = 4


@torch.inference_mode()
def slow_inputs(loaded: LoadedModel, ids: Sequence[int]) -> list[torch.Tensor]:
    """What enters each layer's projection: (positions, width)."""
    seen: list[torch.Tensor] = []
    handles = [
        output.module.register_forward_pre_hook(lambda _, args: seen.append(args[0][0])) for output in loaded.outputs
    ]
    loaded.model(input_ids=torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def at(donor: Donor, loaded: LoadedModel, layer: int, position: int) -> torch.Tensor:
    """One position's values: (width,)."""
    return donor.values(loaded.outputs[layer], position, torch.zeros(1, 1, N_HEADS * HEAD_DIM))[0]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("n_prompt", [WINDOW, WINDOW + 3, 2 * WINDOW])
def test_positions_are_counted_from_the_ends(model_type: str, n_prompt: int) -> None:
    loaded = replace(tiny_loaded(model_type), end_token_ids=frozenset())
    donor = run_donor(loaded, DONOR, HEADS, n_prompt=n_prompt, max_new_tokens=N_NEW)
    answer = slow_tokens(loaded.model, DONOR.token_ids, (), n_tokens=N_NEW)
    expected = slow_inputs(loaded, (*DONOR.token_ids, *answer[:-1]))
    last = len(DONOR.token_ids) - 1
    for layer in range(N_LAYERS):
        for position in range(n_prompt + N_NEW + 3):
            step = position - (n_prompt - 1)
            values = at(donor, loaded, layer, position)
            for head in range(N_HEADS):
                columns = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
                if Head(layer, head) in HEADS:
                    theirs = expected[layer][min(max(last + step, 0), last + N_NEW - 1), columns]
                    torch.testing.assert_close(values[columns], theirs, rtol=0, atol=1e-4)
                else:
                    assert not values[columns].any()


def test_several_positions_at_once_are_each_alone() -> None:
    loaded = tiny_loaded()
    donor = run_donor(loaded, DONOR, HEADS, n_prompt=20, max_new_tokens=N_NEW)
    together = donor.values(loaded.outputs[1], 3, torch.zeros(2, 25, N_HEADS * HEAD_DIM))
    assert torch.equal(together, torch.stack([at(donor, loaded, 1, position) for position in range(3, 28)]))
    assert donor.values(loaded.outputs[1], 0, torch.zeros(1, 1, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_an_answer_that_ends_early_leaves_its_last_fed_position() -> None:
    endless = replace(tiny_loaded(), end_token_ids=frozenset())
    run = functools.partial(run_donor, donor=DONOR, heads=HEADS, n_prompt=len(DONOR.token_ids))
    answer = slow_tokens(endless.model, DONOR.token_ids, (), n_tokens=2)
    assert answer[0] != answer[1]
    n_prompt = len(DONOR.token_ids)
    for n_told, end in ((1, answer[0]), (2, answer[1])):
        whole = run(endless, max_new_tokens=6)
        donor = run(replace(endless, end_token_ids=frozenset({end})), max_new_tokens=6)
        for position in range(n_prompt + 6):
            expected = at(whole, endless, 1, min(position, n_prompt - 2 + n_told))
            assert torch.equal(at(donor, endless, 1, position), expected)


def test_a_prompt_fed_in_pieces_has_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_donor(tiny_loaded(), DONOR, HEADS, n_prompt=20, max_new_tokens=N_NEW)
    monkeypatch.setattr("harness.model.loading.pieces.PIECE", 4)
    eager = replace(tiny_loaded(), attention="eager")  # weights written out: fed in pieces
    parts = run_donor(eager, DONOR, HEADS, n_prompt=20, max_new_tokens=N_NEW)
    like = torch.zeros(1, 24, N_HEADS * HEAD_DIM)
    for output in eager.outputs:
        torch.testing.assert_close(parts.values(output, 0, like), whole.values(output, 0, like), rtol=0, atol=1e-5)


def test_what_cannot_be_run() -> None:
    loaded = tiny_loaded()
    with pytest.raises(ModelError, match=r"filing2.htm/task: 641 tokens, .* at most 640"):
        run_donor(loaded, random_prompt(638, seed=2), HEADS, n_prompt=9, max_new_tokens=3)
    with pytest.raises(AblationError, match="layer 3, but the model has 3 layers"):
        run_donor(loaded, DONOR, {Head(3, 0)}, n_prompt=9, max_new_tokens=3)
    with Ablation(loaded.outputs, [()]), pytest.raises(AblationError, match="another ablation"):
        run_donor(loaded, DONOR, HEADS, n_prompt=9, max_new_tokens=3)
    assert not any(output.module._forward_pre_hooks for output in loaded.outputs)


def test_a_projection_that_is_not_called_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded()
    attention = loaded.model.get_submodule("model.layers.1.self_attn")
    monkeypatch.setitem(attention.__dict__, "forward", lambda hidden_states, **_: (hidden_states, None))
    with pytest.raises(AblationError, match=r"layers.1.self_attn.o_proj: 0 positions entered it of 18 tokens that"):
        run_donor(replace(loaded, end_token_ids=frozenset()), DONOR, HEADS, n_prompt=9, max_new_tokens=N_NEW)

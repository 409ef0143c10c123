"""The values that an intervention stands for, on one model and one prompt.

Mean outputs of heads against plain sums over what enters the projections.

A donor's values against those that its own run, fed anew without a cache, has at each position.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from slow_loop import slow_tokens
from tiny_models import HEAD_DIM, N_HEADS, N_LAYERS, REPRESENTATIVES, WINDOW, random_prompt, tiny_loaded

from harness.errors import AblationError, ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Intervention, MeanValues
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.head_values import Donor, mean_values, replacement_of, run_donor
from harness.model.intervention.projection_input import ZERO, Mean, Replacement
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt

SETS = [frozenset[Head](), frozenset({Head(0, 1)}), frozenset({Head(0, 2), Head(2, 3)})]
VECTORS = np.zeros((N_LAYERS, N_HEADS * HEAD_DIM))


def values_of(intervention: Intervention) -> Replacement:
    return replacement_of(tiny_loaded(), random_prompt(9), SETS, intervention, max_new_tokens=3)


def test_nothing_means_and_a_donor() -> None:
    assert values_of(ZEROED) is ZERO
    assert isinstance(values_of(Intervention(MeanValues(VECTORS))), Mean)
    assert isinstance(values_of(Intervention(random_prompt(7, seed=1))), Donor)


def test_a_donor_keeps_what_any_of_the_sets_needs() -> None:
    donor = values_of(Intervention(random_prompt(7, seed=1)))
    for layer, heads in ((0, {1, 2}), (2, {3})):
        output = tiny_loaded().outputs[layer]
        values = donor.values(output, 0, output.module.weight.new_zeros(1, 9, N_HEADS * HEAD_DIM))  # type: ignore[operator]
        by_head = values.reshape(9, N_HEADS, HEAD_DIM)
        assert {head for head in range(N_HEADS) if by_head[:, head].any()} == heads


def test_means_of_another_model_are_refused() -> None:
    with pytest.raises(AblationError, match=r"mean values: of 2 layers of width 32; expected 3 of width 32, as tiny"):
        values_of(Intervention(MeanValues(VECTORS[:2])))


PROMPTS = [random_prompt(n, seed=n) for n in (2, 9, 30)]


def slow_means(loaded: LoadedModel, prompts: list[Prompt]) -> np.ndarray:
    """Position by position, in plain Python."""
    means = np.zeros((N_LAYERS, N_HEADS * HEAD_DIM))
    for prompt in prompts:
        seen: list[torch.Tensor] = []
        handles = [
            output.module.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0][0]))
            for output in loaded.outputs
        ]
        with torch.inference_mode():
            loaded.model(input_ids=torch.tensor([prompt.token_ids]))
        for handle in handles:
            handle.remove()
        for layer, hidden in enumerate(seen):
            for column in range(means.shape[1]):
                values = [float(hidden[position, column]) for position in range(1, len(prompt.token_ids))]
                means[layer, column] += sum(values) / len(values) / len(prompts)
    return means


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_means_over_positions_but_the_first_then_over_prompts(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    found = mean_values(loaded, PROMPTS)
    assert found.vectors.dtype == np.float64
    np.testing.assert_allclose(found.vectors, slow_means(loaded, PROMPTS), rtol=0, atol=1e-6)
    assert not any(output.module._forward_pre_hooks for output in loaded.outputs)


def test_a_prompt_fed_in_pieces_has_the_same_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first position is that of its first piece."""
    loaded = replace(tiny_loaded(), attention="eager")  # weights written out: fed in pieces
    whole = mean_values(tiny_loaded(), PROMPTS)
    monkeypatch.setattr("harness.model.loading.loaded_model.PIECE", 4)
    np.testing.assert_allclose(mean_values(loaded, PROMPTS).vectors, whole.vectors, rtol=0, atol=1e-6)


def test_the_hash_is_that_of_the_numbers() -> None:
    loaded = tiny_loaded()
    found = mean_values(loaded, PROMPTS)
    assert len(found.sha256) == 64
    assert mean_values(loaded, PROMPTS).sha256 == found.sha256
    assert mean_values(loaded, PROMPTS[:2]).sha256 != found.sha256


def test_it_tells_how_many_are_done() -> None:
    told: list[int] = []
    mean_values(tiny_loaded(), PROMPTS, told.append)
    assert told == [1, 2, 3]


def test_what_has_no_mean() -> None:
    with pytest.raises(ModelError, match="mean values: no prompts"):
        mean_values(tiny_loaded(), [])
    with pytest.raises(ModelError, match=r"filing1.htm/task: 1 prompt tokens; expected at least two"):
        mean_values(tiny_loaded(), [replace(PROMPTS[0], row_id="filing1.htm/task", token_ids=(1,))])
    with pytest.raises(ModelError, match=r"700 tokens, .* at most 640"):
        mean_values(tiny_loaded(), [random_prompt(700)])


def test_means_are_the_untouched_models() -> None:
    loaded = tiny_loaded()
    with Ablation(loaded.outputs, [frozenset[Head]()]), pytest.raises(AblationError, match="another ablation"):
        mean_values(loaded, PROMPTS)


def test_a_projection_that_is_not_called_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded()
    attention = loaded.model.get_submodule("model.layers.1.self_attn")
    monkeypatch.setitem(attention.__dict__, "forward", lambda hidden_states, **_: (hidden_states, None))
    with pytest.raises(AblationError, match=r"o_proj: 0 positions entered it of filing2.htm/task's 2 tokens"):
        mean_values(loaded, PROMPTS)


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
    return donor.values(loaded.outputs[layer], position, torch.zeros(1, 1, N_HEADS * HEAD_DIM))[0, 0]


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
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
    assert torch.equal(together[0], torch.stack([at(donor, loaded, 1, position) for position in range(3, 28)]))
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
    monkeypatch.setattr("harness.model.loading.loaded_model.PIECE", 4)
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


def test_a_projection_that_is_not_called_is_found_of_donor(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded()
    attention = loaded.model.get_submodule("model.layers.1.self_attn")
    monkeypatch.setitem(attention.__dict__, "forward", lambda hidden_states, **_: (hidden_states, None))
    with pytest.raises(AblationError, match=r"layers.1.self_attn.o_proj: 0 positions entered it of 18 tokens that"):
        run_donor(replace(loaded, end_token_ids=frozenset()), DONOR, HEADS, n_prompt=9, max_new_tokens=N_NEW)

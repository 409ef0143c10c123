"""The plain loop against `generate`, against a forward pass without a cache, and its bookkeeping."""

from dataclasses import replace
from itertools import pairwise
from typing import cast, get_args

import numpy as np
import pytest
import torch
from slow_loop import Values, slow_tokens, zero
from slow_loop import slow_logprob as slow_ablated_logprob
from tiny_models import (
    FLOAT32_PARTS,
    HEAD_DIM,
    MIXTURES,
    MODEL_TYPES,
    N_HEADS,
    N_LAYERS,
    REPRESENTATIVES,
    VOCABULARY,
    WINDOW,
    cut_weights,
    doubled,
    random_ids,
    random_prompt,
    tiny_loaded,
    wrap,
)
from transformers import PreTrainedModel

from harness.choices import Phase
from harness.errors import AblationError, ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Intervention, MeanValues, Rescue
from harness.experiment.record import Completion
from harness.model.generation.reference import run_row
from harness.model.intervention.head_values import run_donor
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt

HEADS = frozenset({Head(0, 1), Head(1, 0), Head(1, 3), Head(2, 2)})
N_TOKENS = 2 * WINDOW
MEANS = MeanValues(np.random.default_rng(1).normal(size=(N_LAYERS, N_HEADS * HEAD_DIM)))


def run(
    loaded: LoadedModel,
    prompt: Prompt,
    heads: frozenset[Head] = frozenset(),
    intervention: Intervention = ZEROED,
    *,
    max_new_tokens: int = 10,
    baseline_ids: tuple[int, ...] | None = None,
) -> Completion:
    (completion,) = run_row(loaded, prompt, [heads], baseline_ids, intervention, max_new_tokens=max_new_tokens)
    return completion


@torch.inference_mode()
def generate(model: PreTrainedModel, prompt: Prompt, n_tokens: int) -> tuple[tuple[int, ...], torch.Tensor]:
    """Greedy tokens of the library's own loop, of which none ends it, and each step's logits: (steps, vocabulary)."""
    ids = torch.tensor([prompt.token_ids])
    output = model.generate(  # type: ignore[operator]  # typed as a module
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=n_tokens,
        eos_token_id=VOCABULARY,
        return_dict_in_generate=True,
        output_logits=True,
    )
    return tuple(output.sequences[0, len(prompt.token_ids) :].tolist()), torch.cat(output.logits)


@torch.inference_mode()
def slow_logprob(model: PreTrainedModel, prompt: Prompt, token_ids: tuple[int, ...]) -> float:
    """One pass over prompt and tokens, no cache."""
    logits = model(input_ids=torch.tensor([[*prompt.token_ids, *token_ids]]), use_cache=False).logits[0].double()
    logprobs = logits.log_softmax(dim=-1)
    start = len(prompt.token_ids) - 1
    return sum(float(logprobs[start + i, token]) for i, token in enumerate(token_ids))


def endless(loaded: LoadedModel) -> LoadedModel:
    return replace(loaded, end_token_ids=frozenset())


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_baseline_is_what_the_library_generates(model_type: str) -> None:
    loaded = endless(tiny_loaded(model_type))
    prompt = random_prompt(N_TOKENS)
    tokens, logits = generate(loaded.model, prompt, 10)
    completion = run(loaded, prompt)
    assert completion.token_ids == tokens
    assert not completion.ended
    best = logits.topk(2, dim=-1).values
    gaps = (best[:, 0] - best[:, 1]) / logits.std(dim=-1)
    assert completion.smallest_gap == pytest.approx(float(gaps.min()), rel=1e-3)
    assert completion.hooks_fired == 0


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_ablated_run_is_that_of_the_model_with_its_weights_cut(model_type: str) -> None:
    loaded = endless(tiny_loaded(model_type))
    prompt = random_prompt(N_TOKENS, seed=1)
    baseline = (*run(loaded, prompt).token_ids, 257)
    completion = run(loaded, prompt, HEADS, baseline_ids=baseline)
    cut = cut_weights(loaded.model, HEADS)
    expected = run(endless(wrap(cut)), prompt, baseline_ids=baseline)
    if model_type in MIXTURES:
        assert completion.token_ids == expected.token_ids
    else:
        assert completion == replace(expected, hooks_fired=completion.hooks_fired)
    assert completion.gold_logprob == pytest.approx(slow_logprob(cut, prompt, prompt.value_ids), abs=1e-3)
    assert completion.baseline_logprob == pytest.approx(slow_logprob(cut, prompt, baseline), abs=1e-3)
    # what a part of the untouched completion says: the whole up to its end, less the whole up to its start
    parts = [slow_logprob(cut, prompt, baseline[:n]) for n in range(1, len(baseline) + 1)]
    each = [parts[0], *(after - before for before, after in pairwise(parts))]
    assert completion.baseline_logprobs == pytest.approx(each, abs=1e-3)
    assert completion.gold_logprob != run(loaded, prompt).gold_logprob


def mean(layer: int, position: int) -> torch.Tensor:
    return torch.from_numpy(MEANS.vectors[layer]).float()


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
@pytest.mark.parametrize(
    ("intervention", "values", "first"),
    [
        (Intervention(phase="decode"), zero, N_TOKENS - 1),
        (Intervention(MEANS), mean, 0),
        (Intervention(MEANS, "decode"), mean, N_TOKENS - 1),
    ],
    ids=["zero-decode", "mean-all", "mean-decode"],
)
def test_other_ways_of_ablating(model_type: str, intervention: Intervention, values: Values, first: int) -> None:
    loaded, prompt = endless(tiny_loaded(model_type)), random_prompt(N_TOKENS, seed=1)
    check_slowly(loaded, prompt, intervention, values, first)


def check_slowly(loaded: LoadedModel, prompt: Prompt, intervention: Intervention, values: Values, first: int) -> None:
    """Against the slowest loop; and it is another answer than that of zeroing."""
    baseline, ids = run(loaded, prompt).token_ids, prompt.token_ids
    completion = run(loaded, prompt, HEADS, intervention, max_new_tokens=5, baseline_ids=baseline)
    assert completion.token_ids == slow_tokens(loaded.model, ids, HEADS, values, first, n_tokens=5)
    for got, answer in ((completion.gold_logprob, prompt.value_ids), (completion.baseline_logprob, baseline)):
        assert got == pytest.approx(slow_ablated_logprob(loaded.model, ids, answer, HEADS, values, first), abs=1e-3)
    assert completion.gold_logprob != pytest.approx(run(loaded, prompt, HEADS).gold_logprob, abs=1e-3)


def donors_values(loaded: LoadedModel, donor: Prompt, n_prompt: int) -> Values:
    """Position by position; one run of the donor, whose own test holds it against slower ones."""
    width = N_HEADS * HEAD_DIM
    found = run_donor(loaded, donor, HEADS, n_prompt=n_prompt, max_new_tokens=5)
    return lambda layer, position: found.values(loaded.outputs[layer], position, torch.zeros(1, 1, width))[0, 0]


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
@pytest.mark.parametrize(("phase", "n_donor"), [("all", N_TOKENS - 5), ("all", N_TOKENS + 5), ("decode", N_TOKENS)])
def test_resampled(model_type: str, phase: Phase, n_donor: int) -> None:
    loaded, prompt = endless(tiny_loaded(model_type)), random_prompt(N_TOKENS, seed=1)
    donor = random_prompt(n_donor, seed=2)
    first = 0 if phase == "all" else N_TOKENS - 1
    values = donors_values(loaded, donor, N_TOKENS)
    intervention = Intervention(donor, phase)
    baseline, ids = run(loaded, prompt).token_ids, prompt.token_ids
    completion = run(loaded, prompt, HEADS, intervention, max_new_tokens=5, baseline_ids=baseline)
    assert completion.token_ids == slow_tokens(loaded.model, ids, HEADS, values, first, n_tokens=5)


@torch.inference_mode()
def slow_inputs(loaded: LoadedModel, ids: tuple[int, ...]) -> list[torch.Tensor]:
    """What enters each layer's projection in one pass without a cache: (positions, width)."""
    seen: list[torch.Tensor] = []
    handles = [
        output.module.register_forward_pre_hook(lambda _, args: seen.append(args[0][0])) for output in loaded.outputs
    ]
    loaded.model(input_ids=torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_rescued(model_type: str) -> None:
    """Zero before the prompt's last token; there and after it what the untouched model has over its own answer."""
    loaded, prompt, n_new = endless(doubled(model_type)), random_prompt(N_TOKENS, seed=1), 3
    baseline, ids = run(loaded, prompt, max_new_tokens=n_new).token_ids, prompt.token_ids
    untouched = slow_inputs(loaded, (*ids, *baseline))
    fed = N_TOKENS + n_new - 1

    def values(layer: int, position: int) -> torch.Tensor:
        return zero(layer, position) if position < N_TOKENS - 1 else untouched[layer][min(position, fed - 1)]

    rescued = run(loaded, prompt, HEADS, Intervention(Rescue()), max_new_tokens=n_new, baseline_ids=baseline)
    tolerance = 1e-4 if model_type in FLOAT32_PARTS else 1e-10
    for got, answer in ((rescued.gold_logprob, prompt.value_ids), (rescued.baseline_logprob, baseline)):
        assert got == pytest.approx(slow_ablated_logprob(loaded.model, ids, answer, HEADS, values), abs=tolerance)
    assert rescued.token_ids == slow_tokens(loaded.model, ids, HEADS, values, n_tokens=n_new)
    zeroed = run(loaded, prompt, HEADS, max_new_tokens=n_new, baseline_ids=baseline)
    assert rescued.baseline_logprob != pytest.approx(zeroed.baseline_logprob, abs=1e-2)


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
@pytest.mark.parametrize("phase", get_args(Phase))
def test_a_row_resampled_from_itself_is_untouched(model_type: str, phase: Phase) -> None:
    """In float64; the gold value is what the model says, so that its tokens are the donor's own steps."""
    loaded = endless(doubled(model_type))
    prompt = random_prompt(N_TOKENS)
    prompt = replace(prompt, value_ids=run(loaded, prompt, max_new_tokens=4).token_ids)
    untouched = run(loaded, prompt)
    resampled = run(loaded, prompt, HEADS, Intervention(prompt, phase), baseline_ids=untouched.token_ids)
    assert resampled.token_ids == untouched.token_ids
    tolerance = 1e-4 if model_type in FLOAT32_PARTS else 1e-10
    for name in ("gold_logprob", "baseline_logprob", "smallest_gap"):
        assert getattr(resampled, name) == pytest.approx(getattr(untouched, name), abs=tolerance, rel=tolerance)


def test_the_prompt_before_its_last_token_is_the_untouched_models() -> None:
    loaded, prompt = endless(tiny_loaded("llama")), random_prompt(N_TOKENS)
    seen: list[torch.Tensor] = []
    handle = loaded.model.get_submodule("model.norm").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for heads in (frozenset[Head](), HEADS):
        run(loaded, prompt, heads, Intervention(phase="decode"), max_new_tokens=1)
    handle.remove()
    untouched, ablated = (each[0] for each in seen if each.shape[1] == N_TOKENS)
    assert torch.equal(ablated[:-1], untouched[:-1])
    assert not torch.equal(ablated[-1], untouched[-1])


def test_each_head_set_by_itself() -> None:
    loaded, prompt = tiny_loaded("qwen3"), random_prompt(N_TOKENS)
    sets = [frozenset(), HEADS, frozenset({Head(2, 0)})]
    together = run_row(loaded, prompt, sets, max_new_tokens=6, baseline_ids=(5, 6))
    assert together == tuple(run(loaded, prompt, heads, max_new_tokens=6, baseline_ids=(5, 6)) for heads in sets)
    assert len(set(together)) == len(sets)


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text"])
def test_logprobs_leave_decoding_as_it_was(model_type: str) -> None:
    """The sliding window is full; the gold value is read behind a copy of the cache."""
    loaded, prompt = endless(tiny_loaded(model_type)), random_prompt(N_TOKENS)
    long_gold = replace(prompt, value_ids=random_ids(9, seed=7))
    assert run(loaded, long_gold).token_ids == run(loaded, prompt).token_ids


def test_any_end_token_ends_and_is_left_out() -> None:
    loaded, prompt = endless(tiny_loaded("llama")), random_prompt(N_TOKENS)
    tokens = run(loaded, prompt).token_ids
    for position in (0, 3):
        end = replace(loaded, end_token_ids=frozenset({VOCABULARY + 1, tokens[position]}))
        completion = run(end, prompt)
        assert completion.ended
        assert completion.token_ids == tokens[: tokens.index(tokens[position])]
    assert run(loaded, prompt, max_new_tokens=4).token_ids == tokens[:4]
    last = replace(loaded, end_token_ids=frozenset({tokens[3]}))
    assert run(last, prompt, max_new_tokens=4).ended


def test_forward_passes_and_last_logits_only() -> None:
    """One pass for prompt, gold, baseline and new tokens but the last; prefill gives one line of logits."""
    loaded, prompt = endless(tiny_loaded("llama")), random_prompt(N_TOKENS)
    lines: list[int] = []
    head = loaded.model.get_submodule("lm_head")
    handle = head.register_forward_pre_hook(lambda _, args: lines.append(args[0].shape[1]))
    completion = run(loaded, prompt, frozenset({Head(0, 0), Head(2, 1)}), max_new_tokens=5, baseline_ids=(1, 2, 3, 4))
    assert lines == [1, len(prompt.value_ids) - 1, 3, 1, 1, 1, 1]
    assert completion.hooks_fired == 2 * len(lines)
    lines.clear()
    run(loaded, replace(prompt, value_ids=(7,)), max_new_tokens=1, baseline_ids=(1,))
    handle.remove()
    assert lines == [1]


def test_logprobs_of_one_token_and_of_none() -> None:
    loaded, prompt = tiny_loaded("llama"), replace(random_prompt(N_TOKENS), value_ids=(7,))
    completion = run(loaded, prompt, baseline_ids=())
    assert completion.gold_logprob == pytest.approx(slow_logprob(loaded.model, prompt, (7,)), abs=1e-4)
    assert (completion.baseline_logprob, completion.baseline_logprobs) == (0.0, ())
    assert run(loaded, prompt, HEADS, baseline_ids=None).baseline_logprob is None
    untouched = run(loaded, prompt, baseline_ids=None)
    own = slow_logprob(loaded.model, prompt, untouched.all_ids)
    assert untouched.baseline_logprob == pytest.approx(own, abs=1e-3)
    assert sum(untouched.baseline_logprobs or ()) == pytest.approx(own, abs=1e-3)
    assert run(loaded, prompt, baseline_ids=(7,)).baseline_logprob == completion.gold_logprob


def test_equal_logits_have_no_gap() -> None:
    loaded = tiny_loaded("llama")
    model = cut_weights(loaded.model, [])
    cast(torch.Tensor, model.get_submodule("lm_head").weight).zero_()
    completion = run(endless(wrap(model)), random_prompt(5), max_new_tokens=2)
    assert completion.smallest_gap == 0.0
    assert completion.token_ids == (0, 0)


def test_a_prompt_longer_than_the_window_names_its_row() -> None:
    loaded = tiny_loaded("llama")
    assert loaded.window == 640
    with pytest.raises(ModelError, match=r"filing3.htm/task: 641 tokens, .* at most 640, the window of tiny llama"):
        run(loaded, random_prompt(636, seed=3), max_new_tokens=5)


@pytest.mark.parametrize(
    ("prompt", "max_new_tokens", "message"),
    [
        (replace(random_prompt(5), value_ids=()), 5, "5 prompt tokens and 0 of its value"),
        (replace(random_prompt(5), token_ids=()), 5, "0 prompt tokens"),
        (random_prompt(5), 0, "max_new_tokens: 0; expected at least 1"),
    ],
)
def test_nothing_to_do_is_refused(prompt: Prompt, max_new_tokens: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        run(tiny_loaded("llama"), prompt, max_new_tokens=max_new_tokens)


def test_an_unknown_head_is_refused_and_leaves_no_hook() -> None:
    loaded = tiny_loaded("llama")
    with pytest.raises(AblationError, match=f"layer {N_LAYERS}"):
        run(loaded, random_prompt(5), frozenset({Head(N_LAYERS, 0)}))
    assert not any(output.module._forward_pre_hooks for output in loaded.outputs)

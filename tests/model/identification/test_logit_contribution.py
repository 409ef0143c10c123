"""Contributions to logits against a slow definition, written out norm by norm, on every architecture; and the rules."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_models import (
    HEAD_DIM,
    MODEL_TYPES,
    N_HEADS,
    N_LAYERS,
    alone,
    random_trial,
    tiny_loaded,
    wrap,
)

from harness.errors import DataError, ModelError
from harness.model.identification.direct_path import NormPass, check_direct, output_rows
from harness.model.identification.logit_contribution import (
    LOGIT_CONTRIBUTION,
    Contributions,
    contributions,
    document_rest,
    every_rest,
    logit_contribution,
    paper_score,
    said_tokens,
)
from harness.model.identification.method import AttentionReader
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Trial

FINAL = {
    "bloom": "transformer.ln_f",
    "falcon": "transformer.ln_f",
    "gemma3": "model.language_model.norm",
    "gpt2": "transformer.ln_f",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "opt": "model.decoder.final_layer_norm",
}
AFTER = dict.fromkeys(("gemma2", "gemma3", "gemma3_text", "olmo2", "olmo3"), "post_attention_layernorm") | {
    "glm4": "post_self_attn_layernorm"
}
LAYER_NORMED = ("bloom", "cohere", "cohere2", "falcon", "gpt2", "gpt_neox", "opt", "starcoder2")
ONE_MORE = ("gemma", "gemma2", "gemma3", "gemma3_text")
"""Whose norms multiply by 1 + weight."""


def with_drawn_norms(model_type: str) -> LoadedModel:
    """The tiny model whose norms have weights of their own: as they are made, all are alike."""
    model = copy.deepcopy(tiny_loaded(model_type).model)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 and ("norm" in name or "ln_" in name) and name.endswith("weight"):
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return wrap(model)


def pulled_back(norm: Any, entered: torch.Tensor, direction: torch.Tensor, model_type: str) -> torch.Tensor:
    """What a norm makes of a direction, by its formula, at the scale of what entered it."""
    weight = norm.weight + 1 if model_type in ONE_MORE else norm.weight
    back: torch.Tensor = weight * direction
    eps = next(getattr(norm, name) for name in ("eps", "variance_epsilon") if hasattr(norm, name))
    centred = model_type in LAYER_NORMED
    scale = torch.sqrt((entered.var(correction=0) if centred else entered.square().mean()) + eps)
    return (back - back.mean() if centred else back) / scale


@torch.inference_mode()
def slow_contrasts(
    loaded: LoadedModel, trial: Trial, answer: Sequence[int], rest: Sequence[NDArray[np.bool_]], *, normed: bool
) -> NDArray[np.float64]:
    """The definition, from one whole eager run: (tokens, layers, heads)."""
    model, model_type, prompt = loaded.model, str(loaded.model.config.model_type), trial.prompt
    entered: dict[str, torch.Tensor] = {}
    final = model.get_submodule(FINAL.get(model_type, "model.norm"))
    hooks = [final.register_forward_pre_hook(lambda _, args: entered.update(final=args[0][0]))]
    for layer in range(N_LAYERS) if model_type in AFTER else ():
        after = model.get_submodule(f"{loaded.architecture.layers}.{layer}.{AFTER[model_type]}")
        hooks.append(
            after.register_forward_pre_hook(lambda _, args, name=str(layer): entered.update({name: args[0][0]}))
        )
    model.config._attn_implementation, before = "eager", model.config._attn_implementation
    ids = torch.tensor([[*prompt.token_ids, *answer[:-1]]])
    ran = model(input_ids=ids, output_attentions=True, use_cache=True)
    model.config._attn_implementation = before
    for hook in hooks:
        hook.remove()
    found = np.zeros((len(answer), N_LAYERS, N_HEADS))
    for step, token_id in enumerate(answer):
        at = len(prompt.token_ids) - 1 + step
        needle = range(prompt.needle_start, prompt.needle_end)
        others = [position for position in range(at + 1) if rest[step][position]]
        for layer in range(N_LAYERS):
            direction = output_rows(model)[token_id]
            if normed:
                direction = pulled_back(final, entered["final"][at], direction, model_type)
            if normed and model_type in AFTER:
                after = model.get_submodule(f"{loaded.architecture.layers}.{layer}.{AFTER[model_type]}")
                direction = pulled_back(after, entered[str(layer)][at], direction, model_type)
            for head in range(N_HEADS):
                columns = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
                weight: Any = loaded.outputs[layer].module.weight
                reads = (weight[columns] if model_type == "gpt2" else weight[:, columns].T) @ direction
                values = values_of(loaded, ran.past_key_values, layer, head)
                phi = [float(ran.attentions[layer][0, head, at, j]) * float(reads @ values[j]) for j in range(at + 1)]
                found[step, layer, head] = sum(phi[j] for j in needle) - len(needle) / len(others) * sum(
                    phi[j] for j in others
                )
    return found


def values_of(loaded: LoadedModel, cache: Any, layer: int, head: int) -> torch.Tensor:
    """The values that a head weighs, from the library's own cache: (positions, width)."""
    held = cache.layers[layer].values[0]
    if loaded.model.config.model_type.startswith("deepseek"):
        attention: Any = loaded.model.get_submodule(f"{loaded.architecture.layers}.{layer}.self_attn")
        both = attention.kv_b_proj(cache.layers[layer].keys[0, 0]).view(-1, N_HEADS, 6 + HEAD_DIM)
        latent: torch.Tensor = both[:, head, 6:]
        return latent
    value: torch.Tensor = held[head * held.shape[0] // N_HEADS]
    return value


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_it_is_its_definition(model_type: str) -> None:
    """A prompt that no window cuts short, as the library's cache forgets what lies behind one."""
    loaded, trial = with_drawn_norms(model_type), replace(random_trial(9, needle=(3, 6)), max_new_tokens=3)
    for rest, normed in ((document_rest, True), (every_rest, False)):
        found = contributions(AttentionReader.of(loaded, [trial]), trial, rest, normed=normed)
        assert len(found.token_ids) == 3
        rests = [rest(trial.prompt, 9 + step) for step in range(3)]
        slow = slow_contrasts(loaded, trial, found.token_ids, rests, normed=normed)
        np.testing.assert_allclose(found.contrasts, slow, rtol=0, atol=2e-5 * np.abs(slow).max())


def test_contributions_to_a_logit_add_up() -> None:
    """Llama's logit is what its stream holds, read through the final norm: heads' shares are those of `o_proj`'s."""
    loaded, trial = with_drawn_norms("llama"), replace(random_trial(9, needle=(0, 9)), max_new_tokens=1)
    found = contributions(AttentionReader.of(loaded, [trial]), trial, lambda prompt, n: np.arange(n) < 0, normed=True)
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        output.module.register_forward_hook(lambda _, __, out, name=str(output.layer): seen.update({name: out[0, -1]}))
        for output in loaded.outputs
    ]
    norm: Any = loaded.model.get_submodule("model.norm")
    hooks.append(norm.register_forward_pre_hook(lambda _, args: seen.update(stream=args[0][0, -1])))
    with torch.inference_mode():
        logits = loaded.model(input_ids=torch.tensor([trial.prompt.token_ids])).logits[0, -1]
        for hook in hooks:
            hook.remove()
        row = output_rows(loaded.model)[found.token_ids[0]]
        gain = row * norm.weight / torch.sqrt(seen["stream"].square().mean() + norm.variance_epsilon)
        assert float(gain @ seen["stream"]) == pytest.approx(float(logits[found.token_ids[0]]), abs=1e-4)
        written = [float(gain @ seen[str(layer)]) for layer in range(N_LAYERS)]
    np.testing.assert_allclose(found.contrasts[0].sum(axis=1), written, rtol=0, atol=1e-4)


def test_what_the_needle_is_set_against() -> None:
    prompt = replace(random_trial(10, needle=(3, 5)).prompt, question_start=6, question_end=8)
    assert np.flatnonzero(document_rest(prompt, 12)).tolist() == [1, 2, 5, 8, 9]
    assert np.flatnonzero(every_rest(prompt, 12)).tolist() == [0, 1, 2, *range(5, 12)]


@pytest.mark.parametrize(
    ("token_ids", "value_ids", "value", "expected"),
    [
        ((9, 1, 2, 9), (1, 2), "nothing", (1, 3)),  # the value's own tokens
        ((1, 2, 1, 2), (1, 2), "nothing", (0, 2)),  # the first of two places
        (tuple(b"is Omaha."), (1, 2), "omaha", (3, 8)),  # its text, in another case
        (tuple(b"is Omaha."), (1, 2), "Rome", None),
        ((), (1, 2), "Rome", None),
    ],
)
def test_where_the_papers_rule_finds_the_value(
    token_ids: tuple[int, ...], value_ids: tuple[int, ...], value: str, expected: tuple[int, int] | None
) -> None:
    assert said_tokens(token_ids, value_ids, value, lambda ids: bytes(ids).decode()) == expected


def test_tokens_and_answers_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer "North, South." of four tokens, whose contrasts are 1, 2, 4 and 8."""
    loaded, texts = tiny_loaded(), ("North", ", ", "South", ".")
    ids = tuple(range(4))
    monkeypatch.setattr(
        type(loaded.tokenizer), "decode", lambda _, ids, **__: "".join(texts[i] for i in ids if i < len(texts))
    )
    found = Contributions(ids, np.array([1.0, 2.0, 4.0, 8.0]).reshape(4, 1, 1))
    monkeypatch.setattr("harness.model.identification.logit_contribution.contributions", lambda *_, **__: found)
    trial = random_trial(30)
    scored = {
        value: tuple(
            None if scores is None else float(scores[0, 0])
            for scores in (
                alone(method, loaded, replace(trial, value=value)) for method in (logit_contribution, paper_score)
            )
        )
        for value in ("South", "North, South", "NORTH", "North and West", "East", "North South")
    }
    assert scored == {
        "South": (4.0, 4.0),
        "North, South": (7 / 3, 7 / 3),
        "NORTH": (1.0, 1.0),
        "North and West": (None, None),
        "East": (None, None),
        "North South": (7 / 3, None),  # right by whole tokens, and in no place letter by letter
    }


def test_prompt_and_answer_must_fit_and_have_text_around_the_needle() -> None:
    for method in (LOGIT_CONTRIBUTION, *LOGIT_CONTRIBUTION.variants.values()):
        assert method.n_tokens(random_trial(30)) == 34
        method.check(random_trial(30))
        with pytest.raises(DataError, match=r"task: no token beside the needle's, the question's and the first"):
            method.check(random_trial(6, needle=(1, 4)))


def test_models_whose_heads_reach_no_logit_straight_are_refused() -> None:
    for model_type, key, value in (
        ("opt", "do_layer_norm_before", False),
        ("bloom", "apply_residual_connection_post_layernorm", True),
    ):
        loaded = wrap(copy.deepcopy(tiny_loaded(model_type).model))
        check_direct(loaded)
        setattr(loaded.model.config, key, value)
        with pytest.raises(ModelError, match=rf"tiny {model_type}: its layers add to what a norm.*\({key}\); expected"):
            check_direct(loaded)
    narrow = wrap(copy.deepcopy(tiny_loaded("opt").model))
    narrow.model.set_submodule("lm_head", torch.nn.Linear(16, 5))
    with pytest.raises(ModelError, match="tiny opt: a projection stands between its layers and its output embedding"):
        check_direct(narrow)


def test_a_norm_of_another_kind_is_refused() -> None:
    class Squared(torch.nn.Module):
        weight = torch.ones(8)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden * hidden.abs()

    entered = torch.arange(8.0)
    passed = NormPass("model.norm", Squared(), entered, Squared()(entered))
    with pytest.raises(ModelError, match=r"model\.norm: a Squared that is no root-mean-square or layer norm; expected"):
        passed.back(torch.ones(8))


def test_attention_that_is_not_what_the_heads_put_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = wrap(copy.deepcopy(tiny_loaded().model))
    monkeypatch.setattr(
        "harness.model.identification.method.AttentionReader.keys_and_values",
        lambda self, layer: (torch.zeros(1), torch.ones(1, 2, 30, HEAD_DIM)),
    )
    with pytest.raises(ModelError, match=r"layers\.0\.self_attn\.o_proj: its heads put out something else"):
        contributions(AttentionReader.of(loaded, [random_trial(30)]), random_trial(30), every_rest, normed=False)


def test_an_end_token_ends_the_answer() -> None:
    loaded, trial = tiny_loaded(), random_trial(30)
    first, second, *_ = contributions(AttentionReader.of(loaded, [trial]), trial, every_rest, normed=False).token_ids
    assert first != second
    ended = contributions(
        AttentionReader.of(replace(loaded, end_token_ids=frozenset({second})), [trial]), trial, every_rest, normed=False
    )
    assert (ended.token_ids, ended.contrasts.shape) == ((first,), (1, N_LAYERS, N_HEADS))

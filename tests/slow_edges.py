"""An attention written out head by head and query by query, in which chosen heads do not attend to some tokens: the
oracle of needle edges. No cache; its weights are edited, and not what enters the projections."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from harness.experiment.heads import Head
from harness.experiment.intervention import Edges

Edit = Callable[[int, int, int, list[float]], dict[int, float]]
"""From layer, head, query's position and its weights to the part of a weight that is left, of those that lose some."""

_edits: list[Edit] = []


def _attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, **others: Any
) -> tuple[torch.Tensor, None]:
    _, n_heads, n_queries, width = query.shape
    copies = n_heads // key.shape[1]
    attended = torch.zeros(1, n_queries, n_heads, value.shape[3], dtype=query.dtype)
    scaling = others.get("scaling") or width**-0.5
    for head in range(n_heads):
        sink = None if others.get("s_aux") is None else float(others["s_aux"][head])
        keys, values = key[0, head // copies], value[0, head // copies]
        for place in range(n_queries):
            seen = [other for other in range(place + 1) if bool(mask[0, 0, place, other] == 0)]
            scores = {other: float(query[0, head, place] @ keys[other]) * scaling for other in seen}
            if cap := others.get("softcap"):
                scores = {other: cap * math.tanh(score / cap) for other, score in scores.items()}
            weights = _softmax(scores, sink)
            left = _edits[0](module.layer_idx, head, place, [weights.get(other, 0.0) for other in range(place + 1)])
            kept = {other: weight * left.get(other, 1.0) for other, weight in weights.items()}
            # with a sink, weights come to less than 1
            rest = sum(kept.values()) + 1 - sum(weights.values())
            for other, weight in kept.items():
                attended[0, place, head] += (weight / rest if weight else 0.0) * values[other]
    return attended, None


def _softmax(scores: dict[int, float], sink: float | None) -> dict[int, float]:
    most = max([*scores.values(), *([] if sink is None else [sink])], default=0.0)
    total = sum(math.exp(score - most) for score in scores.values())
    total += 0.0 if sink is None else math.exp(sink - most)
    return {other: math.exp(score - most) / total for other, score in scores.items()}


AttentionInterface.register("slow_edges", _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register("slow_edges", ALL_MASK_ATTENTION_FUNCTIONS["eager"])


@contextmanager
def _slow(model: PreTrainedModel, edit: Edit) -> Iterator[None]:
    configs = {id(config): config for config in (model.config, model.config.get_text_config())}.values()
    before = [config._attn_implementation for config in configs]
    _edits.append(edit)
    for config in configs:
        config._attn_implementation = "slow_edges"
    try:
        yield
    finally:
        _edits.pop()
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name


@torch.inference_mode()
def slow_logits(
    model: PreTrainedModel, ids: Sequence[int], heads: Collection[Head], edges: Edges, first: int
) -> torch.Tensor:
    """Logits at every position, the heads without these edges from position `first` on: (positions, vocabulary)."""

    def edit(layer: int, head: int, place: int, weights: list[float]) -> dict[int, float]:
        if Head(layer, head) not in heads or place < first:
            return {}
        if not edges.instead:
            return dict.fromkeys(edges.tokens, 0.0)
        to_take = sum(weights[token] for token in edges.tokens)
        left = {}
        for token in sorted(edges.instead, key=lambda token: -weights[token]):
            taken = min(weights[token], to_take)
            to_take -= taken
            if taken:
                left[token] = 1 - taken / weights[token]
        return left

    with _slow(model, edit):
        logits: torch.Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return logits


def slow_tokens(
    model: PreTrainedModel, ids: Sequence[int], heads: Collection[Head], edges: Edges, *, n_tokens: int
) -> tuple[int, ...]:
    """So many greedy tokens after these, whatever they are."""
    text = [*ids]
    for _ in range(n_tokens):
        text.append(int(slow_logits(model, text, heads, edges, len(ids) - 1)[-1].argmax()))
    return tuple(text[len(ids) :])


def slow_logprob(
    model: PreTrainedModel, ids: Sequence[int], answer: Sequence[int], heads: Collection[Head], edges: Edges
) -> float:
    """Of these tokens after those."""
    logits = slow_logits(model, [*ids, *answer], heads, edges, len(ids) - 1)
    logprobs = logits.double().log_softmax(dim=-1)
    return sum(float(logprobs[len(ids) - 1 + i, token]) for i, token in enumerate(answer))

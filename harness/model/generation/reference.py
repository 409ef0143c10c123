"""The plain loop: one row, one condition, one token at a time, with a key/value cache. The oracle of the
engine.

Greedy: each token is the argmax of the last position's logits, the first of equals; any of the model's end
tokens ends the completion. Only the last position's logits are computed in prefill, and attention is the
loaded model's own.

Knows nothing of what the tokens mean, nor of what else is computed for the row.
"""

import copy
import math
from collections.abc import Iterator, Sequence

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from harness.errors import ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Intervention
from harness.experiment.record import Ask, Completion, noted
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.head_values import replacement_of
from harness.model.loading.loaded_model import LoadedModel, check_window, pieces
from harness.retrieval.prompts import Prompt

ENGINE_VERSION = 2
"""Changes whenever the meaning of what is computed does: part of the key of every record."""


def run_row(
    loaded: LoadedModel,
    prompt: Prompt,
    head_sets: Sequence[frozenset[Head]],
    baseline_ids: tuple[int, ...] | None,
    intervention: Intervention = ZEROED,
    *,
    max_new_tokens: int,
) -> tuple[Completion, ...]:
    """Complete one prompt once for each head set, each on its own; `intervention` says how heads are ablated.

    `baseline_ids` are the untouched model's tokens, end token included if it ended; where they are `None`, those
    of an empty head set, if there is one, serve all that come after it. `max_new_tokens` counts the end token
    too. Forward passes a condition: 1 for the prompt, 1 for each new token but the last, and 1 each for the gold
    value and the baseline's completion where they have more than one token. A prompt that would take memory of
    positions x positions is fed in more passes (`pieces`).

    Raises:
        ModelError: nothing to complete or no gold value; prompt and completion longer than the model's
            window.
        AblationError: an unknown head, or an ablation that was not sound.
    """
    check_request(loaded, prompt, baseline_ids, max_new_tokens=max_new_tokens)
    replacement = replacement_of(loaded, prompt, head_sets, intervention, max_new_tokens=max_new_tokens)
    first = intervention.first_ablated(len(prompt.token_ids))
    completions = []
    for heads in head_sets:
        ablation = Ablation(loaded.outputs, [heads], replacement, first=first)
        completion = _complete(
            loaded, prompt, heads, ablation, max_new_tokens=max_new_tokens, baseline_ids=baseline_ids
        )
        if baseline_ids is None and not heads:
            baseline_ids = completion.all_ids
        completions.append(completion)
    return tuple(completions)


def run_rows(loaded: LoadedModel, asks: Sequence[Ask]) -> Iterator[tuple[int, tuple[Completion, ...]]]:
    """Each ask's number and completions, one after the other (`run_row`)."""
    for number, ask in enumerate(asks):
        yield (
            number,
            run_row(
                loaded,
                ask.prompt,
                ask.head_sets,
                ask.baseline_ids,
                ask.intervention,
                max_new_tokens=ask.max_new_tokens,
            ),
        )


def check_request(
    loaded: LoadedModel, prompt: Prompt, baseline_ids: Sequence[int] | None, *, max_new_tokens: int
) -> None:
    """Raise a ModelError unless there is something to complete and the model's window holds all of it."""
    if not prompt.token_ids or not prompt.value_ids:
        raise ModelError(
            f"{prompt.row_id}: {len(prompt.token_ids)} prompt tokens and {len(prompt.value_ids)} of its "
            "value; expected at least one of each"
        )
    if max_new_tokens < 1:
        raise ModelError(f"max_new_tokens: {max_new_tokens}; expected at least 1")
    longest = max(max_new_tokens, len(prompt.value_ids), len(baseline_ids or ()))
    check_window(loaded, prompt.row_id, len(prompt.token_ids) + longest)


@torch.inference_mode()
def _complete(
    loaded: LoadedModel,
    prompt: Prompt,
    heads: frozenset[Head],
    ablation: Ablation,
    *,
    max_new_tokens: int,
    baseline_ids: tuple[int, ...] | None,
) -> Completion:
    with ablation:
        cache, logits = _prefill(loaded, ablation, prompt.token_ids)
        gold, _ = _logprob(loaded, ablation, cache, logits, prompt.value_ids)
        known = None if baseline_ids is None else _logprob(loaded, ablation, cache, logits, baseline_ids)
        token_ids, own, smallest_gap = _decode(loaded, ablation, cache, logits, max_new_tokens)
    if known is None and not heads:
        known = sum(own), own
    ended = token_ids[-1] in loaded.end_token_ids
    return Completion(
        token_ids=tuple(token_ids[:-1] if ended else token_ids),
        end_token_id=token_ids[-1] if ended else None,
        gold_logprob=gold,
        baseline_logprob=None if known is None else known[0],
        hooks_fired=sum(ablation.fired.values()),
        smallest_gap=smallest_gap,
        baseline_logprobs=None if known is None else noted(known[1]),
    )


def _prefill(loaded: LoadedModel, ablation: Ablation, token_ids: Sequence[int]) -> tuple[Cache, torch.Tensor]:
    """Run a prompt: its cache, and the last logits, (1, vocabulary)."""
    cache: Cache | None = None
    for piece in pieces(loaded, torch.tensor([token_ids], device=loaded.device)):
        ablation.start = 0 if cache is None else cache.get_seq_length()
        output = loaded.model(input_ids=piece, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
    assert cache is not None, "no tokens are refused before"
    return cache, output.logits[0]


def _feed(
    loaded: LoadedModel, ablation: Ablation, cache: Cache, token_ids: Sequence[int]
) -> tuple[Cache, torch.Tensor]:
    """Run tokens after what the cache holds: the grown cache, and the last logits, (1, vocabulary)."""
    ablation.start = cache.get_seq_length()
    ids = torch.tensor([token_ids], device=loaded.device)
    output = loaded.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return output.past_key_values, output.logits[0]


def _decode(
    loaded: LoadedModel, ablation: Ablation, cache: Cache, logits: torch.Tensor, max_new_tokens: int
) -> tuple[list[int], list[float], float]:
    """Greedy tokens after these logits, an end token included; their log-probabilities; the smallest gap.

    Grows the cache.
    """
    token_ids: list[int] = []
    logprobs: list[float] = []
    smallest_gap = math.inf
    while True:
        smallest_gap = min(smallest_gap, _gap(logits))
        token_ids.append(int(logits.argmax()))
        logprobs.append(float(torch.log_softmax(_exact(logits[0]), dim=-1)[token_ids[-1]]))
        if token_ids[-1] in loaded.end_token_ids or len(token_ids) == max_new_tokens:
            return token_ids, logprobs, smallest_gap
        cache, logits = _feed(loaded, ablation, cache, token_ids[-1:])


def _logprob(
    loaded: LoadedModel, ablation: Ablation, cache: Cache, logits: torch.Tensor, token_ids: Sequence[int]
) -> tuple[float, list[float]]:
    """The tokens' log-probabilities after the cache, whose last logits are given: their sum in float64, and each.

    The cache is left as it was: cropped, or, where a filled window cannot be, the tokens are fed after a copy of it.
    """
    if not token_ids:
        return 0.0, []
    if len(token_ids) > 1:
        ablation.start = cache.get_seq_length()
        ids = torch.tensor([token_ids[:-1]], device=loaded.device)
        can_crop = all(type(layer) is DynamicLayer for layer in cache.layers)
        fed = cache if can_crop else copy.deepcopy(cache)
        output = loaded.model(input_ids=ids, past_key_values=fed, use_cache=True)
        if can_crop:
            cache.crop(1 - len(token_ids))
        logits = torch.cat([logits, output.logits[0].to(logits.device)])
    # (tokens, vocabulary)
    logprobs = torch.log_softmax(_exact(logits), dim=-1)
    chosen = logprobs.gather(1, torch.tensor(token_ids, device=logprobs.device)[:, None])
    return float(chosen.double().sum()), chosen[:, 0].tolist()


def _gap(logits: torch.Tensor) -> float:
    """Distance of the best two logits, in standard deviations of all; 0 where all are equal."""
    exact = _exact(logits[0])
    spread = float(exact.std())
    best, second = exact.topk(2).values.tolist()
    return (best - second) / spread if spread > 0 else 0.0


def _exact(logits: torch.Tensor) -> torch.Tensor:
    """At least float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))

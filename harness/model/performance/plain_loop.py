"""The loop that studies are published with, to measure against: one condition at a time, tokens and nothing else.

`published` is the notebook's: eager attention, and the logits of the whole prompt. `plain` is the same with the
attention that the model was loaded with and the last position's logits alone, the fastest loop that shares nothing.
Neither takes log-probabilities or checks drafts. Heads are zeroed by the same context manager as everywhere, because
what is compared is the way of computing, not the hooks.
"""

import math
from collections.abc import Sequence

import torch

from harness.experiment.heads import Head
from harness.experiment.record import Completion
from harness.model.intervention.ablation import Ablation
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt


def run_plain(
    loaded: LoadedModel,
    prompt: Prompt,
    head_sets: Sequence[frozenset[Head]],
    *,
    max_new_tokens: int,
    copies: int = 1,
) -> tuple[Completion, ...]:
    """Complete one prompt for each head set; log-probabilities and gaps are nan.

    The prompt is run as a batch of `copies` of it, and the first is read: kernels round differently in larger batches.
    """
    return tuple(
        _complete(loaded, prompt, heads, max_new_tokens, full_logits=False, copies=copies) for heads in head_sets
    )


def run_published(
    loaded: LoadedModel, prompt: Prompt, head_sets: Sequence[frozenset[Head]], *, max_new_tokens: int
) -> tuple[Completion, ...]:
    """The same with eager attention, and logits at every position; the model's own attention is put back."""
    own = loaded.attention
    loaded.model.set_attn_implementation("eager")
    try:
        return tuple(_complete(loaded, prompt, heads, max_new_tokens, full_logits=True) for heads in head_sets)
    finally:
        loaded.model.set_attn_implementation(own)


@torch.inference_mode()
def _complete(
    loaded: LoadedModel,
    prompt: Prompt,
    heads: frozenset[Head],
    max_new_tokens: int,
    *,
    full_logits: bool,
    copies: int = 1,
) -> Completion:
    token_ids: list[int] = []
    cache = None
    feed: Sequence[int] = prompt.token_ids
    with Ablation(loaded.outputs, [heads]) as ablation:
        while len(token_ids) < max_new_tokens and not (token_ids and token_ids[-1] in loaded.end_token_ids):
            ids = torch.tensor([feed] * copies, device=loaded.device)
            output = loaded.model(
                input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=0 if full_logits else 1
            )
            cache = output.past_key_values
            token_ids.append(int(output.logits[0, -1].argmax()))
            feed = token_ids[-1:]
    ended = token_ids[-1] in loaded.end_token_ids
    return Completion(
        token_ids=tuple(token_ids[:-1] if ended else token_ids),
        end_token_id=token_ids[-1] if ended else None,
        gold_logprob=math.nan,
        baseline_logprob=None,
        hooks_fired=sum(ablation.fired.values()),
        smallest_gap=math.nan,
    )

"""The slowest loop, an oracle of all ways of ablating: no cache, the whole text fed anew for each token, and what
enters the projections edited head by head and position by position."""

from collections.abc import Callable, Collection, Sequence

import torch
from tiny_models import HEAD_DIM, N_HEADS
from transformers import PreTrainedModel

from harness.experiment.heads import Head
from harness.model.loading.architectures import attention_outputs

Values = Callable[[int, int], torch.Tensor]
"""From a layer and a position to what its heads put out there, side by side: (n_heads x head_dim)."""


def zero(layer: int, position: int) -> torch.Tensor:
    return torch.zeros(N_HEADS * HEAD_DIM)


@torch.inference_mode()
def slow_logits(
    model: PreTrainedModel, ids: Sequence[int], heads: Collection[Head], values: Values = zero, first: int = 0
) -> torch.Tensor:
    """Logits at every position, heads replaced from position `first` on: (positions, vocabulary)."""
    handles = []
    for output in attention_outputs(model):

        def edit(_: object, args: tuple[torch.Tensor], layer: int = output.layer) -> tuple[torch.Tensor]:
            hidden = args[0].clone()
            for head in heads:
                if head.layer == layer:
                    columns = slice(head.head * HEAD_DIM, (head.head + 1) * HEAD_DIM)
                    for position in range(first, hidden.shape[1]):
                        hidden[0, position, columns] = values(layer, position)[columns]
            return (hidden,)

        handles.append(output.module.register_forward_pre_hook(edit))
    logits: torch.Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    return logits


def slow_tokens(
    model: PreTrainedModel,
    ids: Sequence[int],
    heads: Collection[Head],
    values: Values = zero,
    first: int = 0,
    *,
    n_tokens: int,
) -> tuple[int, ...]:
    """So many greedy tokens after these, whatever they are."""
    text = [*ids]
    for _ in range(n_tokens):
        text.append(int(slow_logits(model, text, heads, values, first)[-1].argmax()))
    return tuple(text[len(ids) :])


def slow_logprob(
    model: PreTrainedModel,
    ids: Sequence[int],
    answer: Sequence[int],
    heads: Collection[Head],
    values: Values = zero,
    first: int = 0,
) -> float:
    """Of these tokens after those."""
    logprobs = slow_logits(model, [*ids, *answer], heads, values, first).double().log_softmax(dim=-1)
    return sum(float(logprobs[len(ids) - 1 + i, token]) for i, token in enumerate(answer))

"""Whether an entry beside the table leads to attention's output projections: one token tells.

A lone token attends to itself alone, so what enters a layer's projection is then, head by head, the value that the
layer has cached. A query projection or a feed-forward module, given by mistake, reads something else, and would be
ablated without a word; so would heads that are mixed before the projection. Signs are compared: some models let a part
of the attention go nowhere, others weaken each number by a gate.

Knows nothing of where entries come from.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import nn
from transformers import PreTrainedModel

from harness.errors import ModelError
from harness.model.loading.architectures import AttentionOutput

ALIKE = 0.98
"""Least share of numbers that have the sign of the head's value; half precision rounds to 0."""


@torch.inference_mode()
def check_entry(model: PreTrainedModel, outputs: Sequence[AttentionOutput], device: torch.device) -> None:
    """Raise a ModelError unless each layer's projection reads, once for a token, what its attention gives out.

    `device` is where token ids go.
    """
    read: dict[int, list[torch.Tensor]] = {output.layer: [] for output in outputs}
    with ExitStack() as hooks:
        for output in outputs:

            def note(
                module: nn.Module,
                args: tuple[torch.Tensor, ...],
                kwargs: dict[str, torch.Tensor],
                layer: int = output.layer,
            ) -> None:
                read[layer].append(args[0] if args else next(iter(kwargs.values())))

            hooks.callback(output.module.register_forward_pre_hook(note, with_kwargs=True).remove)
        found = model(input_ids=torch.tensor([[1]], device=device), use_cache=True)
    cached = getattr(getattr(found, "past_key_values", None), "layers", ())
    if len(cached) < len(outputs):
        raise ModelError(
            f"{type(model).__name__}: keeps keys and values of {len(cached)} layers; expected all {len(outputs)} of "
            "the entry, each its own; such a model cannot be used"
        )
    for output in outputs:
        _check_layer(output, read[output.layer], cached[output.layer].values)


def _check_layer(output: AttentionOutput, read: Sequence[torch.Tensor], cached: torch.Tensor) -> None:
    """`cached` are the layer's values: (1, key heads, 1, width); heads in groups share one."""
    if len(read) != 1:
        raise ModelError(f"{output.name}: called {len(read)} times for one token; expected once; correct the entry")
    values, heads = cached[0, :, 0], read[0].reshape(-1, output.head_dim)
    whole = len(heads) == output.n_heads and heads.shape[1] == values.shape[1] and len(heads) % len(values) == 0
    if whole:
        of_heads = values.repeat_interleave(len(heads) // len(values), dim=0).to(heads.device)
        whole = bool((heads.sign() == of_heads.sign()).float().mean() > ALIKE)
    if not whole:
        raise ModelError(
            f"{output.name}: of a lone token it does not read the heads' values; expected the attention's output "
            "projection, as self_attn.o_proj; correct the entry; a model that mixes heads before it, or caches no "
            "values, cannot be used"
        )

"""Whether an entry beside the table leads to attention's output projections: one token tells.

A lone token attends to itself alone, so what enters the projection is then, head by head, the value that the layer has
cached. A query projection or a feed-forward module, given by mistake, reads something else, and would be ablated
without a word. Up to a factor for each head: some models let a part of the attention go nowhere.

Knows nothing of where entries come from.
"""

import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from harness.errors import ModelError
from harness.model.loading import LoadedModel

ALIKE = 0.98
"""Least cosine between what a head hands over and its value; half precision rounds."""


@torch.inference_mode()
def check_entry(loaded: LoadedModel) -> None:
    """Raise a ModelError unless the first layer's projection reads what attention gives out."""
    output = loaded.outputs[0]
    read: list[torch.Tensor] = []

    def note(module: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> None:
        read.append(args[0] if args else next(iter(kwargs.values())))

    handle = output.module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        cache = loaded.model(input_ids=torch.tensor([[1]], device=loaded.device), use_cache=True).past_key_values
    finally:
        handle.remove()
    # (1, key heads, 1, width): heads in groups share one
    values = cache.layers[0].values[0, :, 0]
    heads = read[0].reshape(output.n_heads, output.head_dim) if read else values[:0]
    whole = len(heads) == output.n_heads and heads.shape[1] == values.shape[1] and len(heads) % len(values) == 0
    if whole:
        of_heads = values.repeat_interleave(len(heads) // len(values), dim=0).to(heads.device)
        whole = bool((cosine_similarity(heads.float(), of_heads.float()) > ALIKE).all())
    if not whole:
        raise ModelError(
            f"{output.name}: of a lone token it does not read the heads' values; expected the attention's output "
            "projection, as self_attn.o_proj; correct the entry"
        )

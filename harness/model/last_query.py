"""What the last token of a prompt attends to, in every head, without memory of positions x positions.

The prompt but its last token runs as ever and fills the cache; the last token then runs alone with the
model's own eager attention, which gives the weights. So rotary embedding, query norms, grouped keys,
scaling, windows and soft-caps are the model's, and what is read is the last line of what eager attention
would give for the whole prompt.

Where the model would hold positions x positions in prefill (eager attention, windows), it is fed in pieces.

Knows nothing of what the tokens mean.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import DynamicCache, PreTrainedConfig

from harness.errors import ModelError
from harness.model.loading import LoadedModel
from harness.model.pieces import pieces


@torch.inference_mode()
def last_query_attention(loaded: LoadedModel, token_ids: Sequence[int]) -> torch.Tensor:
    """The last token's attention to all positions, itself included: (layers, heads, positions), float32.

    Positions outside a layer's window have weight 0. Peak memory above a plain prefill with a cache: the
    result, and one query's weights. Two attention mechanisms round differently: equal to `output_attentions`
    of a whole eager run to 1e-5 in float32. Where rotary frequencies change with each token ("dynamic"), the
    weights are those of decoding, whose keys were rotated one token earlier.

    Raises:
        ModelError: no tokens, or a model that does not give its attention, or another than it computes with.
    """
    if not token_ids:
        raise ModelError("last query attention: no tokens; expected at least one")
    if loaded.model.config.model_type == "falcon" and loaded.model.config.alibi:
        # its eager attention adds the bias twice (transformers 5.17 to 5.23), its sdpa attention once
        raise ModelError(
            f"{loaded.shape.id}: falcon with alibi; expected a model whose eager attention is what it "
            "computes; its heads cannot be scored by attention"
        )
    ids = torch.tensor([token_ids], device=loaded.device)
    cache = DynamicCache(config=loaded.model.config)
    for piece in pieces(loaded, ids[:, :-1]):
        loaded.model(input_ids=piece, past_key_values=cache, use_cache=True, logits_to_keep=1)
    with _eager(loaded.model.config):
        weights = loaded.model(
            input_ids=ids[:, -1:],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            output_attentions=True,
        ).attentions
    if weights is None or len(weights) != loaded.shape.n_layers or any(layer is None for layer in weights):
        raise ModelError(
            f"{loaded.shape.id}: gives no attention for output_attentions; expected weights of each of its "
            f"{loaded.shape.n_layers} layers; its heads cannot be scored by attention"
        )
    result = torch.zeros(
        loaded.shape.n_layers, loaded.shape.n_heads, len(token_ids), dtype=torch.float32, device=loaded.device
    )
    for layer, seen in enumerate(weights):
        # seen: (1, heads, 1, positions in the layer's window); the window's end is the prompt's end
        result[layer, :, -seen.shape[-1] :] = seen[0, :, 0].to(result)
    return result


@contextmanager
def _eager(config: PreTrainedConfig) -> Iterator[None]:
    """The model's eager attention, for as long as the context is open."""
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before

"""A prompt fed in pieces, where feeding it whole would take memory of positions x positions.

Attention with weights written out (eager), and windows, whose masks are, cost that; a piece costs piece x positions.
Knows nothing of what is done with the cache.
"""

from collections.abc import Iterator

import torch
from transformers import DynamicCache

from harness.model.loading.loaded_model import LoadedModel
from harness.model.loading.traits import rotates_by_length

PIECE = 256
"""Tokens fed at once where a whole prompt would take memory that grows with its square."""

WRITES_MASKS = frozenset({"falcon", "qwen2_moe"})
"""Architectures that write out a mask under every attention: falcon its own or its alibi bias, qwen2_moe one of a
window that no layer has."""


def pieces(loaded: LoadedModel, ids: torch.Tensor) -> Iterator[torch.Tensor]:
    """Prompts (rows, positions) whole, where attention takes no memory of positions x positions, else in pieces.

    Where rotary frequencies depend on how much is fed at once, always whole.
    """
    n_positions = ids.shape[1]
    in_pieces = takes_square_memory(loaded, n_positions) and not rotates_by_length(loaded.model.config)
    size = PIECE if in_pieces else max(n_positions, 1)
    for start in range(0, n_positions, size):
        yield ids[:, start : start + size]


def takes_square_memory(loaded: LoadedModel, n_positions: int) -> bool:
    """Whether a prompt of this length, fed whole, takes memory of positions x positions."""
    config = loaded.model.config
    layers = DynamicCache(config=config).layers
    windows = any(getattr(layer, "sliding_window", n_positions) < n_positions for layer in layers)
    return loaded.attention == "eager" or windows or config.model_type in WRITES_MASKS

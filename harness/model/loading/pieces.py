"""A prompt fed in pieces, where feeding it whole would take memory of positions x positions.

Attention with weights written out (eager), and windows, whose masks are, cost that; a piece costs piece x positions.
Knows nothing of what is done with the cache.
"""

from collections.abc import Iterator

import torch
from transformers import DynamicCache

from harness.model.loading.blueprints import rotates_by_length
from harness.model.loading.loaded_model import LoadedModel

PIECE = 256
"""Tokens fed at once where a whole prompt would take memory that grows with its square."""


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
    layers = DynamicCache(config=loaded.model.config).layers
    windows = any(getattr(layer, "sliding_window", n_positions) < n_positions for layer in layers)
    return loaded.attention == "eager" or windows or loaded.architecture.writes_masks

"""What ablated heads put out instead: values for a layer's positions, in the projection's own layout.

Knows nothing of which heads are ablated, in which rows; `ablation` and `branching` put the values in their place.
"""

from typing import Protocol

import torch

from harness.experiment.intervention import MeanValues
from harness.model.loading.architectures import AttentionOutput


class Replacement(Protocol):
    """Values in place of heads' outputs."""

    @property
    def name(self) -> str:
        """What it is, for messages."""

    @property
    def steady(self) -> bool:
        """Whether the values are the same at every position."""

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """For every head of the layer, side by side: (positions or 1, n_heads x head_dim).

        `like` is the projection's input, (rows, positions, width), whose first position is `start` from the prompt's
        first token; the values have its dtype and device.
        """


class Zero:
    """Zero at every position."""

    name = "0"
    steady = True

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """(1, width)."""
        return like.new_zeros(1, like.shape[2])


ZERO = Zero()


class Mean:
    """A head's mean, the same at every position; rounded once to the dtype of what it stands in for."""

    name = "the heads' mean"
    steady = True

    def __init__(self, means: MeanValues) -> None:
        self._means = torch.tensor(means.vectors)
        self._rounded: dict[tuple[int, torch.device, torch.dtype], torch.Tensor] = {}

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """(1, width)."""
        key = (output.layer, like.device, like.dtype)
        if key not in self._rounded:
            self._rounded[key] = self._means[output.layer][None].to(like)
        return self._rounded[key]

"""What ablated heads put out instead: values for a layer's positions, in the projection's own layout.

Knows nothing of which heads are ablated, in which rows; `ablation` and `branching` put the values in their place.
"""

from typing import Protocol

import torch

from harness.errors import AblationError
from harness.experiment.intervention import Intervention, MeanValues
from harness.model.architectures import AttentionOutput
from harness.model.loading import LoadedModel


class Replacement(Protocol):
    """Values in place of heads' outputs."""

    @property
    def name(self) -> str:
        """What it is, for messages."""

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """For every head of the layer, side by side: (positions or 1, n_heads x head_dim).

        `like` is the projection's input, (rows, positions, width), whose first position is `start` from the prompt's
        first token; the values have its dtype and device.
        """


class Zero:
    """Zero at every position."""

    name = "0"

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """(1, width)."""
        return like.new_zeros(1, like.shape[2])


ZERO = Zero()


class Mean:
    """A head's mean, the same at every position; rounded once to the dtype of what it stands in for."""

    name = "the heads' mean"

    def __init__(self, means: MeanValues) -> None:
        self._means = torch.tensor(means.vectors)
        self._rounded: dict[tuple[int, torch.device, torch.dtype], torch.Tensor] = {}

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """(1, width)."""
        key = (output.layer, like.device, like.dtype)
        if key not in self._rounded:
            self._rounded[key] = self._means[output.layer][None].to(like)
        return self._rounded[key]


def replacement_of(loaded: LoadedModel, intervention: Intervention) -> Replacement:
    """The values that an intervention stands for.

    Raises:
        AblationError: means of another shape than the model's.
    """
    if intervention.values is None:
        return ZERO
    shape, width = intervention.values.vectors.shape, loaded.outputs[0].n_heads * loaded.outputs[0].head_dim
    if shape != (len(loaded.outputs), width):
        raise AblationError(
            f"mean values: of {shape[0]} layers of width {shape[1]}; expected {len(loaded.outputs)} of width {width}, "
            f"as {loaded.shape.id} has; compute them with this model"
        )
    return Mean(intervention.values)

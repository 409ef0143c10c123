"""What a call hands to an output projection, and what ablated heads put there instead.

The input is one tensor, by place or by name, heads side by side; a replacement holds values for a layer's positions in
the same layout. Knows nothing of which heads are ablated, in which rows; `ablation` and `branching` put the values in
their place.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch

from harness.errors import AblationError
from harness.experiment.intervention import MeanValues
from harness.model.loading.architectures import AttentionOutput

HookInput = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a module's call, as torch hands them to a hook."""


def projection_input(
    output: AttentionOutput, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[torch.Tensor, str | None]:
    """The one tensor of a call, (rows, positions, width), and its name where it is a keyword.

    Raises an AblationError where it is something else.
    """
    tensors = [*args, *kwargs.values()]
    width = output.n_heads * output.head_dim
    if (
        len(tensors) != 1
        or not isinstance(tensors[0], torch.Tensor)
        or tensors[0].dim() != 3
        or tensors[0].shape[2] != width
    ):
        got = [tuple(getattr(value, "shape", ())) or type(value).__name__ for value in tensors]
        raise AblationError(f"{output.name}: called with {got}; expected one tensor of (rows, positions, {width})")
    return tensors[0], next(iter(kwargs), None)


def as_call(hidden: torch.Tensor, keyword: str | None) -> HookInput:
    """The arguments of a call with this tensor, by that name if it has one."""
    return ((hidden,), {}) if keyword is None else ((), {keyword: hidden})


class Replacement(Protocol):
    """Values in place of heads' outputs."""

    @property
    def name(self) -> str:
        """What it is, for messages."""

    @property
    def steady(self) -> bool:
        """Whether the values are the same at every position."""

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """For every head of the layer, side by side: (rows or 1, positions or 1, n_heads x head_dim).

        `like` is the projection's input, (rows, positions, width), whose first position is `start` from the prompt's
        first token; the values have its dtype and device.
        """

    def watching(self, layers: Collection[int]) -> AbstractContextManager[None]:
        """Open around every call of these layers; by default nothing is watched."""
        return nullcontext()

    def check(self) -> None:
        """Raise an AblationError where what was watched was not sound; may wait for the devices."""
        return


class Zero(Replacement):
    """Zero at every position."""

    name = "0"
    steady = True

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """(1, 1, width)."""
        return like.new_zeros(1, 1, like.shape[2])


ZERO = Zero()


class Mean(Replacement):
    """A head's mean, the same at every position; rounded once to the dtype of what it stands in for."""

    name = "the heads' mean"
    steady = True

    def __init__(self, means: MeanValues) -> None:
        self._means = torch.tensor(means.vectors)
        self._rounded: dict[tuple[int, torch.device, torch.dtype], torch.Tensor] = {}

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """(1, 1, width)."""
        key = (output.layer, like.device, like.dtype)
        if key not in self._rounded:
            self._rounded[key] = self._means[output.layer][None, None].to(like)
        return self._rounded[key]

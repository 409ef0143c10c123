"""What a call hands to an output projection: one tensor, by place or by name, heads side by side.

Knows nothing of what is done with it.
"""

from typing import Any

import torch

from harness.errors import AblationError
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

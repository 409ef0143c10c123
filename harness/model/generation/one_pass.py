"""Steps of a layer between its products, in one pass through memory where a kernel of ours does it (`kernels`).

So it is on GPUs, in half precision, of so many numbers that reading and writing them is what takes the time.
Elsewhere, and where nothing can be compiled, torch does the same step by step: which of them did it no number tells.
The kernels of a device are asked for when much has been computed without them, since it takes seconds to make them
ready, and are tried first, on random numbers against the steps.

One H200, torch 2.11, bfloat16, 7,040 tokens of a 70B shape: a gated feed-forward's step 0.51 ms and 0.31 ms by its
kernel, a rotation of queries 0.51 and 0.07, a norm's weight 0.16 and 0.06; two attentions of 2,560 tokens put together
0.26 and 0.04. A row of an 8B shape and 17 conditions takes a tenth less.

Knows nothing of models.
"""

from functools import cache
from typing import Any

import torch
from torch import nn

HALVES = (torch.float16, torch.bfloat16)
"""Dtypes that fast kernels know."""

WORTH_A_KERNEL = 2**22
"""Numbers of a tensor from which on one of ours is asked: below, starting a step takes as long as what it does."""

MANY = 2**34
"""Such numbers that are computed step by step first: of a prompt of 7,000 tokens and an 8B model a third of a row."""

Weighed = tuple[torch.Tensor, torch.Tensor]
"""Attention, (rows, heads, queries, width), and the log of the weights' sum, (rows, heads, queries, 1)."""


def gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, written over the gate."""
    if gate.is_contiguous() and up.is_contiguous() and (kernels := _kernels(gate)):
        return torch.as_tensor(kernels.gate(gate, up))
    return gated_step_by_step(gate, up)


def gated_step_by_step(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """The same."""
    return nn.functional.silu(gate, inplace=True).mul_(up)


def scaled(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """states * weight, (..., width) and (width), written over the states."""
    if states.is_contiguous() and weight.is_contiguous() and (kernels := _kernels(states)):
        return torch.as_tensor(kernels.scale(states, weight))
    return states.mul_(weight)


def rotated(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Halves of (rows, heads, positions, width), turned by angles of (rows or 1, 1, positions, width)."""
    if _are_lines(states, cos, sin) and (kernels := _kernels(states)):
        return torch.as_tensor(kernels.rotate(states, cos, sin))
    return rotated_step_by_step(states, cos, sin)


def rotated_step_by_step(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The same."""
    half = states.shape[-1] // 2
    first, second = states[..., :half], states[..., half:]
    found = torch.empty_like(states)
    torch.mul(first, cos[..., :half], out=found[..., :half]).sub_(second * sin[..., :half])
    torch.mul(second, cos[..., half:], out=found[..., half:]).add_(first * sin[..., half:])
    return found


def joined(one: Weighed, other: Weighed) -> torch.Tensor:
    """Attention to two parts of the keys, from that to each and the logs of their weights' sums."""
    alike = one[0].stride()[1:] == other[0].stride()[1:] and one[1].stride(2) == other[1].stride(2) == 1
    if alike and len(one[0]) == 1 and _are_lines(one[0], other[0]) and (kernels := _kernels(one[0])):
        return torch.as_tensor(kernels.join(*one, *other))
    return joined_step_by_step(one, other)


def joined_step_by_step(one: Weighed, other: Weighed) -> torch.Tensor:
    """The same."""
    share = torch.sigmoid(one[1] - other[1])
    return torch.addcmul(one[0] * share, other[0], 1 - share).to(one[0].dtype)


def _are_lines(*tensors: torch.Tensor) -> bool:
    """Whether the numbers of each place lie side by side in memory, a power of two of them."""
    width = tensors[0].shape[-1]
    return width & (width - 1) == 0 and all(each.stride(-1) == 1 and each.shape[-1] == width for each in tensors)


class _Seen:
    """How many numbers this process has met for which there are kernels."""

    numbers = 0


def _kernels(states: torch.Tensor) -> Any:
    """Kernels for these, or `None`."""
    if not states.is_cuda or states.dtype not in HALVES or states.numel() < WORTH_A_KERNEL:
        return None
    _Seen.numbers += states.numel()
    # while a graph is captured nothing can be tried
    if _Seen.numbers < MANY or torch.cuda.is_current_stream_capturing():
        return None
    return _tried_kernels(states.device, states.dtype)


@cache
def _tried_kernels(device: torch.device, dtype: torch.dtype) -> Any:
    """Those of a device, if they can be compiled and say of random numbers what the steps say."""
    try:
        from harness.model.generation import kernels

        random = torch.Generator(device).manual_seed(0)

        def numbers(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=random, device=device).to(dtype)

        gate, up, weight = numbers(50, 100), numbers(50, 100), numbers(100)
        states, angles = numbers(2, 7, 3, 64).transpose(1, 2), numbers(2, 2, 1, 7, 64)
        one, other = ((numbers(1, 7, 3, 64).transpose(1, 2), numbers(1, 3, 7, 1).float()) for _ in range(2))
        pairs = [
            (kernels.gate(gate.clone(), up), gated_step_by_step(gate, up)),
            (kernels.scale(gate.clone(), weight), gate * weight),
            (kernels.rotate(states, *angles), rotated_step_by_step(states, *angles)),
            (kernels.join(one[0].clone(), one[1], *other), joined_step_by_step(one, other)),
        ]
        return kernels if all(torch.equal(said, expected) for said, expected in pairs) else None
    except Exception:  # whatever is missing for it, torch needs none of it
        return None

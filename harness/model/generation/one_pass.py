"""Steps of a layer between its products, in one pass through memory where a kernel of ours does it (`kernels`).

So it is on GPUs, in half precision, of so many numbers that reading and writing them is what takes the time.
Elsewhere, and where nothing can be compiled, torch does the same step by step: which of them did it no number tells.
The kernels of a device are asked for when much has been computed without them, since it takes seconds to make them
ready, and are tried first, on random numbers against the steps.

One H200, torch 2.11, bfloat16, 7,040 tokens of a 70B shape: a gated feed-forward's step 0.51 ms and 0.31 ms by its
kernel, a rotation of queries 0.51 and 0.07, a norm's weight 0.16 and 0.06; two attentions of 2,560 tokens put together
0.26 and 0.04 (`python -m tests.one_pass_times`).

Knows nothing of models.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

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


Steps = Mapping[str, Callable[..., torch.Tensor]]
"""What does each step, by its name."""


def gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, written over the gate."""
    return _step("gate", gate, up, fits=gate.is_contiguous() and up.is_contiguous())


def scaled(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """states * weight, (..., width) and (width), written over the states."""
    return _step("scale", states, weight, fits=states.is_contiguous() and weight.is_contiguous())


def rotated(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Halves of (rows, heads, positions, width), turned by angles of (rows or 1, 1, positions, width)."""
    alike = cos.shape == sin.shape and cos.stride() == sin.stride() and cos.shape[2] == states.shape[2]
    return _step("rotate", states, cos, sin, fits=alike and _are_lines(states, cos, sin))


def joined(one: Weighed, other: Weighed) -> torch.Tensor:
    """Attention to two parts of the keys, from that to each and the logs of their weights' sums.

    It may be written over that to the first.
    """
    (mine, my_weight), (others, other_weight) = one, other
    alike = mine.stride()[1:] == others.stride()[1:] and mine.dtype == others.dtype and len(mine) == 1
    weighed = all(each.stride(2) == 1 and each.dtype == torch.float32 for each in (my_weight, other_weight))
    fits = alike and weighed and _are_lines(mine, others)
    return _step("join", mine, my_weight, others, other_weight, fits=fits)


def gate_in_steps(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """`gated` as torch does it."""
    return nn.functional.silu(gate, inplace=True).mul_(up)


def scale_in_steps(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`scaled` as torch does it."""
    return states.mul_(weight)


def rotate_in_steps(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """`rotated` as torch does it."""
    half = states.shape[-1] // 2
    first, second = states[..., :half], states[..., half:]
    found = torch.empty_like(states)
    torch.mul(first, cos[..., :half], out=found[..., :half]).sub_(second * sin[..., :half])
    torch.mul(second, cos[..., half:], out=found[..., half:]).add_(first * sin[..., half:])
    return found


def join_in_steps(
    one: torch.Tensor, one_weight: torch.Tensor, other: torch.Tensor, other_weight: torch.Tensor
) -> torch.Tensor:
    """`joined` as torch does it."""
    share = torch.sigmoid(one_weight - other_weight)
    return torch.addcmul(one * share, other, 1 - share).to(one.dtype)


STEPS: Steps = MappingProxyType(
    {"gate": gate_in_steps, "scale": scale_in_steps, "rotate": rotate_in_steps, "join": join_in_steps}
)
"""As torch does them: what kernels are to say too."""


def _are_lines(*tensors: torch.Tensor) -> bool:
    """Whether the numbers of each place lie side by side in memory, a power of two of them."""
    width = tensors[0].shape[-1]
    return width & (width - 1) == 0 and all(each.stride(-1) == 1 and each.shape[-1] == width for each in tensors)


def _step(name: str, *tensors: torch.Tensor, fits: bool) -> torch.Tensor:
    """By the kernel of this name, if it knows tensors that lie so and there is one, or step by step."""
    first = tensors[0]
    kernels = _ready.kernels_for(first) if fits and len({each.device for each in tensors}) == 1 else None
    if kernels is not None:
        try:
            return kernels[name](*tensors)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # it is compiled for such sizes now, and whatever is missing for that, nothing is written yet
            _ready.give_up(first)
    return STEPS[name](*tensors)


@dataclass(slots=True)
class _Ready:
    """Kernels that were made ready, by device and dtype, `None` where there are none; of all threads of this process.

    `n_met` are numbers for which there might have been some.
    """

    n_met: int = 0
    known: dict[tuple[torch.device, torch.dtype], Steps | None] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def kernels_for(self, states: torch.Tensor) -> Steps | None:
        """Those for such states, or `None`."""
        if not states.is_cuda or states.dtype not in HALVES or states.numel() < WORTH_A_KERNEL:
            return None
        self.n_met += states.numel()
        # while a graph is captured nothing can be tried; and kernels know no gradients
        if self.n_met < MANY or torch.cuda.is_current_stream_capturing() or states.requires_grad:
            return None
        key = states.device, states.dtype
        with self.lock:
            if key not in self.known:
                try:
                    self.known[key] = _tried_kernels(*key)
                except torch.OutOfMemoryError:
                    return None
            return self.known[key]

    def give_up(self, states: torch.Tensor) -> None:
        """No more kernels for such states."""
        with self.lock:
            self.known[states.device, states.dtype] = None


_ready = _Ready()


def _tried_kernels(device: torch.device, dtype: torch.dtype) -> Steps | None:
    """Those of a device, if they can be compiled and say of random numbers what the steps say.

    Raises:
        torch.OutOfMemoryError: there is no memory to try them in.
    """
    try:
        from harness.model.generation.kernels import KERNELS

        same = all(
            torch.equal(KERNELS[name](*_copied(tensors)), STEPS[name](*_copied(tensors)))
            for name, tensors in _trials(device, dtype)
        )
    except torch.OutOfMemoryError:
        raise
    except Exception:  # whatever is missing for it, torch needs none of it
        return None
    return KERNELS if same else None


def _trials(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, tuple[torch.Tensor, ...]]]:
    """Steps, each with random numbers for it, which lie in memory as models have them."""
    random = torch.Generator(device).manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, device=device).to(dtype)

    yield "gate", (numbers(50, 100), numbers(50, 100))
    yield "scale", (numbers(50, 100), numbers(100))
    cos, sin = numbers(2, 2, 1, 7, 64)
    # of a projection of their own, and a part of one product
    for states in (numbers(2, 7, 3, 64), numbers(2, 7, 5, 64)[:, :, 1:4]):
        yield "rotate", (states.transpose(1, 2), cos, sin)
    one, other = (numbers(1, 7, 3, 64).transpose(1, 2) for _ in range(2))
    yield "join", (one, numbers(1, 3, 7, 1).float(), other, numbers(1, 3, 7, 1).float())


def _copied(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The same numbers, lying as they did: what is written over is somebody's."""
    copies = []
    for each in tensors:
        memory = each.new_empty(1 + sum((n - 1) * step for n, step in zip(each.shape, each.stride(), strict=True)))
        copies.append(memory.as_strided(each.shape, each.stride()).copy_(each))
    return copies

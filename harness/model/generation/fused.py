"""What a library writes out step by step, in fewer passes through memory.

An RMS norm (B. Zhang and R. Sennrich 2019, https://arxiv.org/abs/1910.07467) written out goes to float32, to squares,
their mean, its root, two products and back, each a pass over all hidden states. On GPUs torch's own `rms_norm` reads
them once and writes them once; where the library rounds before it multiplies by the weight, so is done here. On CPUs
that function is the same steps, and the root is found from the length of the hidden states, for which nothing is
written. A rotation (J. Su et al. 2021, https://arxiv.org/abs/2104.09864) written out copies its argument with halves
exchanged, makes two products and adds them; half by half nothing is copied. On GPUs every bit is the same; on CPUs
products are added as they are made, so the last bit may be another. A gated feed-forward (N. Shazeer 2020,
https://arxiv.org/abs/2002.05202) written out makes two more tensors of its inner width; all is written over the gate's.

One core, torch 2.13, SmolLM2's shape in float32, three prompts of 673 tokens side by side, CPU time a prompt: a norm
and the feed-forward after it 30.6 ms written out and 25.7 ms here, of which products at the core's speed are 22; a
rotation of queries 2.6 ms and 0.34 ms.

So it is done where this thread asks for it, on GPUs and, in float32, on CPUs; but never in float64, in which libraries
too compute norms in float32. For which modules and functions that is right is found by trying them on random numbers,
kind by kind: some norms add one to the weight, some rotate neighbours in place of halves. Knows no architectures by
name.
"""

import copy
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from harness.model.generation import one_pass
from harness.model.intervention.thread_hooks import replaced

EPSILONS = ("variance_epsilon", "eps")
"""What modules call the number that is added to the mean of squares."""

ROTATION = "apply_rotary_pos_emb"
"""What the library calls the function that rotates queries and keys, in the module of each of its models."""


SIZES, OF_A_SIZE = (1.0, 10.0, 100.0, 1e3, 1e4), 8
"""Of the random numbers that feed-forwards are tried on, and so many positions of each: products of the first are
finite in any dtype, and a bound shows by the others."""

GATED = ("gate_proj", "up_proj", "down_proj", "act_fn")
"""What the library calls the parts of a gated feed-forward."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of RMS norms: what modules of it call their epsilon, and whether they round before the weight too."""

    epsilon: str
    rounds_twice: bool

    def of(self, norm: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """What such a module says, in few passes."""
        weight, epsilon = norm.get_parameter("weight"), getattr(norm, self.epsilon)
        if _is_exact_on_cpu(hidden):
            length: torch.Tensor = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
            normed = hidden * length.square_().div_(len(weight)).add_(epsilon).rsqrt_()
            return normed.mul_(weight)
        if self.rounds_twice:
            return one_pass.scaled(nn.functional.rms_norm(hidden, weight.shape, None, epsilon), weight)
        return nn.functional.rms_norm(hidden, weight.shape, weight, epsilon)


_norms: WeakKeyDictionary[nn.Module, tuple[tuple[nn.Module, _Kind], ...]] = WeakKeyDictionary()
_gated: WeakKeyDictionary[nn.Module, tuple[tuple[nn.Module, bool], ...]] = WeakKeyDictionary()
_tried_gates: WeakKeyDictionary[nn.Module, bool | None] = WeakKeyDictionary()
_kinds: dict[type[nn.Module], _Kind | None] = {}


class _Asked(threading.local):
    """Whether this thread asks for it."""

    yes: bool = False


_asked = _Asked()


@contextmanager
def fused(module: nn.Module) -> Iterator[None]:
    """What is within this module in few passes, as this thread calls it, while the context is open."""
    before = _asked.yes
    with ExitStack() as standing_in:
        for norm, kind in norms_within(module):
            standing_in.enter_context(replaced(norm, partial(_by_kernel, norm, kind)))
        for gated, is_silu in _gated_within(module):
            standing_in.enter_context(replaced(gated, partial(_over_the_gate, gated, is_silu)))
        _asked.yes = True
        try:
            yield
        finally:
            _asked.yes = before


def may_be_fused(states: torch.Tensor) -> bool:
    """Whether it is worth it, and as exact."""
    return _is_exact_on_cpu(states) or (states.is_cuda and states.dtype != torch.float64)


def _is_exact_on_cpu(states: torch.Tensor) -> bool:
    """Whether it is computed on a CPU, and in float32, to which nothing is rounded in between."""
    return states.device.type == "cpu" and states.dtype == torch.float32


def replaced_within(module: nn.Module) -> list[nn.Module]:
    """The modules whose forward `fused` replaces."""
    return [norm for norm, _ in norms_within(module)] + [gated for gated, _ in _gated_within(module)]


def norms_within(module: nn.Module) -> tuple[tuple[nn.Module, _Kind], ...]:
    """The RMS norms within a module that one kernel may compute, each with its kind.

    The first time functions that rotate are made to ask whether they are to do so in few passes.
    """
    if module not in _norms:
        for library in {type(part).__module__ for part in module.modules()}:
            _let_rotate(sys.modules.get(library))
        found = ((part, _kind(part)) for part in module.modules())
        _norms[module] = tuple((part, kind) for part, kind in found if kind is not None)
    return _norms[module]


def _by_kernel(
    norm: nn.Module, kind: _Kind, own: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Of what is given alone, and is of the weight's dtype and where it is; else the module's own."""
    weight = norm.get_parameter("weight")
    if kwargs or len(args) != 1 or (args[0].dtype, args[0].device) != (weight.dtype, weight.device):
        return own(*args, **kwargs)
    return kind.of(norm, args[0])


def _kind(module: nn.Module) -> _Kind | None:
    """The kind of an RMS norm that the kernel may compute; `None` of any other module."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.dim() != 1 or not may_be_fused(weight):
        return None
    if type(module) not in _kinds:
        _kinds[type(module)] = next((found for name in EPSILONS if (found := _tried(module, name))), None)
    return _kinds[type(module)]


def _tried(module: nn.Module, name: str) -> _Kind | None:
    """The kind of a module whose epsilon has this name, if a copy with random weights says what such a kind does.

    Which of the two ways of rounding is its own, bfloat16 shows.
    """
    epsilon = getattr(module, name, None)
    if not isinstance(epsilon, float) or [*dict(module.named_parameters())] != ["weight"]:
        return None
    random = torch.Generator().manual_seed(0)
    trial = copy.deepcopy(module).to("cpu", torch.float32)
    weight = trial.get_parameter("weight")
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=random))
        # small, so that the epsilon shows
        hidden = torch.randn(64, *weight.shape, generator=random) * epsilon**0.5
        said, expected = trial(hidden), _Kind(name, False).of(trial, hidden)
        if not isinstance(said, torch.Tensor) or said.shape != expected.shape:
            return None
        if not torch.allclose(said, expected, rtol=1e-4):
            return None
        trial, hidden = trial.to(torch.bfloat16), hidden.to(torch.bfloat16)
        kinds = [_Kind(name, rounds_twice) for rounds_twice in (True, False)]
        return min(kinds, key=lambda kind: int((kind.of(trial, hidden) != trial(hidden)).sum()))


def _gated_within(module: nn.Module) -> tuple[tuple[nn.Module, bool], ...]:
    """The feed-forwards within a module that may be written over their gate's output, and whether they are SwiGLU."""
    if module not in _gated:
        for part in module.modules():
            # a layer's is its model's too
            if part not in _tried_gates:
                _tried_gates[part] = _is_silu(part) if _may_go_over_the_gate(part) else None
        found = ((part, _tried_gates[part]) for part in module.modules())
        _gated[module] = tuple((part, is_silu) for part, is_silu in found if is_silu is not None)
    return _gated[module]


def _over_the_gate(
    gated: nn.Module, is_silu: bool, own: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Down(act(gate(x)) * up(x)) of what is given alone: what a linear layer says is nobody else's, or it is hooked."""
    gate, up, down, activation = parts = [gated.get_submodule(name) for name in GATED]
    if kwargs or len(args) != 1 or not may_be_fused(args[0]) or any(map(_is_hooked, parts)):
        return own(*args, **kwargs)
    inner = gate(args[0])
    if is_silu and not _is_exact_on_cpu(inner):
        return down(one_pass.gated(inner, up(args[0])))
    # what is still in a CPU's caches is opened first
    inner = nn.functional.silu(inner, inplace=True) if is_silu else activation(inner)
    return down(inner.mul_(up(args[0])))


def _is_hooked(module: nn.Module) -> bool:
    """Whether somebody watches what is handed to a module, or what it says."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


@torch.no_grad()
def _may_go_over_the_gate(module: nn.Module) -> bool:
    """Whether a module has all of `GATED`, linear and worth it, and says of random numbers what they say so."""
    if not all(isinstance(getattr(module, name, None), nn.Module) for name in GATED):
        return False
    gate, up, down, activation = (module.get_submodule(name) for name in GATED)
    if not all(type(part) is nn.Linear and may_be_fused(part.weight) for part in (gate, up, down)):
        return False
    hidden = _random_numbers(gate.get_parameter("weight"))
    handed: list[torch.Tensor] = []

    def note(own: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        handed.extend(args)
        return own(*args, **kwargs)

    # not as others call it, whose hooks would see random numbers
    with replaced(down, note):
        said = module.forward(hidden)
    inner = activation(gate(hidden)) * up(hidden)
    # numbers that are too large for a dtype are none on both sides, one by one within, and all of a position behind
    return (
        bool(inner[:, :OF_A_SIZE].isfinite().all())
        and _are_equal(handed, [inner])
        and isinstance(said, torch.Tensor)
        and _are_equal([said], [down(inner)])
    )


def _are_equal(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    """To the last bit; what is no number equals what is none."""
    return len(some) == len(others) and all(
        torch.allclose(one, other, rtol=0, atol=0, equal_nan=True) for one, other in zip(some, others, strict=True)
    )


@torch.no_grad()
def _is_silu(gated: nn.Module) -> bool:
    activation = gated.get_submodule(GATED[-1])
    hidden = _random_numbers(gated.get_submodule(GATED[0]).get_parameter("weight"))
    return torch.equal(activation(hidden), nn.functional.silu(hidden))


def _random_numbers(weight: torch.Tensor) -> torch.Tensor:
    """What may be fed to a weight, of all `SIZES`: (1, positions, width)."""
    random, sizes = torch.Generator().manual_seed(0), torch.tensor(SIZES).repeat_interleave(OF_A_SIZE)
    numbers = torch.randn(1, len(sizes), weight.shape[1], generator=random) * sizes[:, None]
    return numbers.to(weight.device, weight.dtype)


def _let_rotate(library: Any) -> None:
    """Put before a library's rotation, where it is that of halves, the question how it is to be done.

    The function is a global of the model's module: attention functions are given queries and keys that were rotated by
    it, and transformers' own way to stand in for it (`use_kernelized_func`) asks for the package kernels, knows half of
    the models, and is for all threads.
    """
    own = getattr(library, ROTATION, None)
    if own is not None and not isinstance(own, _Rotation) and _rotates_halves(own):
        setattr(library, ROTATION, _Rotation(own))


class _Rotation:
    """Rotates queries and keys: (rows, heads, positions, width) by (rows, positions, width)."""

    def __init__(self, own: Callable[..., Any]) -> None:
        self._own = own

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        alike = {each.dtype for each in (query, key, cos, sin)} == {query.dtype}
        whole = query.shape[-1] == key.shape[-1] == cos.shape[-1]
        if not (_asked.yes and alike and whole and may_be_fused(query)) or args or kwargs:
            return self._own(query, key, cos, sin, *args, **kwargs)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        rotate = _rotated_in_place if _is_exact_on_cpu(query) else one_pass.rotated
        if query.shape[2] > 1:
            return rotate(query, cos, sin), rotate(key, cos, sin)
        # of one position a call takes longer than what it computes: both at once
        both = rotate(torch.cat([query, key], dim=1), cos, sin)
        return torch.split(both, [query.shape[1], key.shape[1]], dim=1)


def _rotated_in_place(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """As `one_pass.rotated`, with nothing written in between; a product may be added before it is rounded."""
    half = states.shape[-1] // 2
    rotated = states * cos
    rotated[..., :half].addcmul_(states[..., half:], sin[..., :half], value=-1)
    rotated[..., half:].addcmul_(states[..., :half], sin[..., half:])
    return rotated


def _rotates_halves(own: Callable[..., Any]) -> bool:
    """Whether a function says of random numbers what `one_pass.rotated` does."""
    random = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, heads, 3, 8, generator=random) for heads in (4, 2))
    cos, sin = (torch.randn(2, 3, 8, generator=random) for _ in range(2))
    try:
        said = own(query, key, cos, sin)
    except Exception:  # whatever else it expects, it is another rotation
        return False
    expected = [one_pass.rotate_in_steps(each, cos.unsqueeze(1), sin.unsqueeze(1)) for each in (query, key)]
    return (
        isinstance(said, tuple)
        and len(said) == len(expected)
        and all(torch.equal(one, other) for one, other in zip(said, expected, strict=True))
    )

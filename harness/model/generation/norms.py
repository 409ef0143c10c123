"""RMS norms by one kernel (B. Zhang and R. Sennrich 2019, https://arxiv.org/abs/1910.07467).

A library writes such a norm out: to float32, squares, their mean, its root, two products and back, each a pass over all
hidden states through memory. Torch's own `rms_norm` reads them once and writes them once, and rounds once where the
library does twice. So in half precision on GPUs it stands in for the modules that it says the same as; in float32 and
float64 nothing is changed.

Which modules these are is found by trying a copy with random weights, kind by kind: some norms add one to the weight,
or subtract a mean. Knows no architectures by name.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from harness.model.generation.attention import HALVES
from harness.model.intervention.thread_hooks import replaced

EPSILONS = ("variance_epsilon", "eps")
"""What modules call the number that is added to the mean of squares."""

_norms: WeakKeyDictionary[nn.Module, tuple[tuple[nn.Module, float], ...]] = WeakKeyDictionary()
_kinds: dict[type[nn.Module], str | None] = {}


def norms_within(module: nn.Module) -> tuple[tuple[nn.Module, float], ...]:
    """The RMS norms within a module that one kernel may compute, each with its epsilon."""
    if module not in _norms:
        found = ((part, _epsilon(part)) for part in module.modules())
        _norms[module] = tuple((part, epsilon) for part, epsilon in found if epsilon is not None)
    return _norms[module]


@contextmanager
def fused_norms(module: nn.Module) -> Iterator[None]:
    """These by that kernel, as this thread calls them, while the context is open."""
    with ExitStack() as standing_in:
        for norm, epsilon in norms_within(module):
            standing_in.enter_context(replaced(norm, partial(_by_kernel, norm, epsilon)))
        yield


def _by_kernel(
    norm: nn.Module, epsilon: float, own: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Of what is given alone, and is of the weight's dtype; else the module's own."""
    weight = norm.get_parameter("weight")
    if kwargs or len(args) != 1 or args[0].dtype != weight.dtype:
        return own(*args, **kwargs)
    return nn.functional.rms_norm(args[0], weight.shape, weight, epsilon)


def _epsilon(module: nn.Module) -> float | None:
    """The epsilon of an RMS norm that the kernel may compute; `None` of any other module."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or not may_be_fused(weight):
        return None
    kind = type(module)
    if kind not in _kinds:
        _kinds[kind] = next((name for name in EPSILONS if _says_the_same(module, name)), None)
    name = _kinds[kind]
    return None if name is None else float(getattr(module, name))


def may_be_fused(weight: torch.Tensor) -> bool:
    """Whether a norm of this weight is worth it: one number for each of the last dimension's, on a GPU."""
    return weight.dim() == 1 and weight.is_cuda and weight.dtype in HALVES


def _says_the_same(module: nn.Module, name: str) -> bool:
    """Whether a copy of the module with random weights says what torch's function does; `name` is its epsilon's."""
    epsilon = getattr(module, name, None)
    if not isinstance(epsilon, float) or [*dict(module.named_parameters())] != ["weight"]:
        return False
    random = torch.Generator().manual_seed(0)
    trial = copy.deepcopy(module).to("cpu", torch.float32)
    weight = trial.get_parameter("weight")
    (width,) = weight.shape
    with torch.no_grad():
        weight.copy_(torch.randn(width, generator=random))
        # small, so that the epsilon shows
        hidden = torch.randn(3, width, generator=random) * epsilon**0.5
        said, expected = trial(hidden), nn.functional.rms_norm(hidden, (width,), weight, epsilon)
    return isinstance(said, torch.Tensor) and said.shape == expected.shape and torch.allclose(said, expected, rtol=1e-4)

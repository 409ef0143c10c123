"""Ablation: chosen heads' parts of the attention output projections' input are zero while a context is open.

What is zeroed: for head `h` of width `w`, columns `h x w` to `(h + 1) x w` of the tensor that enters the
layer's output projection; at every position, in prefill and decoding; for each row of the batch its own
heads. So the head adds nothing to the residual stream, while its keys, values and attention are computed as
ever. Weights and the caller's tensors stay untouched. The result is that of the same model with the head's
part of the projection's weight set to zero.

Zeroing is assignment, never multiplication (0 x inf is nan). Every ablation checks itself: each hook fired,
and what each projection really read was exactly zero there, measured behind all other hooks.

Knows nothing of architectures, prompts or tokens.
"""

import weakref
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import nn

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.model.architectures import AttentionOutput

# Projections of every open ablation. Two at once on one model would measure neither.
_in_use: weakref.WeakSet[nn.Module] = weakref.WeakSet()

HookInput = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a module's call, as torch hands them to a hook."""


class Ablation:
    """A context in which row `i` of each batch runs without the heads of `head_sets[i]`.

    `outputs` are all of the model's projections, as `attention_outputs` gives them: an open ablation claims
    the whole model. One head set alone serves every row of any batch; an empty one ablates nothing. Hooks
    are put on those projections only that lose a head in some row, and are gone on every way out.

    After leaving, `fired` maps each hooked layer to the number of forward calls it saw. An object is entered
    once.

    Raises:
        AblationError: no head set, or a layer or head that the model has not; entered twice, or while another
            ablation of this model is open; within, a batch of another size than `head_sets` or an input that
            is not (rows, positions, n_heads x head_dim); on leaving, a hook that never fired, or a slice
            that was not exactly zero (an exception on its way out is never masked by these two).
    """

    def __init__(self, outputs: Sequence[AttentionOutput], head_sets: Sequence[Collection[Head]]) -> None:
        self._outputs = {output.layer: output for output in outputs}
        self._zeroings = _zeroings(self._outputs, head_sets)
        self._exits = ExitStack()
        self._entered = False

    @property
    def fired(self) -> Mapping[int, int]:
        """Forward calls that each hooked layer saw."""
        return {zeroing.output.layer: zeroing.fired for zeroing in self._zeroings}

    def __enter__(self) -> "Ablation":
        if self._entered:
            raise AblationError("ablation: entered a second time; expected once; make a new one")
        busy = next((output for output in self._outputs.values() if output.module in _in_use), None)
        if busy is not None:
            raise AblationError(
                f"{busy.name}: another ablation of this model is open; expected one at a time; leave it first"
            )
        self._entered = True
        for output in self._outputs.values():
            _in_use.add(output.module)
            self._exits.callback(_in_use.discard, output.module)
        try:
            for zeroing in self._zeroings:
                module = zeroing.output.module
                before = module.register_forward_pre_hook(zeroing.zero, with_kwargs=True)
                self._exits.callback(before.remove)
                after = module.register_forward_hook(zeroing.check, with_kwargs=True)
                self._exits.callback(after.remove)
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()
        if kind is None:
            for zeroing in self._zeroings:
                zeroing.check_whole_run()


class _Zeroing:
    """What one projection loses: the hook that zeroes and the hook that checks."""

    def __init__(self, output: AttentionOutput, columns: torch.Tensor) -> None:
        self.output = output
        self.fired = 0
        # (rows, width), true where a head is ablated; one copy on each device that a tensor came from
        self._columns = {columns.device: columns}
        # counts of nonzero elements, kept on their devices: reading them in a hook would wait for the device
        self._nonzero: dict[torch.device, torch.Tensor] = {}

    def zero(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HookInput:
        """Pre-hook: the same call with the ablated columns of a copy of its tensor zero."""
        hidden, keyword = self._input(args, kwargs)
        self.fired += 1
        zeroed = hidden.masked_fill(self._ablated(hidden), 0)
        return ((zeroed,), {}) if keyword is None else ((), {keyword: zeroed})

    def check(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        """Hook behind the call: count what the projection read in ablated columns and was not zero."""
        hidden, _ = self._input(args, kwargs)
        # nan counts as nonzero
        nonzero = torch.count_nonzero(torch.where(self._ablated(hidden), hidden, 0))
        known = self._nonzero.get(hidden.device)
        self._nonzero[hidden.device] = nonzero if known is None else known + nonzero

    def check_whole_run(self) -> None:
        """Raise unless the hook fired and all that it should have zeroed was zero."""
        if self.fired == 0:
            raise AblationError(
                f"{self.output.name}: its hook never fired; expected a forward call in the ablation; is the "
                "layer skipped, or its projection called past its module?"
            )
        nonzero = sum(int(count) for count in self._nonzero.values())
        if nonzero or not self._nonzero:
            raise AblationError(
                f"{self.output.name}: {nonzero} nonzero elements entered it in ablated heads over "
                f"{self.fired} calls; expected exactly 0; does another hook write to the same input?"
            )

    def _input(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[torch.Tensor, str | None]:
        """The one tensor of a call, and its name where it is a keyword."""
        tensors = [*args, *kwargs.values()]
        if len(tensors) != 1 or not isinstance(tensors[0], torch.Tensor):
            raise AblationError(
                f"{self.output.name}: called with {[type(value).__name__ for value in tensors]}; expected one tensor"
            )
        return tensors[0], next(iter(kwargs), None)

    def _ablated(self, hidden: torch.Tensor) -> torch.Tensor:
        """The mask for this input, on its device: (rows or 1, 1, width)."""
        columns = self._columns.get(hidden.device)
        if columns is None:
            columns = next(iter(self._columns.values())).to(hidden.device)
            self._columns[hidden.device] = columns
        rows, width = columns.shape
        if hidden.dim() != 3 or hidden.shape[2] != width or rows not in (1, hidden.shape[0]):
            raise AblationError(
                f"{self.output.name}: input of shape {tuple(hidden.shape)}; expected "
                f"({'any' if rows == 1 else rows} rows, any positions, width {width}): one head set for each "
                "row"
            )
        return columns[:, None, :]


def _zeroings(outputs: Mapping[int, AttentionOutput], head_sets: Sequence[Collection[Head]]) -> tuple[_Zeroing, ...]:
    """One for each layer that loses a head in some row."""
    if not head_sets:
        raise AblationError("ablation: no head set; expected one for each row, empty where nothing is ablated")
    columns: dict[int, torch.Tensor] = {}
    for row, heads in enumerate(head_sets):
        for head in heads:
            output = outputs.get(head.layer)
            if output is None:
                raise AblationError(
                    f"head set {row}: layer {head.layer}, but the model has {len(outputs)} layers "
                    f"({min(outputs)}-{max(outputs)})"
                )
            if head.head >= output.n_heads:
                raise AblationError(
                    f"head set {row}: head {head.head} of layer {head.layer}, but the model has "
                    f"{output.n_heads} heads a layer (0-{output.n_heads - 1})"
                )
            width = output.n_heads * output.head_dim
            mask = columns.setdefault(head.layer, torch.zeros(len(head_sets), width, dtype=torch.bool))
            mask[row, head.head * output.head_dim : (head.head + 1) * output.head_dim] = True
    return tuple(_Zeroing(outputs[layer], columns[layer]) for layer in sorted(columns))

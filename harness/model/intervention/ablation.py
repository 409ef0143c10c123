"""Ablation: chosen heads' parts of the attention output projections' input are replaced while a context is open.

What is replaced: for head `h` of width `w`, columns `h x w` to `(h + 1) x w` of the tensor that enters the
layer's output projection; at every position, in prefill and decoding, or from one position on; for each row of
the batch its own heads. By default by 0: the head adds nothing to the residual stream, while its keys, values
and attention are computed as ever, and the result is that of the same model with the head's part of the
projection's weight set to zero. Weights and the caller's tensors stay untouched.

Replacing is selection, never arithmetic (0 x inf is nan). Every ablation checks itself: each hook fired, and
what each projection really read was exactly the replacement there, measured after all other hooks.

Knows nothing of architectures, prompts or tokens, nor of what is put in place (`projection_input`).
"""

import threading
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import nn

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.model.intervention.projection_input import ZERO, HookInput, Replacement, as_call, projection_input
from harness.model.intervention.thread_hooks import hooked
from harness.model.loading.architectures import AttentionOutput
from harness.model.loading.devices import uploaded


class _InUse(threading.local):
    """Projections of every model that is claimed in a thread: its hooks are no other's.

    Two ablations at once of one model in one thread would measure neither.
    """

    def __init__(self) -> None:
        self.modules: weakref.WeakSet[nn.Module] = weakref.WeakSet()


_in_use = _InUse()


def check_free(outputs: Sequence[AttentionOutput]) -> None:
    """Raise an AblationError while an ablation of this model is open in this thread."""
    busy = next((output for output in outputs if output.module in _in_use.modules), None)
    if busy is not None:
        raise AblationError(
            f"{busy.name}: another ablation of this model is open; expected one at a time; leave it first"
        )


@contextmanager
def claimed(outputs: Sequence[AttentionOutput]) -> Iterator[None]:
    """The whole model, as this thread runs it, for one context alone.

    Raises:
        AblationError: an ablation of it is open.
    """
    check_free(outputs)
    modules = [output.module for output in outputs]
    _in_use.modules.update(modules)
    try:
        yield
    finally:
        _in_use.modules.difference_update(modules)


def check_heads(outputs: Sequence[AttentionOutput], head_sets: Sequence[Collection[Head]]) -> None:
    """Raise an AblationError that names the first head that the model has not."""
    known = {output.layer: output for output in outputs}
    for row, heads in enumerate(head_sets):
        for head in heads:
            output = known.get(head.layer)
            if output is None:
                raise AblationError(
                    f"head set {row}: layer {head.layer}, but the model has {len(known)} layers "
                    f"({min(known)}-{max(known)})"
                )
            if head.head >= output.n_heads:
                raise AblationError(
                    f"head set {row}: head {head.head} of layer {head.layer}, but the model has "
                    f"{output.n_heads} heads a layer (0-{output.n_heads - 1})"
                )


class Ablation:
    """A context in which row `i` of each batch runs without the heads of `head_sets[i]`.

    `outputs` are all of the model's projections, as `attention_outputs` gives them: an open ablation claims
    the whole model in its thread, and acts in that one alone. One head set alone serves every row of any
    batch; an empty one ablates nothing. Hooks are put on those projections only that lose a head in some row,
    and are gone on every way out.

    `replacement` says what the heads put out instead, from position `first` on. `start` is the position of the next
    call's first token, which matters where either depends on positions: whoever feeds tokens sets it before each
    forward call.

    After leaving, `fired` maps each hooked layer to the number of forward calls it saw. An object is entered
    once.

    Raises:
        AblationError: no head set, or a layer or head that the model has not; entered twice, or while another
            ablation of this model is open; within, a batch of another size than `head_sets` or an input that
            is not (rows, positions, n_heads x head_dim); on leaving, a hook that never fired, or a slice
            that was not exactly the replacement (an exception on its way out is never masked by these two).
    """

    def __init__(
        self,
        outputs: Sequence[AttentionOutput],
        head_sets: Sequence[Collection[Head]],
        replacement: Replacement = ZERO,
        *,
        first: int = 0,
    ) -> None:
        self.replacement = replacement
        self.first = first
        self.start = 0
        if not head_sets:
            raise AblationError("ablation: no head set; expected one for each row, empty where nothing is ablated")
        check_heads(outputs, head_sets)
        self._outputs = outputs
        of_layer = {output.layer: output for output in outputs}
        self._swaps = [
            _Swap(self, of_layer[layer], columns)
            for layer, columns in sorted(_ablated_columns(of_layer, head_sets).items())
        ]
        self._exits = ExitStack()
        self._entered = False

    @property
    def fired(self) -> Mapping[int, int]:
        """Forward calls that each hooked layer saw."""
        return {swap.output.layer: swap.fired for swap in self._swaps}

    def replayed(self, n_calls: int) -> None:
        """Count calls whose hooks were captured in a graph and did not run themselves."""
        for swap in self._swaps:
            swap.fired += n_calls

    def __enter__(self) -> "Ablation":
        if self._entered:
            raise AblationError("ablation: entered a second time; expected once; make a new one")
        self._exits.enter_context(claimed(self._outputs))
        self._entered = True
        try:
            self._exits.enter_context(self.replacement.watching([swap.output.layer for swap in self._swaps]))
            for swap in self._swaps:
                self._exits.enter_context(hooked(swap.output.module, swap.replace, swap.check))
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
            for swap in self._swaps:
                swap.check_whole_run()
            self.replacement.check()


class _Swap:
    """One projection's two hooks: the one that replaces what it reads, and the one that checks this."""

    def __init__(self, ablation: Ablation, output: AttentionOutput, columns: torch.Tensor) -> None:
        self.output = output
        self.fired = 0
        self._ablation = ablation
        # (rows, width), true where a head is ablated; one copy on each device that a tensor came from
        self._columns = {columns.device: columns}
        # what the call under way should read, and where: both (rows or 1, positions or 1, width)
        self._expected: tuple[torch.Tensor, torch.Tensor] | None = None
        # counts of other elements, kept on their devices: reading them in a hook would wait for the device
        self._others: dict[torch.device, torch.Tensor] = {}

    def replace(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HookInput:
        """Pre-hook: the same call with the ablated columns of a copy of its tensor replaced."""
        hidden, keyword = projection_input(self.output, args, kwargs)
        self.fired += 1
        ablated = self._ablated(hidden)
        values = self._ablation.replacement.values(self.output, self._ablation.start, hidden)
        self._expected = ablated, values
        return as_call(torch.where(ablated, values, hidden), keyword)

    def check(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        """Hook after the call: count what the projection read in ablated columns and was not the replacement."""
        hidden, _ = projection_input(self.output, args, kwargs)
        assert self._expected is not None
        ablated, values = self._expected
        self._expected = None
        # nan is never equal
        others = torch.count_nonzero((hidden != values.to(hidden.device)) & ablated.to(hidden.device))
        known = self._others.get(hidden.device)
        if known is None:
            self._others[hidden.device] = others
        else:
            known += others  # in place: a captured graph adds to the same tensor

    def check_whole_run(self) -> None:
        """Raise unless the hook fired and all that it should have replaced was replaced."""
        if self.fired == 0:
            raise AblationError(
                f"{self.output.name}: its hook never fired; expected a forward call in the ablation; is the "
                "layer skipped, or its projection called past its module?"
            )
        others = sum(int(count) for count in self._others.values())
        if others or not self._others:
            raise AblationError(
                f"{self.output.name}: {others} other elements entered it in ablated heads over {self.fired} calls; "
                f"expected exactly {self._ablation.replacement.name}; does another hook write to the same input?"
            )

    def _ablated(self, hidden: torch.Tensor) -> torch.Tensor:
        """The mask for this input, on its device: (rows or 1, positions or 1, width)."""
        columns = self._columns.get(hidden.device)
        if columns is None:
            columns = uploaded(next(iter(self._columns.values())), hidden.device)
            self._columns[hidden.device] = columns
        rows, width = columns.shape
        if rows not in (1, hidden.shape[0]):
            raise AblationError(
                f"{self.output.name}: input of shape {tuple(hidden.shape)}; expected ({rows} rows, any positions, "
                f"width {width}): one head set for each row"
            )
        before = self._ablation.first - self._ablation.start
        if before <= 0:
            return columns[:, None, :]
        return columns[:, None, :] & (torch.arange(hidden.shape[1], device=hidden.device) >= before)[:, None]


def _ablated_columns(
    outputs: Mapping[int, AttentionOutput], head_sets: Sequence[Collection[Head]]
) -> dict[int, torch.Tensor]:
    """For each layer that loses a head in some row the columns that each row loses: (rows, width)."""
    lost: dict[int, list[tuple[int, int]]] = {}
    for row, heads in enumerate(head_sets):
        for head in heads:
            lost.setdefault(head.layer, []).append((row, head.head))
    columns: dict[int, torch.Tensor] = {}
    for layer, pairs in lost.items():
        rows, numbers = torch.tensor(pairs).T
        of_heads = torch.zeros(len(head_sets), outputs[layer].n_heads, dtype=torch.bool)
        of_heads[rows, numbers] = True
        columns[layer] = of_heads.repeat_interleave(outputs[layer].head_dim, dim=1)
    return columns

"""What a benchmark measures beside time: how fast a device is at best, passes through layers, and the peak of memory.

A benchmark that says "half of what the card can do" needs a device's speed (large matrix products, and copies of
memory) from the same minutes as its own figures. At best is one product after a pause; a GPU whose power or heat is
limited clocks down under products without a pause, which is what reading long prompts is, so there what it holds is
measured too.

A pass over more positions than an answer has is prefill; anything shorter reads weights and caches for a few tokens,
as decoding and the checking of drafts do. Passes are seen after the output projection, where conditions
have parted; where a layer is run for its keys and values alone, its projection is not reached and nothing is counted.
Counting costs a Python call a layer. Knows nothing of conditions.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from harness.experiment.cost import Speed
from harness.model.loading.loaded_model import LoadedModel

REPEATS = 7
GPU_SIDE, CPU_SIDE = 8192, 1024
"""Rows and columns of the matrices that are multiplied."""
GPU_BYTES, CPU_BYTES = 2**31, 2**28
"""Bytes that are copied; far more than any cache holds."""
PAUSE_SECONDS = 1.0
"""Of a GPU, before its best is measured: until then it may still be as slow as what came before has made it."""
HELD_SECONDS = 2.0
"""Seconds of products before those that are measured, and of these: clocks settle within one."""


def measure_speed(device: torch.device, dtype: torch.dtype) -> Speed:
    """The best of several: 2 n^3 operations of an n x n product; bytes read plus bytes written of a copy."""
    on_gpu = device.type == "cuda"
    multiply, flops = _product(device, dtype)
    if on_gpu:
        finish(device)
        time.sleep(PAUSE_SECONDS)
    seconds = _best(multiply, device)
    source = torch.zeros(GPU_BYTES if on_gpu else CPU_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_seconds = _best(lambda: target.copy_(source), device)
    return Speed(flops=flops / seconds, bandwidth=2 * source.numel() / copy_seconds)


def measure_held_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations a second of the same products one behind the other for `HELD_SECONDS`, after as many seconds of them.

    `None` on a CPU, where nothing but other work slows them down.
    """
    if device.type != "cuda":
        return None
    multiply, flops = _product(device, dtype)
    n_products = max(1, int(HELD_SECONDS / _best(multiply, device)))
    for _ in range(2):
        began = time.perf_counter()
        for _ in range(n_products):
            multiply()
        finish(device)
        seconds = time.perf_counter() - began
    return n_products * flops / seconds


def _product(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """What multiplies two n x n matrices of random numbers, and the 2 n^3 operations that it takes."""
    side = GPU_SIDE if device.type == "cuda" else CPU_SIDE
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty(side, side, device=device, dtype=dtype)
    return lambda: torch.mm(left, right, out=product), 2.0 * side**3


def finish(device: torch.device) -> None:
    """Wait until a device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _best(work: Callable[[], object], device: torch.device) -> float:
    work()  # kernels are chosen, and memory is taken, at the first call
    finish(device)
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        finish(device)
        best = min(best, time.perf_counter() - began)
    return best


class LayerCounter:
    """Context manager over a model's output projections, and its steps that are replayed as one graph.

    `prefill_passes` are prompts of `n_prompt` tokens through one layer, what is filled up and what is read of one
    counted by its tokens; `short_calls` the calls over at most `most_short` positions (by default all that are fewer
    than a prompt's), and `short_rows` their rows, one layer at a time.
    """

    def __init__(self, loaded: LoadedModel, n_prompt: float, most_short: float | None = None) -> None:
        self.prefill_passes = 0.0
        self.short_calls = 0
        self.short_rows = 0
        self._loaded = loaded
        self._n_prompt = n_prompt
        self._most_short = n_prompt - 1 if most_short is None else most_short
        self._hooks = ExitStack()

    @property
    def steps(self) -> float:
        """Short passes through the whole model; a part of it counts as a part."""
        return self.short_calls / len(self._loaded.outputs)

    @property
    def step_rows(self) -> float:
        """Rows of all steps together."""
        return self.short_rows / len(self._loaded.outputs)

    def __enter__(self) -> Self:
        for output in self._loaded.outputs:
            self._hooks.callback(output.module.register_forward_hook(self._note).remove)
        self._loaded.replay_hooks.append(self._note_replay)
        self._hooks.callback(self._loaded.replay_hooks.remove, self._note_replay)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.close()

    def _note_replay(self, n_rows: int) -> None:
        self.short_calls += len(self._loaded.outputs)
        self.short_rows += len(self._loaded.outputs) * n_rows

    def _note(self, module: nn.Module, args: tuple[Any, ...], projected: torch.Tensor) -> None:
        rows, positions = projected.shape[:2]
        if positions > self._most_short:
            self.prefill_passes += rows * positions / self._n_prompt
        else:
            self.short_calls += 1
            self.short_rows += rows


_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """Context manager that measures the most memory held inside it, in `bytes`, what was held before included.

    On a GPU that is what torch has allocated there; on a CPU the process' resident memory, which Linux alone can
    start counting anew (https://docs.kernel.org/filesystems/proc.html, `clear_refs`); elsewhere `bytes` is `None`.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes: int | None = None
        self._device = device

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif _CLEAR_REFS.exists():
            _CLEAR_REFS.write_text("5")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device)
        elif _CLEAR_REFS.exists():
            peak = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
            self.bytes = int(peak.split()[1]) * 1024

"""What a benchmark measures beside time: passes through layers, and the peak of memory.

A pass over more positions than an answer has is prefill; anything shorter reads weights and caches for a few tokens,
as decoding and the checking of drafts do. Passes are seen after the output projection, where conditions
have parted; where a layer is run for its keys and values alone, its projection is not reached and nothing is counted.
Counting costs a Python call a layer. Knows nothing of conditions.
"""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from harness.model.loading.loaded_model import LoadedModel


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

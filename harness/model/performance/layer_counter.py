"""Counts the passes through a model's layers, for whoever asks what a way of computing costs.

A pass over as many positions as a prompt is prefill; anything shorter reads weights and caches for a few tokens, as
decoding and the checking of drafts do. Passes are seen after the output projection, where conditions
have parted; where a layer is run for its keys and values alone, its projection is not reached and nothing is counted.

Counting costs a Python call a layer, so time is taken without it. Knows nothing of conditions.
"""

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from harness.model.loading.loaded_model import LoadedModel


class LayerCounter:
    """Context manager over a model's output projections, and its steps that are replayed as one graph.

    `prefill_passes` are rows of prompts through one layer; `short_calls` the calls over fewer positions, and
    `short_rows` their rows, one layer at a time.
    """

    def __init__(self, loaded: LoadedModel, n_prompt: int) -> None:
        self.prefill_passes = 0
        self.short_calls = 0
        self.short_rows = 0
        self._loaded = loaded
        self._n_prompt = n_prompt
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
        if positions >= self._n_prompt:
            self.prefill_passes += rows
        else:
            self.short_calls += 1
            self.short_rows += rows

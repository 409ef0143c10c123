"""Prompts that were read wait for each other behind what they begin with, to be answered together.

On a GPU a decoding step takes about as long for the conditions of several prompts as for those of one. But where
prompts are read one after the other behind a common front, the next is written over the one before: what each holds
behind the front is put aside, until as many wait as fit.

Knows nothing of how prompts are read, of how they are answered, or how many fit.
"""

from collections.abc import Sequence

import torch

from harness.model.generation.answering import answer_together
from harness.model.generation.node_cache import NodeLayer
from harness.model.generation.row_answers import ReadPrompt
from harness.model.generation.shared_prompt import SharedPrompt
from harness.model.loading.loaded_model import LoadedModel


class Aside:
    """Memory for what prompts hold behind a common front: that of one after the other lies side by side in each layer.

    There is room for `n_prompts` at once, of at most `n_rows` nodes in each layer and `most` positions.
    """

    def __init__(self, front: SharedPrompt, n_prompts: int, n_rows: Sequence[int], most: int) -> None:
        self.n_prompts = n_prompts
        self._front = front
        self._n_rows = n_rows
        self._layers = [NodeLayer(most) for _ in n_rows]
        # rows that are taken, in each layer
        self._taken = [0] * len(n_rows)

    def is_behind(self, prompt: SharedPrompt) -> bool:
        """Whether it holds anything behind the front."""
        return prompt.n_held > self._front.n_held + 1

    def put(self, prompt: SharedPrompt) -> SharedPrompt:
        """The prompt, read behind the front and its first draft followed: the front's memory is free for another."""
        n_front = self._front.n_held + 1
        parts = [self._part(layer, held) for layer, held in enumerate(prompt.layers)]
        for part, held in zip(parts, prompt.layers, strict=True):
            part.update(*(each[:, :, n_front : held.length] for each in held.buffers()))
        return SharedPrompt(prompt.tree, parts, prompt.n_held, None, self._front)

    def clear(self) -> None:
        """What was put here is answered."""
        self._taken = [0] * len(self._taken)

    def _part(self, layer: int, held: NodeLayer) -> NodeLayer:
        """The next rows of a layer, as many as these."""
        kept, n_rows = self._layers[layer], len(held.buffers()[0])
        if not kept.is_initialized:
            kept.make_room(*held.buffers(), self.n_prompts * self._n_rows[layer])
            for each in kept.buffers():
                # what is behind a prompt is read, though it counts nothing
                each.zero_()
        first = self._taken[layer]
        self._taken[layer] += n_rows
        return kept.rows(slice(first, first + n_rows))


class Waiting:
    """The prompts that wait; `most` is how many of them may."""

    def __init__(self, loaded: LoadedModel, most: int) -> None:
        self.most = most
        self._loaded = loaded
        self._reads: list[ReadPrompt] = []

    def __len__(self) -> int:
        return len(self._reads)

    def take(self, read: ReadPrompt, aside: Aside | None) -> None:
        """Answer a prompt that was read, or put it aside: not where all of it is the front."""
        if aside is None or not aside.is_behind(read.shared):
            answer_together(self._loaded, [read])
            return
        self._reads.append(read)
        read.read_gold(self._loaded)
        read.shared = aside.put(read.shared)
        if len(self._reads) == aside.n_prompts:
            self.answer(aside)

    @torch.inference_mode()
    def answer(self, aside: Aside | None) -> None:
        """Answer what was put aside."""
        if self._reads and aside is not None:
            answer_together(self._loaded, self._reads)
            self._reads.clear()
            aside.clear()

    def forget(self) -> None:
        """Those that wait are to be read once more."""
        self._reads.clear()

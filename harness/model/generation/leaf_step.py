"""Tokens fed for each leaf after what the prefix tree holds of its prompt, one or several (`node_attention`).

The model's own forward is run, and nothing in it changes shape from step to step: so a GPU can repeat it without the
CPU. The kernels of one step are captured (`torch.cuda.CUDAGraph`,
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) and replayed for all further ones: hundreds of calls
from Python become one. Hooks run in Python, so while a graph is replayed they do not: what they do to tensors was
captured with them, and how often it was done is told to the ablation by `replays`.

Knows nothing of what tokens mean.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import ArrayLike
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from harness.model.generation.attention import attention, sees_everything
from harness.model.generation.fused import fused
from harness.model.generation.node_attention import BIAS_STEP, COPIED_BYTES, TO_NODES, Arrangement, HeldLayers, bias_of
from harness.model.generation.node_cache import NodeLayer
from harness.model.generation.one_pass import HALVES
from harness.model.generation.room import free_memory
from harness.model.loading.devices import uploaded
from harness.model.loading.loaded_model import LoadedModel

PLAIN_STEPS = 1
"""Steps before one is captured, which takes about as long as one: kernels and memory are made ready in them."""

WORTH_CAPTURING = 3
"""Steps that may follow, at least, where one is captured."""

COPIED = 0.05
"""Of the memory that is free: keys and values that may be copied, of all layers, where that is more."""

CAPTURE_BYTES = 2**30
"""More than the intermediate results of one step take."""


def can_step_by_leaf(loaded: LoadedModel) -> bool:
    """Whether this model's tokens may be fed so: dense, sdpa, no windows, of a dtype and width that kernels know."""
    halves = loaded.model.dtype in HALVES
    fast = loaded.device.type == "cuda" and (loaded.shape.head_dim or 0) in range(8, 257, 8)
    return sees_everything(loaded) and (fast or not halves)


@dataclass(frozen=True, eq=False, slots=True)
class Held:
    """`length` positions of a prompt for some leaves: the rows `nodes[layer]` of layers, one for each leaf.

    Behind the last part of a prompt its layers may hold a draft.
    """

    layers: Sequence[NodeLayer]
    nodes: Sequence[Sequence[int]]
    length: int


class LeafStep:
    """Feeds tokens for the leaves of some prompts, again and again, after what nodes hold of these.

    Each prompt is given by its parts, one behind the other, as many for all. Their memory is only read; what is fed is
    written to memory of its own, `most` tokens a row, where a draft that layers hold is copied to first, unless it is
    `anew` that tokens are fed. `replays` counts the steps in which hooks did not run; of each the model's
    `replay_hooks` are told.
    """

    def __init__(
        self, loaded: LoadedModel, prompts: Sequence[Sequence[Held]], most: int, *, anew: bool = False
    ) -> None:
        if len({len(parts) for parts in prompts}) > 1:
            raise ValueError("a step by leaf needs prompts of as many parts")
        if any(len({layer.length for layer in parts[-1].layers}) > 1 for parts in prompts):
            raise ValueError("a step by leaf needs layers that hold as much")
        self.replays = 0
        self._loaded = loaded
        self._n_held = [sum(part.length for part in parts) for parts in prompts for _ in parts[0].nodes[0]]
        # of each layer its parts
        self._parts = [
            [_Memories([parts[number] for parts in prompts], layer) for number in range(len(prompts[0]))]
            for layer in range(len(loaded.outputs))
        ]
        self._most = most
        # a kernel reads a bias of as many places, and else every place costs
        places = most + -most % BIAS_STEP if self.keeps_shape else most
        self._tails = [_LeafLayer(parts[-1], places, anew=anew) for parts in self._parts]
        # of weights that lie elsewhere hooks move what is fed, or them
        devices = {parameter.device for parameter in loaded.model.parameters()}
        self._captures = {device.type for device in devices} == {"cuda"} and len(devices) == 1
        self._begin()

    @property
    def n_held(self) -> int:
        """How many positions of the first row's prompt are held."""
        return self._n_held[0]

    @property
    def keeps_shape(self) -> bool:
        """Whether rows stay to the end: where a call costs as much as what is computed in it."""
        return self._loaded.waits_for_launches

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self._n_held = [self._n_held[row] for row in rows]
        for parts, tail in zip(self._parts, self._tails, strict=True):
            for part in parts:
                part.keep(rows)
            tail.keep(rows)
        self._begin()

    def _begin(self) -> None:
        """With the rows that there are."""
        self._held = self._held_now()
        self._before = uploaded(torch.tensor(self._n_held), self._loaded.device)[:, None]
        # tokens, and where they stand
        self._fed = torch.zeros(2, len(self._n_held), 1, dtype=torch.long, device=self._loaded.device)
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits: torch.Tensor | None = None

    def feed(self, token_ids: ArrayLike, starts: ArrayLike, *, every_logit: bool = False) -> torch.Tensor:
        """Run as many tokens for each row, the first of them `starts[row]` tokens after what is held.

        Returns the logits after the last, or after each: (rows, 1 or tokens, vocabulary), overwritten by the next call.
        """
        ids, first = np.asarray(token_ids), np.asarray(starts)
        both = np.stack([ids, np.broadcast_to(first[:, None], ids.shape)])
        fed = uploaded(torch.from_numpy(both), self._loaded.device)
        few = self._graph is None and self._most - first.min() < WORTH_CAPTURING
        if not self._captures or ids.shape[1] > 1 or few or every_logit:
            return self._forward(fed, n_logits=0 if every_logit else 1)
        self._fed.copy_(fed)
        self._steps += 1
        return self._beside() if self._steps <= PLAIN_STEPS else self._replay()

    def _copied_bytes(self) -> int:
        """Of a layer's keys and values, which may be copied: in single precision rows that stand in for others cost."""
        if self._loaded.model.dtype in HALVES:
            return COPIED_BYTES
        free = min(free_memory(self._loaded).values())
        return max(COPIED_BYTES, int(COPIED * free / len(self._loaded.outputs)))

    def _held_now(self) -> HeldLayers:
        """Where each row finds what its node holds; layers whose rows part alike have it in common."""
        known: dict[object, Arrangement] = {}
        held, copied = [], self._copied_bytes()
        for layer in self._parts:
            parts = []
            for part in layer:
                alike = (part.places.tobytes(), part.device)
                if alike not in known:
                    known[alike] = Arrangement(
                        part.places,
                        part.device,
                        self._loaded.model.dtype,
                        in_one=self.keeps_shape,
                        spare=copied // part.position_bytes,
                    )
                parts.append(known[alike].of([memory.buffers() for memory in part.memories]))
            held.append(parts)
        return HeldLayers(held)

    def _forward(self, fed: torch.Tensor, n_logits: int = 1) -> torch.Tensor:
        # (rows, tokens)
        ids, starts = fed
        places = starts + torch.arange(ids.shape[1], device=ids.device)
        rows = torch.arange(len(ids), device=ids.device)[:, None]
        devices = {tail.device for tail in self._tails}
        where = {device: (rows.to(device), places.to(device)) for device in devices}
        for tail in self._tails:
            tail.where = where[tail.device]
        known = torch.arange(self._tails[0].most, device=ids.device) <= places[..., None]
        bias = bias_of(known[:, None], self._loaded.model.dtype)
        with attention(TO_NODES), fused(self._loaded.model):
            output = self._loaded.model(
                input_ids=ids,
                position_ids=self._before + places,
                attention_mask=bias,
                past_key_values=Cache(layers=[*self._tails]),
                use_cache=True,
                logits_to_keep=n_logits,
                held=self._held,
            )
        logits: torch.Tensor = output.logits
        return logits

    def _beside(self) -> torch.Tensor:
        with _another_stream(self._loaded.device):
            return self._forward(self._fed)

    def _replay(self) -> torch.Tensor:
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # hooks run now, while nothing is computed: they stand for the first replay
            with _captured(self._graph, self._loaded.device):
                self._logits = self._forward(self._fed)
        else:
            self.replays += 1
            for told in self._loaded.replay_hooks:
                told(self._fed.shape[1])
        self._graph.replay()
        assert self._logits is not None
        return self._logits


@cache
def _side(device: torch.device) -> torch.cuda.Stream:
    """One for all: memory that was cached for a stream, and its kernels' scratch, serve no other."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # the library's


@contextmanager
def _another_stream(device: torch.device) -> Iterator[None]:
    """What is computed here follows what was computed before, and comes before what is computed after."""
    stream = _side(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


@contextmanager
def _captured(graph: torch.cuda.CUDAGraph, device: torch.device) -> Iterator[None]:
    """What is called here becomes the graph. As `torch.cuda.graph`, which gives all cached memory back every time.

    That takes longer than the capture where much is cached, and the next prompt asks for it again. While a graph is
    captured no memory can be given back, so it is where little is left.
    """
    if torch.cuda.mem_get_info(device)[0] < CAPTURE_BYTES:
        torch.cuda.empty_cache()
    with _another_stream(device):
        graph.capture_begin()
        try:
            yield
        finally:
            graph.capture_end()


class _Memories:
    """A part of the prompts in one layer: the layers whose memory holds it, and where each row finds its own.

    Of prompts that are views of one layer the memory is one.
    """

    def __init__(self, parts: Sequence[Held], layer: int) -> None:
        held = [part.layers[layer] for part in parts]
        self.memories = list({id(each.whole): each.whole for each in held}.values())
        number = {id(memory): place for place, memory in enumerate(self.memories)}
        self.device = held[0].buffers()[0].device
        of_part = [
            (number[id(each.whole)], each.first, part.length, each.length - part.length)
            for part, each in zip(parts, held, strict=True)
        ]
        nodes = [np.asarray(part.nodes[layer], dtype=np.int64) for part in parts]
        numbers = np.repeat(np.array(of_part, dtype=np.int64), [*map(len, nodes)], axis=0)
        numbers[:, 1] += np.concatenate(nodes)
        self.places = numbers[:, :3]
        # of each row, how many positions are held behind: a draft's
        self.n_drafted = numbers[:, 3]

    @property
    def position_bytes(self) -> int:
        """What keys and values of one position of one node take."""
        return sum(held[0, :, 0].numel() * held.element_size() for held in self.memories[0].buffers())

    def keep(self, rows: Sequence[int]) -> None:
        """These rows alone; drafts were copied."""
        self.places = self.places[rows]


class _LeafLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # the library's
    """One layer's keys and values of what is fed, (rows, key heads, `most`, width), all of which is handed out.

    A call writes at `where`: rows, (rows, 1), and their places, (rows, tokens), on the layer's device.
    """

    where: tuple[torch.Tensor, torch.Tensor]

    def __init__(self, part: _Memories, most: int, *, anew: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library's
        self.most = most
        self.device = part.device
        self.keys, self.values = _tails(part, most, with_drafts=not anew)
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: the room is there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write what is fed; returns all places."""
        assert self.keys is not None
        assert self.values is not None
        rows, places = self.where
        self.keys[rows, :, places] = key_states.transpose(1, 2)
        self.values[rows, :, places] = value_states.transpose(1, 2)
        return self.keys, self.values

    def keep(self, rows: Sequence[int]) -> None:
        """These rows alone, copied: it is little."""
        assert self.keys is not None
        assert self.values is not None
        index = uploaded(torch.tensor(rows), self.keys.device)
        self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """All places."""
        return self.most, 0

    def get_seq_length(self) -> int:
        """Positions are given with each call."""
        return 0

    def get_max_length(self) -> int:
        """All places."""
        return self.most


def _tails(part: _Memories, most: int, *, with_drafts: bool) -> list[torch.Tensor]:
    """Room for `most` positions of each row, keys and values, with the draft of its node first, unless it is anew.

    Zero behind: masked places are read too.
    """
    n_rows = len(part.places)
    tails = [held.new_zeros(n_rows, held.shape[1], most, held.shape[3]) for held in part.memories[0].buffers()]
    for number, memory in enumerate(part.memories if with_drafts else ()):
        rows = np.flatnonzero(part.places[:, 0] == number)
        n_drafted = min(most, int(part.n_drafted[rows].max()))
        numbers = np.stack([rows, *part.places[rows, 1:].T, part.n_drafted[rows]])
        row, node, start, drafted = uploaded(torch.from_numpy(numbers), part.device)
        places = torch.arange(n_drafted, device=part.device)
        behind = (places >= drafted[:, None])[..., None, None]
        # of a draft that is shorter than others, what is behind it is not read
        from_here = (start[:, None] + places).clamp(max=memory.capacity - 1)
        for tail, held in zip(tails, memory.buffers(), strict=True):
            # (rows, positions, key heads, width)
            draft = held[node[:, None], :, from_here].masked_fill(behind, 0)
            tail[row, :, :n_drafted] = draft.transpose(1, 2)
    return tails

"""Tokens fed for each leaf after what the prefix tree holds of a prompt (`node_attention`).

The model's own forward is run, and nothing in it changes shape from step to step: so a GPU can repeat it without the
CPU. The kernels of one step are captured (`torch.cuda.CUDAGraph`,
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) and replayed for all further ones: hundreds of calls
from Python become one. Hooks run in Python, so while a graph is replayed they do not: what they do to tensors was
captured with them, and how often it was done is told to the ablation by `replays`.

Knows nothing of what tokens mean.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from harness.model.generation.attention import HALVES, attention, sees_everything
from harness.model.generation.node_attention import TO_NODES, Arrangement, HeldLayers, arranged, held_by
from harness.model.generation.node_cache import NodeLayer
from harness.model.generation.norms import fused_norms
from harness.model.loading.devices import uploaded
from harness.model.loading.loaded_model import LoadedModel

PLAIN_STEPS = 1
"""Steps before one is captured, which takes about as long as one: kernels and memory are made ready in them."""

WORTH_CAPTURING = 3
"""Steps that may follow, at least, where one is captured."""

CAPTURE_BYTES = 2**30
"""More than the intermediate results of one step take."""


def can_step_by_leaf(loaded: LoadedModel) -> bool:
    """Whether this model's tokens may be fed so: dense, sdpa, no windows, of a dtype and width that kernels know."""
    halves = loaded.model.dtype in HALVES
    fast = loaded.device.type == "cuda" and (loaded.shape.head_dim or 0) in range(8, 257, 8)
    return sees_everything(loaded) and (fast or not halves)


class LeafStep:
    """Feeds tokens for leaves, again and again, after the first `n_held` positions of what their nodes hold.

    `layers` are a tree's, and `nodes[layer]` says which node each row of the batch passes through, in the tree's order.
    Their memory is only read; what is fed is written to memory of its own, `most` tokens a row, where what the layers
    hold from `n_held` on, a draft, is copied to first. `replays` counts the steps in which hooks did not run; of each
    the model's `replay_hooks` are told.
    """

    def __init__(
        self, loaded: LoadedModel, layers: Sequence[NodeLayer], nodes: Sequence[Sequence[int]], n_held: int, most: int
    ) -> None:
        if len({layer.length for layer in layers}) > 1:
            raise ValueError("a step by leaf needs layers that hold as much")
        if any(list(of_rows) != sorted(of_rows) for of_rows in nodes):
            raise ValueError("a step by leaf needs rows in the tree's order")
        self.n_held = n_held
        self.replays = 0
        self._loaded = loaded
        self._layers = layers
        self._nodes = nodes
        self._tails = [_LeafLayer(layer, of_rows, n_held, most) for layer, of_rows in zip(layers, nodes, strict=True)]
        self._held = self._held_now()
        # tokens, and where they stand
        self._fed = torch.zeros(2, len(nodes[0]), 1, dtype=torch.long, device=loaded.device)
        # of weights that lie elsewhere hooks move what is fed, or them
        devices = {parameter.device for parameter in loaded.model.parameters()}
        self._captures = {device.type for device in devices} == {"cuda"} and len(devices) == 1
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits: torch.Tensor | None = None

    @property
    def keeps_shape(self) -> bool:
        """Whether rows stay to the end: where a call costs as much as what is computed in it."""
        return self._loaded.waits_for_launches

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self._nodes = [[nodes[row] for row in rows] for nodes in self._nodes]
        for tail in self._tails:
            tail.keep(rows)
        self._held = self._held_now()

    def feed(self, token_ids: Sequence[Sequence[int]], starts: Sequence[int]) -> torch.Tensor:
        """Run as many tokens for each row, the first of them `starts[row]` tokens after what is held.

        Returns the logits after the last: (rows, 1, vocabulary), overwritten by the next call.
        """
        ids = torch.tensor(token_ids)
        fed = uploaded(torch.stack([ids, torch.tensor(starts)[:, None].expand_as(ids)]), self._loaded.device)
        few = self._graph is None and self._tails[0].most - min(starts) < WORTH_CAPTURING
        if not self._captures or ids.shape[1] > 1 or few:
            return self._forward(fed)
        self._fed.copy_(fed)
        self._steps += 1
        return self._beside() if self._steps <= PLAIN_STEPS else self._replay()

    def _held_now(self) -> "HeldLayers":
        """Where each row finds what its node holds; layers whose rows part alike have it in common."""
        known: dict[object, Arrangement] = {}
        held = []
        for layer, nodes in zip(self._layers, self._nodes, strict=True):
            keys, values = (each[:, :, : self.n_held] for each in layer.buffers())
            alike = (tuple(nodes), keys.device)
            if alike not in known:
                known[alike] = arranged(nodes, keys.device, in_one=self.keeps_shape)
            held.append(held_by(keys, values, known[alike]))
        return HeldLayers(held)

    def _forward(self, fed: torch.Tensor) -> torch.Tensor:
        # (rows, tokens)
        ids, starts = fed
        places = starts + torch.arange(ids.shape[1], device=ids.device)
        rows = torch.arange(len(ids), device=ids.device)[:, None]
        devices = {tail.device for tail in self._tails}
        where = {device: (rows.to(device), places.to(device)) for device in devices}
        for tail in self._tails:
            tail.where = where[tail.device]
        known = torch.arange(self._tails[0].most, device=ids.device) <= places[..., None]
        with attention(TO_NODES), fused_norms(self._loaded.model):
            output = self._loaded.model(
                input_ids=ids,
                position_ids=self.n_held + places,
                attention_mask=known[:, None],
                past_key_values=Cache(layers=[*self._tails]),
                use_cache=True,
                logits_to_keep=1,
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


class _LeafLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # the library's
    """One layer's keys and values of what is fed, (rows, key heads, `most`, width), all of which is handed out.

    A call writes at `where`: rows, (rows, 1), and their places, (rows, tokens), on the layer's device.
    """

    where: tuple[torch.Tensor, torch.Tensor]

    def __init__(self, layer: NodeLayer, nodes: Sequence[int], n_held: int, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library's
        self.most = most
        self.device = layer.buffers()[0].device
        index = uploaded(torch.tensor(nodes), self.device)
        self.keys, self.values = (
            _tail(held[:, :, n_held : layer.length][:, :, :most], index, most) for held in layer.buffers()
        )
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


def _tail(drafted: torch.Tensor, nodes: torch.Tensor, most: int) -> torch.Tensor:
    """Room for `most` positions of each row, with those of its node first; zero behind: masked places are read too."""
    _, heads, n_drafted, width = drafted.shape
    room = drafted.new_zeros(len(nodes), heads, most, width)
    room[:, :, :n_drafted] = drafted.index_select(0, nodes)
    return room

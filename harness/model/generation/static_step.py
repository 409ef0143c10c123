"""One decoding step in which nothing changes shape, so that a GPU can repeat it without the CPU: a captured graph.

The model's own forward is run on one token a row. Its cache is as long as it will ever be, and a mask hides what is
not yet written; the position is a tensor. On a GPU the kernels of one step are captured (`torch.cuda.CUDAGraph`,
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) and replayed for all further ones: hundreds of calls
from Python become one. Hooks run in Python, so while a graph is replayed they do not: what they do to tensors was
captured with them, and how often it was done is told to the ablation by `replayed`.

Attention is computed in two parts, which are put together by the sums of their weights: what was held before the first
step, all of it attended to, and the few places that are written to, behind a mask. A mask over all of it would cost the
fast kernels (T. Dao et al. 2023, Flash-Decoding, https://crfm.stanford.edu/2023/10/12/flashdecoding.html, splits
keys and joins the parts in the same way).

Knows nothing of what tokens mean.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, Cache
from transformers.cache_utils import CacheLayerMixin

from harness.model.generation.attention import HALVES, attention, sees_everything
from harness.model.generation.node_cache import NodeCache, NodeLayer
from harness.model.loading.loaded_model import LoadedModel

ATTENTION = "retrieval_heads_static_step"
"""The name under which `transformers` knows this module's attention."""

PLAIN_STEPS = 4
"""Steps before one is captured, which costs about as much as these: most answers have ended by then."""


def can_be_static(loaded: LoadedModel) -> bool:
    """Whether this model's decoding may be one repeated step: dense, sdpa, whole on one device, without windows."""
    devices = {parameter.device for parameter in loaded.model.parameters()}
    return (
        sees_everything(loaded)
        and len(devices) == 1
        and "meta" not in {device.type for device in devices}
        and (loaded.model.dtype not in HALVES or (loaded.shape.head_dim or 0) in range(8, 257, 8))
    )


class StaticStep:
    """Feeds one token a row again and again after what a cache holds.

    The cache's memory is written to; its own length is not kept up, so it is not to be used afterwards. `replays`
    counts the steps in which hooks did not run; of each the model's `replay_hooks` are told.

    Raises:
        ValueError: layers that differ in what they hold or have room for: one mask is of all of them.
    """

    def __init__(self, loaded: LoadedModel, cache: NodeCache) -> None:
        first = cache.node_layers[0]
        if len({(layer.length, layer.capacity) for layer in cache.node_layers}) > 1:
            raise ValueError("a step of one shape needs layers of one length and capacity")
        keys, _ = first.buffers()
        self.replays = 0
        self._loaded = loaded
        self._ids = torch.zeros(keys.shape[0], 1, dtype=torch.long, device=loaded.device)
        self._position = torch.tensor([first.length], device=loaded.device)
        # those that are written to
        self._places = torch.arange(first.length, first.capacity, device=loaded.device)
        self._cache = Cache(layers=[_StaticLayer(layer, self._position) for layer in cache.node_layers])
        self._n_rows = keys.shape[0]
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits: torch.Tensor | None = None

    def feed(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Run one token a row: the logits after it, (rows, 1, vocabulary), overwritten by the next call."""
        self._ids.copy_(torch.tensor(token_ids))
        if self._loaded.device.type != "cuda":
            return self._forward()
        # the first makes kernels and memory ready, off the main stream as capturing asks
        self._steps += 1
        return self._beside() if self._steps <= PLAIN_STEPS else self._replay()

    def _forward(self) -> torch.Tensor:
        with attention(self._loaded.model.config, ATTENTION):
            output = self._loaded.model(
                input_ids=self._ids,
                position_ids=self._position.expand(len(self._ids))[:, None],
                attention_mask=(self._places <= self._position)[None, None, None, :],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._position += 1
        logits: torch.Tensor = output.logits
        return logits

    def _beside(self) -> torch.Tensor:
        stream = torch.cuda.Stream(self._loaded.device)  # type: ignore[no-untyped-call]  # the library's
        stream.wait_stream(torch.cuda.current_stream(self._loaded.device))
        with torch.cuda.stream(stream):
            logits = self._forward()
        torch.cuda.current_stream(self._loaded.device).wait_stream(stream)
        return logits

    def _replay(self) -> torch.Tensor:
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # hooks run now, while nothing is computed: they stand for the first replay
            with torch.cuda.graph(self._graph):
                self._logits = self._forward()
        else:
            self.replays += 1
            for told in self._loaded.replay_hooks:
                told(self._n_rows)
        self._graph.replay()
        assert self._logits is not None
        return self._logits


class _StaticLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # the library's
    """One layer's keys and values, all of whose places are handed out; a step writes at `position`."""

    def __init__(self, layer: NodeLayer, position: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library's
        self.keys, self.values = layer.buffers()
        self.is_initialized = True
        self._length = layer.length
        self._capacity = layer.capacity
        self._position = position
        for held in (self.keys, self.values):
            held[:, :, layer.length :] = 0  # masked places are read, and nan would spread

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: the room is there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one position; returns all places."""
        assert self.keys is not None
        assert self.values is not None
        self.keys.index_copy_(2, self._position, key_states)
        self.values.index_copy_(2, self._position, value_states)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """All places."""
        return self._capacity, 0

    def get_seq_length(self) -> int:
        """What was held before the first step."""
        return self._length

    def get_max_length(self) -> int:
        """All places."""
        return self._capacity


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one position: query (rows, heads, 1, width), key and value (rows, key heads, places, width).

    `attention_mask` is of the last places, (1, 1, 1, places that are written to); all before them are attended to.
    Returns (rows, 1, heads, width).
    """
    scale = scaling or query.shape[-1] ** -0.5
    n_held = key.shape[2] - attention_mask.shape[-1]
    of_held = _flash if query.is_cuda and query.dtype in HALVES else _by_definition
    held, held_weight = of_held(query, key[:, :, :n_held], value[:, :, :n_held], scale, None)
    new, new_weight = _by_definition(query, key[:, :, n_held:], value[:, :, n_held:], scale, attention_mask)
    total = torch.logaddexp(held_weight, new_weight)
    attended = held * (held_weight - total).exp() + new * (new_weight - total).exp()
    return attended.to(query.dtype).transpose(1, 2), None


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, mask: None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_by_definition`, at the speed at which keys can be read: by the kernel behind torch's sdpa, which knows
    the sum of the weights. (A mask would rule it out.)"""
    attended, weight, *_ = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, scale=scale)
    return attended.float(), weight[..., None]


def _by_definition(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention, (rows, heads, 1, width), and the log of the weights' sum, (rows, heads, 1, 1), in float32 at least.

    Heads that share a key head are its queries side by side: keys are not copied for each.
    """
    rows, n_heads, _, width = query.shape
    exact = torch.promote_types(query.dtype, torch.float32)
    grouped = query.reshape(rows, key.shape[1], -1, width).to(exact)
    scores = grouped @ key.to(exact).transpose(2, 3) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weight = scores.logsumexp(dim=-1, keepdim=True)
    attended = (scores - weight).exp() @ value.to(exact)
    return attended.reshape(rows, n_heads, 1, -1), weight.reshape(rows, n_heads, 1, 1)


AttentionInterface.register(ATTENTION, _attend)

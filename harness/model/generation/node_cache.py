"""Keys and values of one prompt, one row for each node of a layer's own level of the prefix tree.

Each layer has as many rows as there are distinct inputs of it, so a cache holds less than rows x layers.
Room is made once; feeding tokens writes after what is held, and `rewind` forgets them again: what is held
is a length. Sliding windows are left to the model's masks: every position is kept, so a filled window can be
rewound too, at the price of memory that a windowed model would not need.

Knows nothing of models, heads or tokens.
"""

from collections.abc import Sequence

import torch
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from harness.model.loading.devices import uploaded


class NodeLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # the library's
    """One layer's keys and values: (rows, key heads, capacity, width), of which `length` positions are held.

    Of a part of another layer's memory, `whole` is that layer, and `first` the part's first row there.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library's
        self.capacity = capacity
        self.length = 0
        self.first = 0
        self._whole: NodeLayer | None = None

    @property
    def whole(self) -> "NodeLayer":
        """Whose memory this is: its own, unless it is a part of another's."""
        return self._whole or self

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make room for as many rows as these have."""
        self.make_room(key_states, value_states, len(key_states))

    def make_room(self, key_states: torch.Tensor, value_states: torch.Tensor, n_rows: int) -> None:
        """Make room for rows like these."""
        self.keys, self.values = (
            states.new_empty(n_rows, states.shape[1], self.capacity, states.shape[3])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write positions after those held; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[2]
        keys, values = self.buffers()
        keys[:, :, start : self.length] = key_states
        values[:, :, start : self.length] = value_states
        if start == 0:
            return key_states, value_states
        return keys[:, :, : self.length], values[:, :, : self.length]

    def rows(self, rows: slice, capacity: int | None = None) -> "NodeLayer":
        """The same memory, of these rows alone and of the first `capacity` positions (all, unless given)."""
        part = NodeLayer(capacity or self.capacity)
        if not self.is_initialized:
            return part
        keys, values = self.buffers()
        part.keys, part.values = keys[rows, :, : part.capacity], values[rows, :, : part.capacity]
        part._whole, part.first = self.whole, self.first + rows.start
        part.length, part.is_initialized = self.length, True
        return part

    def some(self, rows: slice, n_rows: int) -> "NodeLayer":
        """These of `n_rows` rows, for all of which room is made when the first are written."""
        return self.rows(rows) if self.is_initialized else _SomeRows(self, rows, n_rows)

    def gather(self, rows: Sequence[int], capacity: int | None = None) -> "NodeLayer":
        """A copy of these rows, as far as positions are held, with room for `capacity` (as before, unless given)."""
        copied = NodeLayer(capacity or self.capacity)
        if self.length:
            keys, values = self.buffers()
            index = uploaded(torch.tensor(rows), keys.device)
            for name, held in (("keys", keys), ("values", values)):
                room = held.new_empty(len(rows), held.shape[1], copied.capacity, held.shape[3])
                room[:, :, : self.length] = held[:, :, : self.length].index_select(0, index)
                setattr(copied, name, room)
            copied.length, copied.is_initialized = self.length, True
        return copied

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Positions that a mask must cover, from the first on."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Positions held."""
        return self.length

    def get_max_length(self) -> int:
        """No limit that a model should know of."""
        return -1

    def buffers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All places of keys and values, those not held included."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values


class _SomeRows(NodeLayer):  # type: ignore[no-untyped-call]  # the library's
    """The first rows of a layer that are written."""

    def __init__(self, whole: NodeLayer, rows: slice, n_rows: int) -> None:
        super().__init__(whole.capacity)
        self._whole, self._rows, self._n_rows = whole, rows, n_rows

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make room for the whole layer."""
        self.whole.make_room(key_states, value_states, self._n_rows)
        self.keys, self.values = (held[self._rows] for held in self.whole.buffers())
        self.is_initialized = True


class KeysKnownError(Exception):
    """Raised out of a layer whose keys and values are all that is wanted of it."""


class KeysOnlyLayer(NodeLayer):  # type: ignore[no-untyped-call]  # the library's
    """Ends a layer's pass as soon as its keys and values are written to `layer`."""

    def __init__(self, layer: NodeLayer) -> None:
        super().__init__(layer.capacity)
        self.length = layer.length
        self._layer = layer

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep them and raise KeysKnownError."""
        self._layer.update(key_states, value_states)
        raise KeysKnownError


def rewind(layers: Sequence[NodeLayer], length: int) -> None:
    """Hold the first `length` positions that were fed: forget those behind, or remember them."""
    for layer in layers:
        layer.length = length


class NodeCache(Cache):
    """A cache as models take it; its `node_layers` may be replaced while a pass goes through them."""

    def __init__(self, layers: Sequence[NodeLayer]) -> None:
        self.node_layers = list(layers)
        # the same list, which the library types more widely
        super().__init__(layers=[*self.node_layers])
        self.layers = self.node_layers  # type: ignore[assignment]

    def gather(self, rows: Sequence[Sequence[int]]) -> "NodeCache":
        """A copy of chosen rows, given for each layer."""
        return NodeCache([layer.gather(each) for layer, each in zip(self.node_layers, rows, strict=True)])

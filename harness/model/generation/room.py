"""How much of a prompt's tree may be held at once: by the memory that is free now, or by a fixed budget.

Two things take memory on the way down a tree: what one layer computes for the nodes that are run through it together,
and the keys and values of all nodes, which stay until their leaves are answered. The first may be cut into pieces at
little price, node by node and, on GPUs, in runs of a prompt's tokens; where the second does not fit, parts of the tree
are read one after the other.

It is an estimate, so that few attempts fail; where memory runs out all the same, there is less room the next time.

How much a GPU is to be given at once, so that it does not wait for what it is to do next, is told here too.

Knows nothing of trees, heads or tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

import torch

from harness.model.generation.attention import BUCKET, sees_everything
from harness.model.generation.branching import decoder_layers
from harness.model.loading.loaded_model import LoadedModel

CPU_BYTES = 2**27
"""What one layer may compute at once on a CPU: larger batches are no faster, they leave the caches."""

CPU_HELD = 2**30
"""Keys and values that may be held on a CPU, where the memory that is free says little."""

SHARE = 0.93
"""Of a GPU's free memory: the rest is left to fragments and to kernels' own scratch."""

COMPUTED = 0.1
"""Of that memory: what a layer may compute at once."""

PIECE = 1024
"""Tokens of a prompt that are fed at once, at least: a GPU is busy with them."""


LAUNCH_SECONDS = 1e-3
"""What it takes to start all that one layer computes, kernel by kernel, from Python.

One H200, torch 2.11, SmolLM2's shape in bfloat16: a prompt of 230 tokens takes 32.4 ms, 30 layers; as one of sixteen,
read as one batch, 1.5 ms.
"""

PACE = {torch.float16: 4e14, torch.bfloat16: 4e14}
"""Operations a second of large products on an H100 or H200, about half of the most that is possible, by dtype."""

FULL_PACE = 4e13
"""The same in float32."""


@dataclass(frozen=True, slots=True)
class Room:
    """`nodes` may be run through a layer at once; `rows` is how many nodes' keys and values of one layer may be held.

    `hidden` is what the hidden states of a node take at all positions, in such rows. `least` rows are one condition's.
    A prompt is fed in runs of `tokens`; `None`: whole.
    """

    nodes: int
    rows: float
    hidden: float
    least: float
    tokens: int | None = None

    @property
    def is_least(self) -> bool:
        """Whether it is one condition's."""
        return self.nodes == 1 and self.rows <= self.least

    def halved(self) -> "Room":
        """Half of it, but at least one condition's."""
        return replace(self, nodes=max(1, self.nodes // 2), rows=max(self.least, self.rows / 2))

    def shared(self, n: int) -> "Room":
        """What is left where rows are held as many times."""
        return replace(self, rows=max(self.least, self.rows / n))


Free = Mapping[torch.device, float]
"""Bytes that may be taken on each device of a model."""


def free_memory(loaded: LoadedModel) -> Free:
    """What is free now on each GPU of the model; else a fixed budget."""
    devices = {parameter.device for parameter in loaded.model.parameters() if parameter.device.type == "cuda"}
    return {device: SHARE * _free(device) for device in devices} or {loaded.device: CPU_HELD}


def room_for(loaded: LoadedModel, branches: int) -> Room:
    """That of so many conditions, whatever memory there is."""
    least = len(loaded.outputs) + 1
    return Room(branches, branches * least, 1, least)


def room_of(loaded: LoadedModel, n_positions: int, free: Free | None = None) -> Room:
    """That of prompts of so many tokens, by the memory that is free now unless another is given, on the fullest device.

    At least one condition's.
    """
    found = _room(loaded, n_positions, free or free_memory(loaded))
    return replace(found, rows=max(found.least, found.rows))


def rows_that_fit(loaded: LoadedModel, n_positions: int, free: Free, *, most: int) -> int:
    """How many prompts may be in flight together, each with one condition at least; at least 1.

    What layers compute of them they do one after the other.
    """
    if most < 2:
        return 1
    found = _room(loaded, n_positions, free)
    return max(1, min(most, int(found.rows / found.least)))


def busy_tokens(loaded: LoadedModel) -> float:
    """How many tokens a layer is to compute at once for a GPU to be busy until the next layer's work is started.

    0 where nothing waits for that. On a GPU 57,000 of SmolLM2 in bfloat16 and 5,700 in float32, where a prompt of 700
    tokens takes 29.8 ms and as one of sixteen 6.9 ms; 900 of an 8B model, where it takes 27 ms and 20 ms.
    """
    if not loaded.waits_for_launches:
        return 0.0
    layers = loaded.size.layers
    weights = sum(layer.attention + layer.rest for layer in layers) / len(layers)
    return LAUNCH_SECONDS * PACE.get(loaded.model.dtype, FULL_PACE) / (2 * weights)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _free(device: torch.device) -> float:
    """Bytes that can be had on a GPU: not in use by anyone, or kept by this process for reuse."""
    unused, _ = torch.cuda.mem_get_info(device)
    return unused + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _room(loaded: LoadedModel, n_positions: int, free: Free) -> Room:
    """As `room_of`, with what is left for rows, however little."""
    layers, size = loaded.size.layers, n_positions * loaded.model.dtype.itemsize
    on_gpu = any(device.type == "cuda" for device in free)
    node = _node_bytes(loaded, n_positions)
    computed = COMPUTED * min(free.values()) if on_gpu else CPU_BYTES
    # where a prompt may go on behind a front at no price
    in_pieces = loaded.waits_for_launches and sees_everything(loaded)
    tokens = _piece(n_positions, computed / node) if in_pieces else n_positions
    share = tokens / n_positions
    nodes = max(1, int(computed / (share * node)))
    # keys and values of a tree are spread over devices as its layers are
    cached = dict.fromkeys(free, 0)
    for module, layer in zip(decoder_layers(loaded), layers, strict=True):
        device = next(module.parameters()).device
        cached[device if device in cached else next(iter(cached))] += layer.cached
    held = {device: each - (nodes * share * node if on_gpu else 0) for device, each in free.items()}
    rows = min(held[device] * len(layers) / (size * each) for device, each in cached.items() if each)
    row = sum(cached.values()) / len(layers)
    hidden = int(loaded.model.config.get_text_config().hidden_size) / row
    return Room(nodes, rows, hidden, len(layers) + hidden, None if tokens == n_positions else tokens)


def _piece(n_positions: int, share: float) -> int:
    """Tokens of each of a prompt's pieces, which are such a share of it at most: about equal, and full buckets."""
    most = max(PIECE, int(share * n_positions) // BUCKET * BUCKET)
    n_pieces = ceil(n_positions / most)
    return min(n_positions, ceil(n_positions / n_pieces / BUCKET) * BUCKET)


def _node_bytes(loaded: LoadedModel, n_positions: int) -> float:
    """What a layer computes for one node at its worst: in its norms, its attention or its feed-forward."""
    config, shape = loaded.model.config.get_text_config(), loaded.shape
    size, hidden = loaded.model.dtype.itemsize, int(config.hidden_size)
    width = shape.n_heads * (shape.head_dim or 0)
    inner = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    experts = int(getattr(config, "num_experts_per_tok", None) or 0)
    of_experts = experts * (hidden + int(getattr(config, "moe_intermediate_size", None) or inner))
    # three beside each other: the gate's, what comes up, and their product
    layer = 3 * hidden + max(5 * hidden, 5 * width, 3 * max(inner, of_experts))
    # eager attention: scores, softmax in float32, and its copy
    scores = shape.n_heads * n_positions * (2 * size + 4) if loaded.attention == "eager" else 0
    return n_positions * (size * layer + scores)

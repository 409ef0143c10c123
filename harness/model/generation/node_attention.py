"""Attention to the prefix tree's nodes: keys and values of a prompt once for all leaves of a node.

A batch has one row for each leaf, of one prompt or several. At each layer a row attends to parts, which are put
together by the sums of their weights: its prompt, in one part or two (a front, and what comes after it), of which
layers hold one copy for all leaves of a node, so that these are queries side by side of its keys and nothing is copied;
and what was fed for the leaf itself, a few places behind a mask.
(T. Dao et al. 2023, Flash-Decoding, https://crfm.stanford.edu/2023/10/12/flashdecoding.html, splits keys and joins the
parts in the same way; J. Juravsky et al. 2024, Hydragen, https://arxiv.org/abs/2402.05099, reads common keys once for
many queries.)

Knows nothing of trees beyond which row reads which node, nor of tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AttentionInterface

from harness.model.generation.one_pass import HALVES, Weighed
from harness.model.loading.devices import uploaded

TO_NODES = "retrieval_heads_to_nodes"
"""The name under which `transformers` knows this module's attention."""

UNSEEN = -6e4
"""Added to the score of a place that nothing is held at: it weighs nothing then, and a node without any is no nan."""

BIAS_STEP = 16
"""Places by which the room of a bias grows: kernels read it in pieces of as many."""

WORTH_ANOTHER_RUN = 2**20
"""Positions that rows which stand in for others would attend to, from which on heavy nodes have a run of their own."""

COPIED_BYTES = 2**25
"""Of a layer's keys and values, which may be copied for that."""

FEW = 32
"""Queries of a key head up to which attention in single precision is written out as two products.

The kernel computes tiles of 64 queries, most of which would be nobody's. One H200, torch 2.11, SmolLM2, a step of 1,568
conditions of 32 prompts of 700 tokens: 42 ms, by the kernel alone 50 ms.
"""


@dataclass(frozen=True, eq=False, slots=True)
class Nodes:
    """Neighbouring nodes of one layer: keys and values, (nodes, key heads, positions, width).

    `rows` are those of the batch that are each node's, as many for each: nodes x rows, in one line; `None` stands for
    the batch as it is. Where nodes hold different numbers of positions, `bias` is 0 at those that are held and `UNSEEN`
    behind, where numbers must lie that are finite: (nodes, 1, 1, positions).
    """

    keys: torch.Tensor
    values: torch.Tensor
    rows: torch.Tensor | None
    bias: torch.Tensor | None = None


@dataclass(frozen=True, eq=False, slots=True)
class HeldPart:
    """A part of the prompts, one layer's; `places[i]` is where row i stands in the lines of all its nodes together.

    `None` where it stands at i.
    """

    nodes: tuple[Nodes, ...]
    places: torch.Tensor | None


class HeldLayers:
    """Each layer's parts of what is held; not a list, which a library that spreads a model over devices would copy."""

    def __init__(self, layers: Sequence[Sequence[HeldPart]]) -> None:
        self.layers = layers


Places = NDArray[np.int64]
"""Where rows find their keys and values: in which of a layer's memories, in which row there, how many positions.

(rows, 3)
"""


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """Neighbouring nodes of one memory, how many positions each holds, and as many rows of the batch for each.

    `rows` is (nodes, rows of each); where it is not `own` a row stands in for one that a node has not. `copied` are
    nodes that do not stand together: of these the run is, each copied.
    """

    memory: int
    nodes: slice
    lengths: NDArray[np.int64]
    rows: NDArray[np.int64]
    own: NDArray[np.bool_]
    copied: NDArray[np.int64] | None = None


def runs_of(places: Places, *, in_one: bool, spare: int = 0) -> list[Run]:
    """Neighbouring nodes that have as many rows each and hold as much; row i of a batch finds its own at `places[i]`.

    `in_one`: all nodes of a memory are one run, each with as many rows as the largest has, whatever rows these are.
    Where a few have many more than the others, what these have more is another run: of copies, where the nodes do not
    stand together and have no more than `spare` positions.
    """
    memories = map(int, np.unique(places[:, 0]))
    return [run for memory in memories for run in _runs_in(memory, places, in_one=in_one, spare=spare)]


def _runs_in(memory: int, places: Places, *, in_one: bool, spare: int) -> list[Run]:
    rows = np.flatnonzero(places[:, 0] == memory)
    rows = rows[np.argsort(places[rows, 1], kind="stable")]
    nodes, starts, counts = np.unique(places[rows, 1], return_index=True, return_counts=True)
    lengths = places[rows[starts], 2]
    light = _rows_of_light(nodes, counts, int(lengths.max()), spare) if in_one else counts.max()
    if light < counts.max():
        heavy, first = counts > light, np.arange(len(rows)) - np.repeat(starts, counts) < light
        most = _run(memory, nodes, lengths, np.minimum(counts, light), rows[first])
        of_heavy = lengths[heavy], counts[heavy] - light, rows[~first]
        if _are_together(nodes[heavy]):
            return [most, _run(memory, nodes[heavy], *of_heavy)]
        return [most, replace(_run(memory, np.arange(heavy.sum()), *of_heavy), copied=nodes[heavy])]
    continues = (np.diff(nodes) == 1) & (np.diff(counts) == 0) & (np.diff(lengths) == 0)
    cuts = [] if in_one else (1 + np.flatnonzero(~continues)).tolist()
    return [
        _run(memory, nodes[start:stop], lengths[start:stop], counts[start:stop], rows[starts[start] :])
        for start, stop in pairwise([0, *cuts, len(nodes)])
    ]


def _rows_of_light(nodes: NDArray[np.int64], counts: NDArray[np.int64], longest: int, spare: int) -> int:
    """How many rows of each node are in the first run, so that few rows stand in for others; the most where all are."""
    most, n_places = int(counts.max()), int(nodes[-1] - nodes[0]) + 1
    each = np.unique(counts)
    n_heavy = (counts > each[:, None]).sum(axis=1)
    fits = [
        n * longest <= spare or _are_together(nodes[counts > light]) for n, light in zip(n_heavy, each, strict=True)
    ]
    n_rows = np.where(fits, n_places * each + n_heavy * (most - each), n_places * most)
    best = int(n_rows.argmin())
    return int(each[best]) if (n_places * most - n_rows[best]) * longest > WORTH_ANOTHER_RUN else most


def _are_together(nodes: NDArray[np.int64]) -> bool:
    return bool((np.diff(nodes) == 1).all())


def _run(
    memory: int,
    nodes: NDArray[np.int64],
    lengths: NDArray[np.int64],
    counts: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> Run:
    """These nodes and those between them, which no row passes through; rows come node by node."""
    places = slice(int(nodes[0]), int(nodes[-1]) + 1)
    n_nodes, most, n_rows = places.stop - places.start, int(counts.max()), int(counts.sum())
    line = np.repeat(nodes - nodes[0], counts), np.arange(n_rows) - np.repeat(np.cumsum(counts) - counts, counts)
    filled, own = np.zeros((n_nodes, most), dtype=np.int64), np.zeros((n_nodes, most), dtype=bool)
    filled[line], own[line] = rows[:n_rows], True
    held = np.full(n_nodes, lengths.max())
    held[nodes - nodes[0]] = lengths
    return Run(memory, places, held, filled, own)


class Arrangement:
    """Runs of nodes as tensors for all layers whose rows part alike (`runs_of`)."""

    def __init__(
        self, places: Places, device: torch.device, dtype: torch.dtype, *, in_one: bool, spare: int = 0
    ) -> None:
        runs = runs_of(places, in_one=in_one, spare=spare)
        line = np.concatenate([run.rows.ravel() for run in runs])
        own = np.concatenate([run.own.ravel() for run in runs])
        at = np.empty(len(places), dtype=np.int64)
        at[line[own]] = np.flatnonzero(own)
        self._places = _index(at, len(line), device)
        self._runs = [
            (
                run,
                None if run.copied is None else uploaded(torch.from_numpy(run.copied), device),
                _index(run.rows.ravel(), len(places), device),
                _bias(run.lengths, device, dtype) if run.lengths.min() < run.lengths.max() else None,
            )
            for run in runs
        ]

    def of(self, memories: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> HeldPart:
        """A layer's part, from the keys and values of its memories: (nodes, key heads, positions, width)."""
        nodes = []
        for run, copied, rows, bias in self._runs:
            keys, values = (held[:, :, : int(run.lengths.max())] for held in memories[run.memory])
            if copied is None:
                keys, values = keys[run.nodes], values[run.nodes]
            else:
                keys, values = keys.index_select(0, copied), values.index_select(0, copied)
            nodes.append(Nodes(keys, values, rows, bias))
        return HeldPart(tuple(nodes), self._places)


def _index(rows: NDArray[np.int64], n_rows: int, device: torch.device) -> torch.Tensor | None:
    """These of so many rows; `None` where they are all, as they stand."""
    return None if np.array_equal(rows, np.arange(n_rows)) else uploaded(torch.from_numpy(rows), device)


def _bias(lengths: NDArray[np.int64], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    longest = int(lengths.max())
    places = torch.arange(longest + -longest % BIAS_STEP, device=device)
    held = places < uploaded(torch.from_numpy(lengths), device)[:, None]
    return bias_of(held[:, None, None], dtype)[..., :longest]


def bias_of(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to the scores of places: 0, or `UNSEEN` where they are not seen."""
    return torch.zeros(seen.shape, device=seen.device, dtype=dtype).masked_fill(~seen, UNSEEN)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    *,
    held: HeldLayers,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of what is fed: query (rows, heads, tokens, width), key and value (rows, key heads, places, width).

    `attention_mask` is a bias of the places, (rows, 1, tokens, places); all that is held is attended to. Returns (rows,
    tokens, heads, width).
    """
    scale = scaling or query.shape[-1] ** -0.5
    layer: Any = module.layer_idx
    parts = [_attend_to_nodes(query, part, scale) for part in held.layers[layer]]
    own = _weighed(query, key, value, scale, attention_mask)
    attended = _shared_out(reduce(_joined, parts), own)
    return attended.to(query.dtype).transpose(1, 2).contiguous(), None


def _joined(one: Weighed, other: Weighed) -> Weighed:
    """Attention to both parts."""
    return _shared_out(one, other), torch.logaddexp(one[1], other[1])


def _shared_out(one: Weighed, other: Weighed) -> torch.Tensor:
    """The attention alone: to each part its share of all weights."""
    return torch.lerp(other[0], one[0], torch.sigmoid(one[1] - other[1]))


def _attend_to_nodes(query: torch.Tensor, part: HeldPart, scale: float) -> Weighed:
    """Of each row to all of a part that its node holds."""
    _, n_heads, n_tokens, width = query.shape
    found = []
    for nodes in part.nodes:
        # the rows of a node one behind the other, as if they were tokens: (nodes, heads, rows x tokens, width)
        of_nodes = query if nodes.rows is None else query.index_select(0, nodes.rows)
        of_nodes = of_nodes.reshape(len(nodes.keys), -1, n_heads, n_tokens, width).transpose(1, 2).flatten(2, 3)
        parts = _weighed(of_nodes, nodes.keys, nodes.values, scale, nodes.bias)
        found.append(
            [each.reshape(*each.shape[:2], -1, n_tokens, each.shape[3]).transpose(1, 2).flatten(0, 1) for each in parts]
        )
    attended, weight = found[0] if len(found) == 1 else map(torch.cat, zip(*found, strict=True))
    if part.places is None:
        return attended, weight
    return attended.index_select(0, part.places), weight.index_select(0, part.places)


def _weighed(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, bias: torch.Tensor | None
) -> Weighed:
    """In float32 at least; `bias` is (rows, 1, queries or 1, places).

    Heads that share a key head are its queries side by side: keys are not copied for each.
    """
    copies = query.shape[1] // key.shape[1]
    rows, n_heads, n_queries, width = query.shape
    side = query.reshape(rows, n_heads // copies, copies * n_queries, width)
    if bias is not None and bias.shape[2] > 1:
        bias = bias.repeat(1, 1, copies, 1)
    few = query.dtype not in HALVES and side.shape[2] <= FEW
    weigh = _by_definition
    # a part may hold nothing, which kernels are not asked about
    if query.is_cuda and query.dtype != torch.float64 and key.shape[2] > 0 and not few:
        weigh = _by_kernel
    elif query.device.type == "cpu" and query.dtype == torch.float32 and key.shape[2] > 0:
        weigh = _by_kernel_of_cpus
    attended, weight = (part.reshape(rows, n_heads, n_queries, -1) for part in weigh(side, key, value, scale, bias))
    return attended, weight


def _by_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, bias: torch.Tensor | None
) -> Weighed:
    """As `_by_definition`, by the kernels behind torch's sdpa, which know the weights' sum.

    The flash kernel is the faster one, and knows half precision and no bias.
    """
    if bias is None and query.dtype in HALVES:
        attended, weight, *_ = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, scale=scale)
    else:
        each = None if bias is None else bias.expand(*query.shape[:3], -1)
        attended, weight, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, each, True, scale=scale
        )
    # one of the kernels rounds the number of queries up
    return attended.float(), weight[:, :, : query.shape[2], None]


def _by_kernel_of_cpus(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, bias: torch.Tensor | None
) -> Weighed:
    """As `_by_definition`, in one call: most of what a step takes on a CPU is the start of so small work."""
    each = None if bias is None else bias.expand(-1, -1, query.shape[2], -1)
    attended, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, attn_mask=each, scale=scale
    )
    return attended, weight[..., None]


def _by_definition(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, bias: torch.Tensor | None
) -> Weighed:
    """softmax(Q K^T) V and the log of the weights' sum, of as many heads everywhere."""
    exact = torch.promote_types(query.dtype, torch.float32)
    scores = (query.to(exact) * scale) @ key.to(exact).transpose(2, 3)
    if bias is not None:
        scores += bias
    weight = scores.logsumexp(dim=-1, keepdim=True)
    return scores.sub_(weight).exp_() @ value.to(exact), weight


AttentionInterface.register(TO_NODES, attend)

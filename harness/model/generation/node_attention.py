"""Attention to the prefix tree's nodes: keys and values of a prompt once for all leaves of a node.

A batch has one row for each leaf. At each layer a row attends to two parts, which are put together by the sums of their
weights: the prompt, of which the layer holds one copy for all leaves of a node, so that these are queries side by side
of its keys, nothing copied and nothing masked; and what was fed for the leaf itself, a few places behind a mask.
(T. Dao et al. 2023, Flash-Decoding, https://crfm.stanford.edu/2023/10/12/flashdecoding.html, splits keys and joins the
parts in the same way; J. Juravsky et al. 2024, Hydragen, https://arxiv.org/abs/2402.05099, reads common keys once for
many queries.)

Knows nothing of trees beyond which row reads which node, nor of tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from harness.model.generation.attention import HALVES
from harness.model.loading.devices import uploaded

TO_NODES = "retrieval_heads_to_nodes"
"""The name under which `transformers` knows this module's attention."""


@dataclass(frozen=True, eq=False, slots=True)
class Nodes:
    """Neighbouring nodes of one layer: keys and values, (nodes, key heads, positions, width).

    `rows` are those of the batch that are each node's, as many for each: nodes x rows, in one line.
    """

    keys: torch.Tensor
    values: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True, eq=False, slots=True)
class HeldLayer:
    """One layer's nodes; `places[i]` is where row i of the batch stands in the lines of all of them together."""

    nodes: tuple[Nodes, ...]
    places: torch.Tensor


class HeldLayers:
    """What is held, by layer; not a list, which a library that spreads a model over devices would copy."""

    def __init__(self, layers: Sequence[HeldLayer]) -> None:
        self.layers = layers


def runs_of(nodes: Sequence[int], *, in_one: bool) -> list[tuple[slice, list[int]]]:
    """Neighbouring nodes that have as many rows each, and these rows; row i of a batch passes through `nodes[i]`.

    `in_one`: all nodes are one run, each with as many rows as the largest has, whatever rows these are.
    """
    rows_of: dict[int, list[int]] = {}
    for row, node in enumerate(nodes):
        rows_of.setdefault(node, []).append(row)
    if in_one:
        most = max(map(len, rows_of.values()))
        part = slice(min(rows_of), max(rows_of) + 1)
        filled = [[*(rows_of.get(node, ())), *[0] * most][:most] for node in range(part.start, part.stop)]
        return [(part, [row for rows in filled for row in rows])]
    runs: list[tuple[slice, list[int]]] = []
    for node, rows in sorted(rows_of.items()):
        if runs and runs[-1][0].stop == node and len(rows_of[node - 1]) == len(rows):
            part, line = runs.pop()
            runs.append((slice(part.start, node + 1), line + rows))
        else:
            runs.append((slice(node, node + 1), rows))
    return runs


Arrangement = tuple[list[tuple[slice, torch.Tensor]], torch.Tensor]
"""Runs of nodes with their rows, and each row's place in the lines of all of them."""


def arranged(nodes: Sequence[int], device: torch.device, *, in_one: bool) -> Arrangement:
    """Row i of a batch passes through `nodes[i]`: tensors for all layers of which this is so (`runs_of`)."""
    runs = runs_of(nodes, in_one=in_one)
    line = [row for _, rows in runs for row in rows]
    # the first, where a row stands in for others
    where = {row: place for place, row in reversed([*enumerate(line)])}
    places = uploaded(torch.tensor([where[row] for row in range(len(nodes))]), device)
    return [(part, uploaded(torch.tensor(rows), device)) for part, rows in runs], places


def held_by(keys: torch.Tensor, values: torch.Tensor, arrangement: Arrangement) -> HeldLayer:
    """A layer's keys and values, (nodes, key heads, positions, width), for the rows of a batch."""
    runs, places = arrangement
    return HeldLayer(tuple(Nodes(keys[part], values[part], rows) for part, rows in runs), places)


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

    `attention_mask` is of the places, (rows, 1, tokens, places); all that is held is attended to. Returns (rows,
    tokens, heads, width).
    """
    scale = scaling or query.shape[-1] ** -0.5
    layer: Any = module.layer_idx
    of_nodes, nodes_weight = _attend_to_nodes(query, held.layers[layer], scale)
    new, new_weight = _weighed(query, key, value, scale, attention_mask)
    total = torch.logaddexp(nodes_weight, new_weight)
    attended = of_nodes * (nodes_weight - total).exp() + new * (new_weight - total).exp()
    return attended.to(query.dtype).transpose(1, 2).contiguous(), None


def _attend_to_nodes(query: torch.Tensor, held: HeldLayer, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_weighed`, of each row to all that its node holds."""
    _, n_heads, n_tokens, width = query.shape
    found = []
    for nodes in held.nodes:
        # the rows of a node one behind the other, as if they were tokens: (nodes, heads, rows x tokens, width)
        of_nodes = query.index_select(0, nodes.rows).reshape(len(nodes.keys), -1, n_heads, n_tokens, width)
        parts = _weighed(of_nodes.transpose(1, 2).flatten(2, 3), nodes.keys, nodes.values, scale, None)
        found.append(
            [part.reshape(*part.shape[:2], -1, n_tokens, part.shape[3]).transpose(1, 2).flatten(0, 1) for part in parts]
        )
    attended, weight = (torch.cat(parts).index_select(0, held.places) for parts in zip(*found, strict=True))
    return attended, weight


def _weighed(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention, (rows, heads, queries, width), and the log of the weights' sum, (rows, heads, queries, 1).

    In float32 at least; `mask` is (rows, 1, queries, places). Heads that share a key head are its queries side by side:
    keys are not copied for each.
    """
    copies = query.shape[1] // key.shape[1]
    rows, n_heads, n_queries, width = query.shape
    side = query.reshape(rows, n_heads // copies, copies * n_queries, width)
    if mask is None and query.is_cuda and query.dtype in HALVES:
        parts = _by_kernel(side, key, value, scale)
    else:
        parts = _by_definition(side, key, value, scale, None if mask is None else mask.repeat(1, 1, copies, 1))
    attended, weight = (part.reshape(rows, n_heads, n_queries, -1) for part in parts)
    return attended, weight


def _by_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_by_definition`, as fast as keys can be read, by the kernel behind torch's sdpa: it knows the weights' sum.

    A mask would rule it out.
    """
    attended, weight, *_ = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, scale=scale)
    return attended.float(), weight[..., None]


def _by_definition(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(Q K^T) V and the log of the weights' sum, of as many heads everywhere."""
    exact = torch.promote_types(query.dtype, torch.float32)
    scores = query.to(exact) @ key.to(exact).transpose(2, 3) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weight = scores.logsumexp(dim=-1, keepdim=True)
    return (scores - weight).exp() @ value.to(exact), weight


AttentionInterface.register(TO_NODES, attend)

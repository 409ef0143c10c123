"""Prompts run once for many conditions: the walk over the layer-prefix tree, breadth-first or depth-first.

Each node of a level is one row of a batch, and a level is run before the next: in pieces, where a layer may not compute
all of it at once. Where the keys and values of all nodes may not be held together, the nodes of a level are cut into
runs, and each run is followed down to its leaves before the next begins. What is alive then is the path's keys and
values, and the hidden states where paths part. A long prompt may be fed in pieces: between partings each goes through
all layers before the next, and of no node any token is run twice.

Of the last layer only keys and values are made here: what it says is asked for afterwards (`shared_prompt`), at the
few positions where it matters.

Several prompts may be read side by side, each with its own tree: the shorter ones are filled up behind their ends,
which causal attention lets no token before them see, and what is filled is held by none of them.

What several prompts begin with, a front, is read in the same way; each prompt's own part is then read after it.

Knows nothing of what is done with a prompt that has been read (`shared_prompt`), nor of what tokens mean.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil

import torch

from harness.experiment.prefix_tree import PrefixTree
from harness.model.generation.branching import Branching, LayerCall, forward_with
from harness.model.generation.node_cache import KeysKnownError, KeysOnlyLayer, NodeCache, NodeLayer, rewind
from harness.model.generation.room import Room
from harness.model.generation.shared_prompt import SharedPrompt
from harness.model.loading.loaded_model import LoadedModel

FILLED = 0
"""The token that prompts are filled up with: any does."""


def prefill(
    loaded: LoadedModel,
    branching: Branching,
    tree: PrefixTree,
    token_ids: Sequence[int],
    draft: Sequence[int],
    *,
    capacity: int,
    room: Room,
    held: Sequence[NodeLayer] = (),
) -> Iterator[SharedPrompt]:
    """`prefill_together` of one prompt."""
    prompt, drafted = [token_ids], [draft]
    for parts in prefill_together(loaded, branching, tree, prompt, drafted, capacity=capacity, room=room, held=held):
        yield from parts


def prefill_together(
    loaded: LoadedModel,
    branching: Branching,
    tree: PrefixTree,
    prompts: Sequence[Sequence[int]],
    drafts: Sequence[Sequence[int]],
    *,
    capacity: int,
    room: Room,
    held: Sequence[NodeLayer] = (),
) -> Iterator[list[SharedPrompt]]:
    """Run each prompt with its draft over the tree, as much of it at once as there is room for.

    Leaves come in the tree's order; each of those given out is of one prompt, and what is given out together is held
    together. What was given out before is not to be used any more once the next is asked for, and holds nothing then.

    `capacity` positions are made room for, the filled ones included. `held` are layers of this tree with a front that
    was read before: then `prompts` are what comes after it.
    """
    layers = list(held) or [NodeLayer(capacity) for _ in tree.levels]
    start = layers[0].length
    fed = [(*prompt, *draft) for prompt, draft in zip(prompts, drafts, strict=True)]
    longest = max(map(len, fed))
    filled = [each + (FILLED,) * (longest - len(each)) for each in fed]
    noted = [
        _noted(loaded, [each[part] for each in filled], start + part.start, len(layers), capacity)
        for part in _parts(longest, room.tokens)
    ]
    hidden = [embedded for embedded, _ in noted]
    pieces = [piece for _, piece in noted]
    del noted
    spans = [slice(start + len(prompt) - 1, start + len(each)) for prompt, each in zip(prompts, fed, strict=True)]
    yield from _Walk(branching, pieces, spans, room).descend(tree, 0, layers, hidden, room.rows)


@dataclass(frozen=True, eq=False, slots=True)
class _Piece:
    """Tokens that are fed at once: the layers' calls, and the layers of the cache that these hold (`slots`).

    `start` is the position of the first of them.
    """

    calls: Sequence[LayerCall]
    slots: list[NodeLayer]
    start: int


def _parts(n_tokens: int, most: int | None) -> list[slice]:
    """Runs of so many tokens, the last one shorter."""
    return [slice(start, min(start + (most or n_tokens), n_tokens)) for start in range(0, n_tokens, most or n_tokens)]


def _noted(
    loaded: LoadedModel, rows: Sequence[Sequence[int]], start: int, n_layers: int, capacity: int
) -> tuple[torch.Tensor, _Piece]:
    """Rows of tokens, embedded, and what the model hands to its layers where `start` positions are held before them."""
    noted: list[tuple[torch.Tensor, Sequence[LayerCall]]] = []

    def note(hidden: torch.Tensor, calls: Sequence[LayerCall]) -> torch.Tensor:
        noted.append((hidden, calls))
        return hidden

    # layers put their own in these places
    cache = NodeCache([NodeLayer(capacity) for _ in range(n_layers)])
    rewind(cache.node_layers, start)
    forward_with(loaded, rows, cache, note, n_logits=1, capacity=capacity)
    ((embedded, calls),) = noted
    return embedded, _Piece(calls, cache.node_layers, start)


@dataclass(frozen=True, eq=False, slots=True)
class _Cut:
    """Nodes of a level that are run at once, their parents, and the tree of their leaves."""

    tree: PrefixTree
    parents: slice
    nodes: slice


@dataclass(frozen=True, eq=False, slots=True)
class _Walk:
    """What stays the same on the way down.

    `spans[prompt]` are the positions of the prompt's last token and its draft.
    """

    branching: Branching
    pieces: Sequence[_Piece]
    spans: Sequence[slice]
    room: Room

    def descend(
        self, tree: PrefixTree, first: int, layers: list[NodeLayer], hidden: list[torch.Tensor], rows: float
    ) -> Iterator[list[SharedPrompt]]:
        """From layer `first` to the leaves.

        `layers` are the tree's, those before `first` with what is fed in them; `hidden`, which is used up, is (nodes of
        the level before, positions, width) of each piece. As many `rows` of keys and values may be held here.

        Piece after piece goes down to where leaves part into runs, or to the end: hidden states of all positions are
        held only there.
        """
        last = len(tree.levels) - 1
        parting = self._parting(tree, first, layers, rows)
        stop = last if parting is None else parting
        rows -= sum(tree.levels[layer].n_parents for layer in range(first, stop) if not layers[layer].is_initialized)
        cuts = {layer: self._cuts(tree, layer) for layer in range(first, stop)}
        for number, piece in enumerate(self.pieces):
            for layer, cut in cuts.items():
                hidden[number] = self._through(piece, layer, cut, layers[layer], hidden[number])
            if parting is None:
                self._read_keys(piece, layers[last], hidden[number])
                hidden[number] = hidden[number][:, max(0, self._tail - piece.start) :].clone()
        if parting is None:
            yield from self._given_out(tree, layers, torch.cat(hidden, dim=1))
            return
        rows -= self.room.hidden * tree.levels[parting].n_parents
        given: list[SharedPrompt] = []
        for leaves in self._runs(tree, parting, layers, rows):
            self._give_back(given, parting)
            part, below = _part(tree, layers, leaves)
            nodes = tree.nodes(parting - 1, leaves)
            for given in self.descend(part, parting, below, [each[nodes] for each in hidden], rows):
                yield given

    def _give_back(self, given: Sequence[SharedPrompt], first: int) -> None:
        """The memory of what was given out, from layer `first` on: whoever still knows it, the next needs it.

        With it goes what is kept for reuse: where memory is short, in the sizes of before it is of no use.
        """
        for each in given:
            each.layers.clear()
        for piece in self.pieces:
            piece.slots[first:] = [NodeLayer(0)] * (len(piece.slots) - first)
        torch.cuda.empty_cache()

    @property
    def _tail(self) -> int:
        """The first position of which the last layer's input is asked for."""
        first: int = min(span.start for span in self.spans)
        return first

    def _given_out(
        self, tree: PrefixTree, layers: list[NodeLayer], hidden: torch.Tensor
    ) -> Iterator[list[SharedPrompt]]:
        """What has been read, prompt by prompt, or leaf by leaf where memory is short."""
        one_by_one = self.room.is_least
        level = len(layers) - 1 if one_by_one else -1
        shared = [self._shared(tree, layers, hidden, leaves) for leaves in tree.split(level, 1)]
        yield from [[each] for each in shared] if one_by_one else [shared]

    def _shared(self, tree: PrefixTree, layers: list[NodeLayer], hidden: torch.Tensor, leaves: slice) -> SharedPrompt:
        """What has been read for these leaves, of one prompt; `hidden` is the last layer's input, from `_tail` on."""
        span, all_of_them = self.spans[tree.prompts[leaves.start]], leaves == slice(0, len(tree.leaves))
        part, below = (tree, layers) if all_of_them else _part(tree, layers, leaves)
        rewind(below, span.stop)
        nodes = tree.nodes(len(layers) - 2, leaves)
        of_span = hidden[nodes, span.start - self._tail : span.stop - self._tail]
        return SharedPrompt(part, below, span.start, of_span.clone() if of_span.shape[1] > 1 else None)

    def _parting(self, tree: PrefixTree, first: int, layers: Sequence[NodeLayer], rows: float) -> int | None:
        """The layer from which on leaves are followed in runs, so that these are few; `None`: all of them together.

        Above it all nodes are held; the later it is, the more of what runs have in common, and the finer they are cut.
        """
        found: dict[int, float] = {}
        if self._rows(tree, first, layers, slice(0, len(tree.leaves))) <= rows:
            return None
        for layer in range(first, len(tree.levels)):
            above = tree.levels[layer].n_parents
            left = rows - self.room.hidden * above
            if above > 1 and left > 0 and (layer == first or above > tree.levels[layer - 1].n_parents):
                runs = self._runs(tree, layer, layers, left)
                # a node that is too much is parted again below
                found[layer] = sum(ceil(self._rows(tree, layer, layers, leaves) / left) for leaves in runs)
            rows -= 0 if layers[layer].is_initialized else above
        return min(found, key=lambda layer: (found[layer], layer), default=None)

    def _runs(self, tree: PrefixTree, layer: int, layers: Sequence[NodeLayer], rows: float) -> list[slice]:
        """Leaves that are followed together from this layer on: those of as many nodes of the level above as fit."""
        runs: list[slice] = []
        for node in tree.split(layer - 1, 1):
            longer = slice(runs[-1].start if runs else node.start, node.stop)
            if runs and self._rows(tree, layer, layers, longer) <= rows:
                runs[-1] = longer
            else:
                runs.append(node)
        return runs

    def _rows(self, tree: PrefixTree, layer: int, layers: Sequence[NodeLayer], leaves: slice) -> float:
        """Rows that these leaves take from this layer on, beside what is held already."""
        nodes = [tree.nodes(i - 1, leaves) for i in range(layer, len(layers)) if not layers[i].is_initialized]
        n_rows: int = sum(each.stop - each.start for each in nodes)
        n_leaves: int = leaves.stop - leaves.start
        # what goes into a layer, and what comes out of it
        return n_rows + 2 * self.room.hidden / len(self.pieces) * n_leaves

    def _cuts(self, tree: PrefixTree, layer: int) -> list[_Cut]:
        """A level's nodes, as many at once as a layer may compute."""
        level = tree.levels[layer]
        if len(level.parents) <= self.room.nodes:
            return [_Cut(tree, slice(0, level.n_parents), slice(0, len(level.parents)))]
        return [
            _Cut(tree.part(leaves), tree.nodes(layer - 1, leaves), tree.nodes(layer, leaves))
            for leaves in tree.split(layer, self.room.nodes)
        ]

    def _through(
        self, piece: _Piece, layer: int, cuts: Sequence[_Cut], kept: NodeLayer, hidden: torch.Tensor
    ) -> torch.Tensor:
        """The layer's output for each of its nodes, from hidden states of their parents."""
        call, n_parents = piece.calls[layer], len(hidden)
        if len(cuts) == 1:
            piece.slots[layer] = kept
            return self.branching.run(call, layer, cuts[0].tree, hidden, piece.start)
        output: torch.Tensor | None = None
        for cut in cuts:
            piece.slots[layer] = kept.some(cut.parents, n_parents)
            part = self.branching.run(call, layer, cut.tree, hidden[cut.parents], piece.start)
            if output is None:  # where the layer is, which need not be where the one before is
                output = part.new_empty(cuts[-1].nodes.stop, *part.shape[1:])
            output[cut.nodes] = part
        assert output is not None
        kept.length = piece.start + hidden.shape[1]
        return output

    def _read_keys(self, piece: _Piece, kept: NodeLayer, hidden: torch.Tensor) -> None:
        """Run the last layer for its keys and values."""
        for start in range(0, len(hidden), self.room.nodes):
            part = slice(start, min(start + self.room.nodes, len(hidden)))
            piece.slots[-1] = KeysOnlyLayer(kept.some(part, len(hidden)))
            with suppress(KeysKnownError):
                piece.calls[-1](hidden[part])
        kept.length = piece.start + hidden.shape[1]


def _part(tree: PrefixTree, layers: Sequence[NodeLayer], leaves: slice) -> tuple[PrefixTree, list[NodeLayer]]:
    """The tree of some leaves, and what its layers hold of their nodes: the same memory."""
    return tree.part(leaves), [kept.rows(tree.nodes(i - 1, leaves)) for i, kept in enumerate(layers)]

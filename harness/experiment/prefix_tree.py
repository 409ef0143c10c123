"""Trees of what conditions and rows have in common: the layer-prefix tree, and the trie over tokens.

A head ablated at layer l changes nothing below l's output. So sets of ablated heads that agree in layers 0 to l have
the same output of layer l for one prompt: one node of the tree's level l. Keys and values of layer l, made from the
layer's input, have one copy for each node of the level before it; the input of layer 0 is one for all. Leaves stand in
depth-first order, the set that loses least first: the leaves of any node, and the nodes that any run of leaves has in a
level, stand together, and are slices. Prompts that have nothing in common may be read side by side: their trees stand
one behind the other, a forest, with a root for each prompt.

Rows of one filing ask different questions of one document: their prompts have a front in common, and what a model
makes of it is the same for all of them. A node of the trie is a run of tokens that its prompts share, from where the
node above ends; prompts that part there are its children. Where prompts of several filings are read side by side they
are all cut at the same places, so that fronts too are read side by side.

Knows no models and no tensors, and nothing of what tokens mean.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.experiment.heads import Head


@dataclass(frozen=True, slots=True)
class Level:
    """One layer's nodes, each a distinct output of that layer, in the order of the leaves.

    `parents[i]` is node i's node in the level before (in the first: its root, the prompt itself), `heads[i]`
    the heads of this layer that it loses. `node_of_leaf[j]` is the node that leaf j passes through.
    """

    parents: tuple[int, ...]
    heads: tuple[frozenset[int], ...]
    node_of_leaf: tuple[int, ...]

    @property
    def n_parents(self) -> int:
        """Nodes of the level before."""
        return self.parents[-1] + 1

    def part(self, leaves: slice) -> "Level":
        """Those that a run of leaves passes through, counted from the first of them; so are their parents."""
        node_of_leaf = self.node_of_leaf[leaves]
        first = node_of_leaf[0]
        nodes = slice(first, node_of_leaf[-1] + 1)
        above = self.parents[first]
        return Level(
            tuple(parent - above for parent in self.parents[nodes]),
            self.heads[nodes],
            tuple(node - first for node in node_of_leaf),
        )


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """The tree of distinct head sets: `leaves[i]` is a leaf's set, `levels[l]` are layer l's nodes.

    `prompts[i]` is the number of the prompt that leaf i is of, in ascending order without gaps, and stays what it is in
    parts of the tree: with the head set it tells a leaf from all others.
    """

    leaves: tuple[frozenset[Head], ...]
    prompts: tuple[int, ...]
    levels: tuple[Level, ...]

    @property
    def n_nodes(self) -> int:
        """Passes through one layer that these sets take, with equal ones shared: the nodes of all levels."""
        return sum(len(level.parents) for level in self.levels)

    def part(self, leaves: slice) -> "PrefixTree":
        """The tree of a run of leaves alone, in all layers."""
        levels = tuple(level.part(leaves) for level in self.levels)
        return PrefixTree(self.leaves[leaves], self.prompts[leaves], levels)

    def nodes(self, layer: int, leaves: slice) -> slice:
        """The nodes of a level that a run of leaves passes through; those of layer -1 are the prompts."""
        nodes = self.node_of_leaf(layer)[leaves]
        return slice(nodes[0], nodes[-1] + 1)

    def split(self, layer: int, most: int) -> tuple[slice, ...]:
        """Runs of leaves that have at most this many nodes in a level; together all leaves."""
        node_of_leaf = self.node_of_leaf(layer)
        starts = [
            leaf
            for leaf, node in enumerate(node_of_leaf)
            if node % most == 0 and (leaf == 0 or node_of_leaf[leaf - 1] != node)
        ]
        return tuple(slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(node_of_leaf)], strict=True))

    def node_of_leaf(self, layer: int) -> tuple[int, ...]:
        """The node of a level that each leaf passes through; those of layer -1 are the prompts."""
        if layer >= 0:
            return self.levels[layer].node_of_leaf
        return tuple(prompt - self.prompts[0] for prompt in self.prompts)


def prefix_tree(head_sets: Iterable[Collection[Head]], n_layers: int) -> PrefixTree:
    """The tree of these sets, equal ones merged; heads of layers past the last are an IndexError."""
    return prefix_forest([head_sets], n_layers)


def prefix_forest(sets_of_prompts: Sequence[Iterable[Collection[Head]]], n_layers: int) -> PrefixTree:
    """The trees of several prompts' sets, at least one of each, one behind the other (`prefix_tree`)."""
    order: list[tuple[tuple[int, ...], ...]] = []
    leaves: list[frozenset[Head]] = []
    prompts: list[int] = []
    for prompt, head_sets in enumerate(sets_of_prompts):
        by_layers = {_by_layer(heads, n_layers): frozenset(heads) for heads in head_sets}
        ordered = sorted(by_layers)
        order += ordered
        leaves += [by_layers[heads] for heads in ordered]
        prompts += [prompt] * len(ordered)
    levels = []
    above = tuple(prompts)
    for layer in range(n_layers):
        level = _level(above, [heads[layer] for heads in order])
        levels.append(level)
        above = level.node_of_leaf
    return PrefixTree(tuple(leaves), tuple(prompts), tuple(levels))


def _by_layer(heads: Collection[Head], n_layers: int) -> tuple[tuple[int, ...], ...]:
    """A set's heads layer by layer, sorted: comparing two of them compares their paths from the first layer."""
    layers: list[list[int]] = [[] for _ in range(n_layers)]
    for head in heads:
        layers[head.layer].append(head.head)
    return tuple(tuple(sorted(layer)) for layer in layers)


def _level(above: Sequence[int], heads: Sequence[tuple[int, ...]]) -> Level:
    """One node for each run of leaves with equal nodes above and equal heads here."""
    parents: list[int] = []
    lost: list[frozenset[int]] = []
    node_of_leaf = []
    for leaf, path in enumerate(zip(above, heads, strict=True)):
        if leaf == 0 or path != (above[leaf - 1], heads[leaf - 1]):
            parents.append(path[0])
            lost.append(frozenset(path[1]))
        node_of_leaf.append(len(parents) - 1)
    return Level(tuple(parents), tuple(lost), tuple(node_of_leaf))


LEAST_SHARED = 32
"""Tokens that a run must have to be worth a pass of its own; shorter ones, a chat template's, stay with their rows."""


@dataclass(frozen=True, slots=True)
class Front:
    """Tokens `start` to `stop` of every prompt in `prompts`, which are numbers of those that the trie was made of.

    Without children it is one prompt, from where it parts from all others to its end.
    """

    start: int
    stop: int
    prompts: tuple[int, ...]
    children: "tuple[Front, ...]" = ()

    @property
    def n_tokens(self) -> int:
        """How many tokens are fed here."""
        return self.stop - self.start

    @property
    def depth(self) -> int:
        """How many fronts lie above each other before a prompt's own part, at most."""
        return 1 + max(child.depth for child in self.children) if self.children else 0

    def nodes(self) -> "Iterator[Front]":
        """This node and all below it, each before its children."""
        yield self
        for child in self.children:
            yield from child.nodes()


def token_trie(prompts: Sequence[Sequence[int]], *, least: int = LEAST_SHARED) -> tuple[Front, ...]:
    """The trie's first nodes, one for each set of prompts that share at least `least` tokens from the first on.

    The last token of a prompt is never shared: what is fed after it belongs to its row. Prompts keep their order among
    the children of a node; equal prompts are different children.
    """
    return _part(prompts, tuple(range(len(prompts))), 0, least)


def _part(prompts: Sequence[Sequence[int]], members: Sequence[int], start: int, least: int) -> tuple[Front, ...]:
    """The nodes of prompts that are equal up to `start`."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for member in members:
        key = tuple(prompts[member][start : start + least])
        # too short to share: a group of its own
        alone = len(prompts[member]) - 1 < start + least
        groups.setdefault((-1, member) if alone else key, []).append(member)
    nodes = []
    for group in groups.values():
        if len(group) == 1:
            nodes.append(Front(start, len(prompts[group[0]]), tuple(group)))
            continue
        shared = n_common([prompts[member][:-1] for member in group])
        nodes.append(Front(start, shared, tuple(group), _part(prompts, group, shared, least)))
    return tuple(nodes)


def n_common(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all of them have in common."""
    shortest = min(map(len, prompts))
    return next((i for i in range(shortest) if any(each[i] != prompts[0][i] for each in prompts)), shortest)


def cuts(prompts: Sequence[Sequence[int]], cost: float) -> tuple[int, ...]:
    """Where prompts that are read side by side are cut, so that there is least to read.

    From one cut to the next a run of tokens is read once for all prompts that are equal as far as the next; what is
    behind the last cut is read prompt by prompt. A further cut costs as much as `cost` tokens. The last token of a
    prompt is behind all cuts.
    """
    shortest = min(map(len, prompts)) - 1
    parting = [min(n_common(pair), shortest) for pair in pairwise(sorted(map(tuple, prompts)))]
    # of the cheapest way to a cut: what it costs, and the cuts
    ways: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for cut in sorted({*parting} - {0}):
        n_apart = 1 + sum(place < cut for place in parting)
        ways[cut] = min(
            (so_far + cost + (cut - last) * n_apart, (*chosen, cut)) for last, (so_far, chosen) in ways.items()
        )
    _, chosen = min((so_far - last * len(prompts), chosen) for last, (so_far, chosen) in ways.items())
    return chosen

"""A prompt that many conditions have read: what is held of it, and how it is handed on and asked.

Keys and values are those of the nodes of a layer-prefix tree (`harness.experiment.prefix_tree`), which leaves have in
common. What several prompts begin with, a front, is one too: each prompt's own part is read after it, with the front's
keys and values of the nodes that its conditions pass through (`handed_down`). Drafts after a prompt are read over the
tree's nodes, as the prompt was (`read_prefilled`, `read_draft`), or leaf by leaf (`parts_of`, `gather`).

Knows nothing of how prompts are read (`shared_prefill`), nor of what tokens mean; `decoding` reads the logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.experiment.prefix_tree import PrefixTree
from harness.model.generation.branching import Branching, LayerCall, forward_with
from harness.model.generation.leaf_step import Held
from harness.model.generation.node_cache import NodeCache, NodeLayer, rewind
from harness.model.loading.loaded_model import LoadedModel


@dataclass(frozen=True, eq=False, slots=True)
class SharedPrompt:
    """Neighbouring leaves whose prompt has been read, fed with a draft after it.

    `layers[l]` holds keys and values, a row for each node of level l - 1; `n_held` is the prompt's length
    less one: its last token is fed with every draft. `hidden` is the last layer's input from that token on,
    (nodes of the level before the last, 1 + draft tokens, width), `None` where nothing was fed after the prompt.

    Where it was put aside, `layers` hold what comes behind `front`, which holds these leaves too.
    """

    tree: PrefixTree
    layers: list[NodeLayer]
    n_held: int
    hidden: torch.Tensor | None
    front: "SharedPrompt | None" = None


def handed_down(
    fronts: Sequence[SharedPrompt], front_of: Sequence[int], tree: PrefixTree, capacity: int
) -> list[NodeLayer]:
    """The layers of a tree of some of the fronts' leaves, with the fronts in them and room for `capacity` positions.

    Fronts were read together, and prompt i of the tree goes on from `fronts[front_of[i]]`. Where the nodes stand
    together the memory is the fronts' own, which what is fed next is written behind: one tree at a time may use it.
    Else they are copied.
    """
    n_front = fronts[0].n_held + 1
    for front in fronts:
        rewind(front.layers, n_front)
    places = [{heads: leaf for leaf, heads in enumerate(front.tree.leaves)} for front in fronts]
    # of each leaf its prompt, the front of that, and the leaf there
    paths = [
        (prompt, front_of[prompt], places[front_of[prompt]][heads])
        for prompt, heads in zip(tree.prompts, tree.leaves, strict=True)
    ]
    layers = []
    for layer, of_first in enumerate(fronts[0].layers):
        held = of_first.whole.rows(slice(0, None))
        held.length = n_front
        nodes = [front.tree.node_of_leaf(layer - 1) for front in fronts]
        starts = [front.layers[layer].first for front in fronts]
        rows = [row for _, row in dict.fromkeys((prompt, starts[n] + nodes[n][leaf]) for prompt, n, leaf in paths)]
        together = slice(rows[0], rows[-1] + 1)
        fits = rows == [*range(together.start, together.stop)] and held.capacity >= capacity
        layers.append(held.rows(together, capacity) if fits else held.gather(rows, capacity))
    return layers


def spread(prompt: SharedPrompt, tree: PrefixTree) -> SharedPrompt:
    """A prompt that one leaf has read, for a tree that parts after it.

    Keys and values are copied for each node: what is fed next is other from node to node.
    """
    rewind(prompt.layers, prompt.n_held)
    layers = [layer.gather([0] * level.n_parents) for layer, level in zip(prompt.layers, tree.levels, strict=True)]
    return SharedPrompt(tree, layers, prompt.n_held, None)


def nodes_of(prompt: SharedPrompt, leaves: Sequence[int]) -> list[list[int]]:
    """For each layer the row of its keys and values that each of these leaves reads."""
    levels = prompt.tree.levels[:-1]
    return [[0] * len(leaves), *([level.node_of_leaf[leaf] for leaf in leaves] for level in levels)]


def parts_of(prompt: SharedPrompt, leaves: Sequence[int]) -> list[Held]:
    """What is held of it for these leaves, as a step by leaf takes it."""
    front = prompt.front
    if front is None:
        return [Held(prompt.layers, nodes_of(prompt, leaves), prompt.n_held)]
    place, n_front = {heads: leaf for leaf, heads in enumerate(front.tree.leaves)}, front.n_held + 1
    in_front = nodes_of(front, [place[prompt.tree.leaves[leaf]] for leaf in leaves])
    return [
        Held(front.layers, in_front, n_front),
        Held(prompt.layers, nodes_of(prompt, leaves), prompt.n_held - n_front),
    ]


def gather(prompt: SharedPrompt, leaves: Sequence[int]) -> NodeCache:
    """The prompt's keys and values but its last token's, copied for some leaves: one row for each."""
    rewind(prompt.layers, prompt.n_held)
    return NodeCache(prompt.layers).gather(nodes_of(prompt, leaves))


def read_prefilled(
    loaded: LoadedModel, branching: Branching, prompt: SharedPrompt, tokens: Sequence[int]
) -> torch.Tensor:
    """Logits of every leaf at the prompt's last token and at the draft it was fed with, given as `tokens`.

    Only the last layer is run, where the draft was fed with the prompt: (leaves, tokens, vocabulary).
    """
    hidden = prompt.hidden
    if hidden is None:
        return read_draft(loaded, branching, prompt, tokens)

    def last_layer(embedded: torch.Tensor, calls: Sequence[LayerCall]) -> torch.Tensor:
        layer = len(calls) - 1
        return branching.run(calls[layer], layer, prompt.tree, hidden, prompt.n_held)

    rewind(prompt.layers, prompt.n_held)
    logits = forward_with(loaded, [tokens], NodeCache(prompt.layers), last_layer)
    # the other layers were fed with the prompt
    rewind(prompt.layers, prompt.n_held + len(tokens))
    return logits


def read_draft(loaded: LoadedModel, branching: Branching, prompt: SharedPrompt, tokens: Sequence[int]) -> torch.Tensor:
    """Logits of every leaf at the prompt's last token and any draft after it, given as `tokens`.

    All layers are run, shared as the prompt's were: (leaves, tokens, vocabulary).
    """

    def all_layers(hidden: torch.Tensor, calls: Sequence[LayerCall]) -> torch.Tensor:
        for layer, call in enumerate(calls):
            hidden = branching.run(call, layer, prompt.tree, hidden, prompt.n_held)
        return hidden

    rewind(prompt.layers, prompt.n_held)
    return forward_with(loaded, [tokens], NodeCache(prompt.layers), all_layers)

"""How a model is laid out over the GPUs of a cluster's nodes: on how many cards, with which layers where, how often.

A model is kept whole within a node. Where one card does not hold it, its layers are cut into as few stages of
neighbours as fit, a card each, about as heavy as each other; what stands outside the layers, embedding and output
matrix, lies half with the first and half with the last. Beside the weights a card holds what one row needs at least:
keys and values of its prompt twice (the path of the tree that is walked, and what parted from it), and the widest
activations of one layer. As many rows are in flight as there are stages and as memory holds.

Numbers alone: what a loaded model really takes, only loading it shows. Knows no devices, nor what is asked of a model.
"""

from dataclasses import dataclass

from harness.choices import Nodes
from harness.experiment.cost import ModelSize

USABLE = 0.98
"""Of a card's gigabytes, taken as GiB, what a process can use: an H100 of 80 shows 79.1, an H200 of 141 shows 139.8."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A model on nodes of one kind: `models` of it on all nodes together, with `layers` of them on each of its cards.

    `in_flight` rows are on their way through one model at once; `left` are the bytes that the fullest card has beside
    its weights.
    """

    nodes: Nodes
    models: int
    layers: tuple[int, ...]
    in_flight: int
    left: float

    @property
    def stages(self) -> int:
        """Cards that one model takes."""
        return len(self.layers)


def lay_out(size: ModelSize, nodes: Nodes, longest: int, cards: int | None = None) -> Layout | None:
    """A model on these nodes, for prompts of at most `longest` tokens; `None` where a node does not hold it.

    `cards` is how many one model takes, where that was asked for; else it takes as few as hold it.
    """
    room = nodes.gigabytes * 2**30 * USABLE
    most = min(nodes.gpus, len(size.layers))
    for n in range(1, most + 1) if cards is None else [cards] * (cards <= most):
        layers = cut(size, n)
        weights = stage_bytes(size, layers)
        path = [max(1, 2 * longest * size.cached_bytes * each / len(size.layers)) for each in layers]
        rows = [(room - held - _activations(size, longest)) // row for held, row in zip(weights, path, strict=True)]
        if min(rows) >= 1:
            return Layout(nodes, nodes.n * (nodes.gpus // n), layers, min(n, int(min(rows))), room - max(weights))
    return None


def cut(size: ModelSize, n: int) -> tuple[int, ...]:
    """How many layers each of `n` stages has, from the first; each layer goes where its middle lies by weight."""
    ends, before = outside_bytes(size) / 2, outside_bytes(size) / 2
    total = sum(layer_bytes(size)) + 2 * ends
    stage_of = []
    for held in layer_bytes(size):
        stage_of.append(min(n - 1, int(n * (before + held / 2) / total)))
        before += held
    return tuple(stage_of.count(stage) for stage in range(n))


def stage_bytes(size: ModelSize, layers: tuple[int, ...]) -> tuple[float, ...]:
    """Weights of each stage of so many layers, the ends of the model with its first and last."""
    held, first, found = layer_bytes(size), 0, []
    for n in layers:
        found.append(sum(held[first : first + n]))
        first += n
    found[0] += outside_bytes(size) / 2
    found[-1] += outside_bytes(size) / 2
    return tuple(found)


def layer_bytes(size: ModelSize) -> tuple[float, ...]:
    """Weights of each layer; those of few bits all lie in layers."""
    in_layers = sum(layer.held for layer in size.layers)
    each = (size.weight_bytes - outside_bytes(size)) / in_layers
    return tuple(layer.held * each for layer in size.layers)


def outside_bytes(size: ModelSize) -> float:
    """Weights outside the layers: embedding and output matrix, which are not quantised."""
    return (size.n_weights - sum(layer.held for layer in size.layers)) * size.bytes_per_number


def _activations(size: ModelSize, n_tokens: int) -> float:
    """A layer's widest: gate, up and their product of a feed-forward, as wide as its three matrices make them."""
    widest = max(max(layer.width, layer.rest / (3 * layer.width)) for layer in size.layers)
    return 3 * widest * n_tokens * size.bytes_per_number

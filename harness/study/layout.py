"""How a model is laid out over the GPUs of a cluster: on how many cards, how many layers on each, and how often.

A model is kept whole within a node, on as few cards as hold it. Over several its layers are dealt out by the work that
a study does in them and by memory, as those of a model that is loaded over several GPUs; what stands outside them,
embedding and output matrix, lies half with the first and half with the last. Beside the weights a card holds what one
row needs at least: keys and values of its prompt twice (the path of the tree that is walked, and what parted from it),
and the widest activations of one layer. Of several cards two rows more than these are in flight, if memory holds them.

Numbers alone: what a loaded model really takes, only loading it shows. Knows no devices, nor what is asked of a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.choices import Nodes
from harness.errors import ModelError
from harness.experiment.cost import ModelSize, layer_bytes, outside_bytes

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
    def cards(self) -> int:
        """Cards that one model takes."""
        return len(self.layers)


def lay_out(
    size: ModelSize, nodes: Nodes, longest: int, *, cards: int | None = None, work: Sequence[float] = ()
) -> Layout | None:
    """A model on these nodes, for prompts of at most `longest` tokens; `None` where a node does not hold it.

    `cards` is how many one model takes, where that was asked for; else it takes as few as hold it. `work[l]` is what is
    done in layer l, in any unit; where nothing is said, in all alike.
    """
    from harness.model.generation.engine import SPARE
    from harness.model.loading.placement import Parts, balanced

    n_layers = len(size.layers)
    ends, most = outside_bytes(size) / 2, min(nodes.gpus, n_layers)
    parts = Parts(layer_bytes(size), ends, ends, tuple(work) or (1.0,) * n_layers)
    whole, of_row = nodes.gigabytes * 2**30 * USABLE, 2 * longest * size.cached_bytes
    room = whole - _activations(size, longest)
    for n in range(1, most + 1) if cards is None else [cards] * (cards <= most):
        try:
            places = balanced(parts, [room - of_row / n] * n, [1.0] * n)
        except ModelError:
            continue
        held = [0.0] * n
        for place, weights in [*zip(places, parts.layers, strict=True), (places[0], ends), (places[-1], ends)]:
            held[place] += weights
        layers = tuple(map(places.count, range(n)))
        free = [(room - full) * n_layers / max(1, of_row * on) for full, on in zip(held, layers, strict=True)]
        in_flight = max(1, min(n + SPARE, int(min(free)))) if n > 1 else 1
        return Layout(nodes, nodes.n * (nodes.gpus // n), layers, in_flight, whole - max(held))
    return None


def _activations(size: ModelSize, n_tokens: int) -> float:
    """A layer's widest: gate, up and their product of a feed-forward, as wide as its three matrices make them."""
    widest = max(max(layer.width, layer.rest / (3 * layer.width)) for layer in size.layers)
    return 3 * widest * n_tokens * size.bytes_per_number

"""What a plan costs: floating-point operations and bytes, and the least time that hardware of known speed needs.

Counts are of the work that cannot be shared away: of conditions that agree in the layers before l, layer l's
attention is needed once, and its output projection and feed-forward once for each different set of heads ablated
in it. In the last layer all positions but the last need keys and values alone. Prompts that begin alike need their
common front once, for all head sets that are asked of any of them. Sizes come from whoever knows a
model (`harness.model.loading.blueprints`); speeds from whoever measured them (`harness.model.loading.device_speed`).

Conventions: a weight met by a token costs 2 operations; causal attention over T tokens costs 2 x T^2 x the width of
all heads (scores and values, half of the square each). Norms, activations, rotary angles and the head over the
vocabulary are left out: they are a small part, so the least time is a little too low, never too high. Windows of
sliding attention are not looked at, and there it may be too high.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.experiment.heads import Head
from harness.experiment.prefix_tree import LEAST_SHARED, n_common, prefix_tree, token_trie


@dataclass(frozen=True, slots=True)
class LayerSize:
    """Weights of one layer that a token meets, and what it leaves behind.

    `attention` are those before the output projection's input, `rest` all others (of a mixture, those of the experts
    that a token is sent to). `width` is heads x width of a head; `cached` the numbers that a position keeps as keys
    and values; `held` all weights of the layer, every expert's too.
    """

    attention: int
    rest: int
    width: int
    cached: int
    held: int


@dataclass(frozen=True, slots=True)
class ModelSize:
    """A model: its layers, all its weights (every expert's, both embeddings), and bytes of one number.

    `n_quantized` of the weights take `bytes_per_quantized` instead; keys and values are never quantised.
    """

    layers: tuple[LayerSize, ...]
    n_weights: int
    bytes_per_number: float
    n_quantized: int = 0
    bytes_per_quantized: float = 0.0

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights."""
        whole = self.n_weights - self.n_quantized
        return whole * self.bytes_per_number + self.n_quantized * self.bytes_per_quantized

    @property
    def cached_bytes(self) -> float:
        """Bytes that one position keeps in all layers."""
        return sum(layer.cached for layer in self.layers) * self.bytes_per_number


@dataclass(frozen=True, slots=True)
class Speed:
    """What hardware does at best: operations a second of large products, bytes a second read and written."""

    flops: float
    bandwidth: float


def layer_bytes(size: ModelSize) -> tuple[float, ...]:
    """Weights of each layer; those of few bits all lie in layers."""
    in_layers = sum(layer.held for layer in size.layers)
    each = (size.weight_bytes - outside_bytes(size)) / in_layers
    return tuple(layer.held * each for layer in size.layers)


def outside_bytes(size: ModelSize) -> float:
    """Weights outside the layers: embedding and output matrix, which are not quantised."""
    return (size.n_weights - sum(layer.held for layer in size.layers)) * size.bytes_per_number


def shared_flops(size: ModelSize, head_sets: Iterable[Collection[Head]], n_tokens: int) -> float:
    """Operations of one prompt of `n_tokens` for all of these head sets, whatever they have in common done once."""
    return _part_flops(size, head_sets, 0, n_tokens, ends=True)


def group_flops(
    size: ModelSize,
    prompts: Sequence[Sequence[int]],
    head_sets: Sequence[Sequence[frozenset[Head]]],
    *,
    least: int = LEAST_SHARED,
) -> float:
    """The same of several prompts, given as token ids, each with head sets of its own; what they begin with done once.

    Of fewer than `least` tokens in common nothing is counted as shared.
    """
    return sum(
        _part_flops(
            size,
            {heads for number in node.prompts for heads in head_sets[number]},
            node.start,
            node.stop,
            ends=not node.children,
        )
        for root in token_trie(prompts, least=least)
        for node in root.nodes()
    )


def group_passes(
    prompts: Sequence[Sequence[int]], head_sets: Sequence[Sequence[frozenset[Head]]], n_layers: int
) -> int:
    """How many layers the tokens of these prompts run through, all together, what they share run once.

    A whole number that needs no sizes of a model, and so is the same on every machine.
    """
    return sum(
        node.n_tokens * _n_nodes(frozenset(heads for number in node.prompts for heads in head_sets[number]), n_layers)
        for root in token_trie(prompts)
        for node in root.nodes()
    )


@lru_cache(maxsize=1024)
def _n_nodes(head_sets: frozenset[frozenset[Head]], n_layers: int) -> int:
    """Rows of a task have the same conditions, and there may be thousands."""
    return prefix_tree(head_sets, n_layers).n_nodes


def _part_flops(size: ModelSize, head_sets: Iterable[Collection[Head]], start: int, stop: int, *, ends: bool) -> float:
    """Of the tokens from `start` to `stop`; what a prompt `ends` with is read out once for each head set."""
    tree = prefix_tree(head_sets, len(size.layers))
    n_tokens = stop - start
    above = 1
    flops = 0.0
    for layer, level in zip(size.layers[:-1], tree.levels, strict=False):
        flops += (
            above * (_attention(layer, stop) - _attention(layer, start))
            + len(level.parents) * 2 * layer.rest * n_tokens
        )
        above = len(level.parents)
    last = size.layers[-1]
    flops += above * 2 * last.attention * n_tokens
    return flops + ends * len(tree.leaves) * (2 * last.rest + 4 * last.width * stop)


def single_flops(size: ModelSize, n_tokens: int) -> float:
    """Operations of one prompt for one condition on its own, all layers at all positions."""
    return sum(_attention(layer, n_tokens) + 2 * layer.rest * n_tokens for layer in size.layers)


def decoding_bytes(size: ModelSize, n_steps: float, n_rows: float, n_tokens: int) -> float:
    """Bytes that decoding reads: all weights at each step, and what a row has cached of `n_tokens`.

    `n_rows` counts the rows of all steps together.
    """
    return n_steps * size.weight_bytes + n_rows * n_tokens * size.cached_bytes


def decoding_passes(
    answers: Mapping[frozenset[Head], Sequence[int]], draft: Sequence[int]
) -> tuple[tuple[frozenset[Head], ...], ...]:
    """The passes over all weights that one prompt's answers need at least, one for each new token.

    The first is the prompt's own, with the `draft` behind it, which may give several tokens. Of each pass the head sets
    whose keys and values it must read: as long as answers are the same, one stands for all, the others are checked.
    """
    known = {heads: n_common([answer, draft]) for heads, answer in answers.items()}
    left = {heads: len(answer) - known[heads] for heads, answer in answers.items()}
    passes = []
    for n_new in range(1, 1 + max((1, *left.values()))):
        alive = (heads for heads in answers if n_new == 1 or left[heads] >= n_new)
        apart = {tuple(answers[heads][: known[heads] + n_new]): heads for heads in alive}
        passes.append(tuple(apart.values()))
    return tuple(passes)


def passes_bytes(size: ModelSize, passes: Iterable[Collection[frozenset[Head]]], n_tokens: int) -> float:
    """Bytes that `decoding_passes` read after a prompt of `n_tokens`: all weights, and keys and values of each
    different node of the tree once."""
    n_bytes = 0.0
    for head_sets in passes:
        tree = prefix_tree(head_sets, len(size.layers))
        cached = sum(layer.cached * level.n_parents for layer, level in zip(size.layers, tree.levels, strict=True))
        n_bytes += size.weight_bytes + n_tokens * cached * size.bytes_per_number
    return n_bytes


def least_seconds(flops: float, n_bytes: float, speed: Speed) -> float:
    """The time that no program can beat: prefill bound by products, decoding by reading weights and caches."""
    return flops / speed.flops + n_bytes / speed.bandwidth


def _attention(layer: LayerSize, n_tokens: int) -> float:
    return 2 * layer.attention * n_tokens + 2 * layer.width * n_tokens**2

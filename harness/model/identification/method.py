"""A method: one way to score all heads on one trial, with what it needs and refuses; and how methods read attention.

Each method has a module of its own; `harness.model.identification.identify` lists them.

What a few tokens of a prompt attend to, in every head, is read without memory of positions x positions. What stands
before the wanted tokens runs as ever and fills the cache; the wanted tokens then run with the
model's own eager attention, which gives the weights. So rotary embedding, query norms, grouped keys, scaling,
windows, soft-caps and sinks are the model's, and what is read are lines of what eager attention would give
for the whole prompt.

Where the model would hold positions x positions in prefill, it is fed in pieces (`pieces`), and few enough
tokens are read at once for their weights to stay small. The cache keeps every position, of windowed layers too, so
that it can be rewound and read again.

Knows nothing of what the tokens mean.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedConfig

from harness.errors import ModelError
from harness.model.generation.node_cache import NodeCache, NodeLayer, rewind
from harness.model.loading.loaded_model import LoadedModel, pieces
from harness.retrieval.prompts import Trial

Scores = NDArray[np.float64]
"""One trial's score of every head: (layers, heads)."""


def prompt_tokens(trial: Trial) -> int:
    """The length of the longest prompt."""
    return max(len(prompt.token_ids) for prompt in (trial.prompt, trial.null_prompt) if prompt is not None)


def accept(_: Trial) -> None:
    """No trial is refused."""


@dataclass(frozen=True, slots=True)
class Method:
    """`score` gives `None` for a trial that does not count: `counts` says which do.

    `n_tokens` tells how many positions the model must hold for a trial. `check` raises a HarnessError for one
    that cannot be scored; neither needs a model. `chance` is what a head scores that attends to all tokens
    alike, `None` where such a head scores nothing. `null_query` tells that trials need their prompt without a
    question. `variants` are other rules under the same name.
    """

    score: Callable[[LoadedModel, Trial], Scores | None]
    n_tokens: Callable[[Trial], int] = prompt_tokens
    check: Callable[[Trial], None] = accept
    counts: str = "all"
    chance: Callable[[Trial], float] | None = None
    null_query: bool = False
    variants: Mapping[str, "Method"] = field(default_factory=dict)


WEIGHT_BYTES = 2**28
"""What the weights of all layers may take while they are read; a single token's are read in any case."""

Reduce = Callable[[torch.Tensor], torch.Tensor]
"""From one layer's weights (heads, queries, positions) to what is wanted of them (heads, queries, ...)."""


@dataclass(frozen=True, eq=False, slots=True)
class Attended:
    """`wanted` is what was asked for, (layers, heads, queries, ...); `next_id` the greedy token after the last."""

    wanted: torch.Tensor
    next_id: int


class AttentionReader:
    """One prompt on its way through the model: `run` its tokens, or `read` what they attend to.

    Weights of positions outside a layer's window are 0. Peak memory above a plain prefill: room for keys and
    values of `capacity` positions, `WEIGHT_BYTES` or one token's weights, and what is wanted of them. Two
    attention mechanisms round differently: in float32, equal to `output_attentions` of a whole eager run to
    1e-5. Where rotary frequencies change with each token ("dynamic"), the weights are those of decoding, whose
    keys were rotated as they came.

    Raises:
        ModelError: a model that does not give its attention, or another than it computes with.
    """

    def __init__(self, loaded: LoadedModel, capacity: int) -> None:
        if loaded.architecture.doubles_alibi and loaded.model.config.alibi:
            raise ModelError(
                f"{loaded.shape.id}: {loaded.model.config.model_type} with alibi; expected a model whose eager "
                "attention is what it computes; its heads cannot be scored by attention"
            )
        self._loaded = loaded
        self._layers = [NodeLayer(capacity) for _ in range(loaded.shape.n_layers)]
        self._cache = NodeCache(self._layers)

    @torch.inference_mode()
    def run(self, token_ids: Sequence[int]) -> None:
        """Feed tokens after those that are held."""
        for piece in pieces(self._loaded, self._ids(token_ids)):
            self._feed(piece, weights=False)

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int], reduce: Reduce) -> Attended:
        """Feed tokens after those that are held, and reduce what they attend to, themselves included.

        `reduce` sees one layer at a time, and some of the queries; positions end with the last query that it
        sees.

        Raises:
            ModelError: no tokens, or a model that gives no attention.
        """
        if not token_ids:
            raise ModelError("attention: no tokens to read; expected at least one")
        shape, held = self._loaded.shape, self._layers[0].length
        line = shape.n_layers * shape.n_heads * (held + len(token_ids)) * self._loaded.model.dtype.itemsize
        size = max(1, WEIGHT_BYTES // line)
        wanted: list[torch.Tensor] = []
        for start in range(0, len(token_ids), size):
            weights, logits = self._feed(self._ids(token_ids[start : start + size]), weights=True)
            wanted.append(torch.stack([reduce(layer[0]).to(self._loaded.device) for layer in weights]))
        return Attended(torch.cat(wanted, dim=2), int(logits.argmax()))

    def held(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model keeps of all tokens fed so far in this layer: its keys and values, as it keeps them."""
        keys, values = self._layers[layer].buffers()
        length = self._layers[layer].length
        return keys[:, :, :length], values[:, :, :length]

    def rewind(self, length: int) -> None:
        """Forget every token from `length` on."""
        rewind(self._layers, length)

    def _ids(self, token_ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([token_ids], dtype=torch.long, device=self._loaded.device)

    def _feed(self, ids: torch.Tensor, *, weights: bool) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Each layer's weights, (1, heads, queries, positions), where they are asked for; the last logits."""
        model = self._loaded.model
        with _eager(model.config, weights):
            output = model(
                input_ids=ids,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
                output_attentions=weights,
            )
        if not weights:
            return (), output.logits[0, -1]
        seen, n_layers = output.attentions, self._loaded.shape.n_layers
        if seen is None or len(seen) != n_layers or any(layer is None for layer in seen):
            raise ModelError(
                f"{self._loaded.shape.id}: gives no attention for output_attentions; expected weights of each "
                f"of its {n_layers} layers; its heads cannot be scored by attention"
            )
        return seen, output.logits[0, -1]


@contextmanager
def _eager(config: PreTrainedConfig, wanted: bool) -> Iterator[None]:
    """The model's eager attention, if it is wanted, for as long as the context is open."""
    before = config._attn_implementation
    config._attn_implementation = "eager" if wanted else before
    try:
        yield
    finally:
        config._attn_implementation = before

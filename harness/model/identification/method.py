"""A method: one way to score all heads on one trial, with what it needs and refuses; and how methods read attention.

Each method has a module of its own; `harness.model.identification.identify` lists them.

What a few tokens of a prompt attend to, in every head, is read without memory of positions x positions. What stands
before the wanted tokens runs as ever and fills the cache; the wanted tokens then run with the
model's own eager attention, which gives the weights. So rotary embedding, query norms, grouped keys, scaling,
windows, soft-caps and sinks are the model's, and what is read are lines of what eager attention would give
for the whole prompt.

Where the model would hold positions x positions in prefill, it is fed in pieces (`pieces`), and few enough
tokens are read at once for their weights to stay small. The cache keeps every position, of windowed layers too, so
that it can be rewound and read again: what a prompt begins with and the one before began with too is not run again.
Rows of one filing ask different questions of one document, and have all that stands before the first needle, or in
place before the question, in common.

Knows nothing of what the tokens mean.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedConfig

from harness.errors import ModelError
from harness.experiment.prefix_tree import LEAST_SHARED
from harness.model.generation.attention import BEHIND, attention, sees_everything
from harness.model.generation.node_cache import NodeCache, NodeLayer, rewind
from harness.model.loading.blueprints import rotates_by_length
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
    """`score` reads a trial and gives `None` for one that does not count: `counts` says which do.

    `n_tokens` tells how many positions the model must hold for a trial. `check` raises a HarnessError for one
    that cannot be scored; neither needs a model. `chance` is what a head scores that attends to all tokens
    alike, `None` where such a head scores nothing. `null_query` tells that trials need their prompt without a
    question. `variants` are other rules under the same name.
    """

    score: "Callable[[AttentionReader, Trial], Scores | None]"
    n_tokens: Callable[[Trial], int] = prompt_tokens
    check: Callable[[Trial], None] = accept
    counts: str = "all"
    chance: Callable[[Trial], float] | None = None
    null_query: bool = False
    variants: Mapping[str, "Method"] = field(default_factory=dict)


WEIGHT_BYTES = 2**28
"""What the weights of all layers may take while they are read; a single token's are read in any case."""

MASK_ELEMENTS = 2**24
"""Places that a mask may have, of what is fed at once after what is held x all positions."""

Reduce = Callable[[torch.Tensor], torch.Tensor]
"""From one layer's weights (heads, queries, positions) to what is wanted of them (heads, queries, ...)."""


@dataclass(frozen=True, eq=False, slots=True)
class Attended:
    """`wanted` is what was asked for, (layers, heads, queries, ...); `next_id` the greedy token after the last."""

    wanted: torch.Tensor
    next_id: int


class AttentionReader:
    """Prompts on their way through the model, one after the other: `hold` their tokens, `read` what tokens attend to.

    Weights of positions outside a layer's window are 0. Peak memory above a plain prefill: room for keys and
    values of `capacity` positions, `WEIGHT_BYTES` or one token's weights, and what is wanted of them. Two
    attention mechanisms round differently: in float32, equal to `output_attentions` of a whole eager run to
    1e-5. Where rotary frequencies change with each token ("dynamic"), the weights are those of decoding, whose
    keys were rotated as they came, and nothing is taken over from the prompt before.

    Raises:
        ModelError: a model that does not give its attention, or another than it computes with.
    """

    def __init__(self, loaded: LoadedModel, capacity: int) -> None:
        if loaded.architecture.doubles_alibi and loaded.model.config.alibi:
            raise ModelError(
                f"{loaded.shape.id}: {loaded.model.config.model_type} with alibi; expected a model whose eager "
                "attention is what it computes; its heads cannot be scored by attention"
            )
        self.loaded = loaded
        self._layers = [NodeLayer(capacity) for _ in range(loaded.shape.n_layers)]
        self._cache = NodeCache(self._layers)
        self._held: list[int] = []

    @classmethod
    def of(cls, loaded: LoadedModel, trials: Iterable[Trial]) -> "AttentionReader":
        """One with room for any of these trials and its answer. Raises what the class raises."""
        return cls(loaded, max(prompt_tokens(trial) + trial.max_new_tokens for trial in trials))

    @torch.inference_mode()
    def hold(self, token_ids: Sequence[int]) -> None:
        """Hold just these tokens: those that all was held up to are not run again, from `LEAST_SHARED` of them on."""
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._held, token_ids, strict=False)))
        if common < LEAST_SHARED or rotates_by_length(self.loaded.model.config):
            common = 0
        rewind(self._layers, common)
        del self._held[common:]
        rest = self._ids(token_ids[common:])
        size = max(1, MASK_ELEMENTS // max(1, len(token_ids)))
        parts = torch.split(rest, size, dim=1) if common else (rest,)
        for part in parts:
            for piece in pieces(self.loaded, part):
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
        shape, held = self.loaded.shape, len(self._held)
        line = shape.n_layers * shape.n_heads * (held + len(token_ids)) * self.loaded.model.dtype.itemsize
        size = max(1, WEIGHT_BYTES // line)
        wanted: list[torch.Tensor] = []
        for start in range(0, len(token_ids), size):
            weights, logits = self._feed(self._ids(token_ids[start : start + size]), weights=True)
            wanted.append(torch.stack([reduce(layer[0]).to(self.loaded.device) for layer in weights]))
        return Attended(torch.cat(wanted, dim=2), int(logits.argmax()))

    def keys_and_values(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model keeps of all tokens fed so far in this layer: its keys and values, as it keeps them."""
        keys, values = self._layers[layer].buffers()
        length = self._layers[layer].length
        return keys[:, :, :length], values[:, :, :length]

    def _ids(self, token_ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([token_ids], dtype=torch.long, device=self.loaded.device)

    def _feed(self, ids: torch.Tensor, *, weights: bool) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Each layer's weights, (1, heads, queries, positions), where they are asked for; the last logits."""
        model = self.loaded.model
        behind = not weights and len(self._held) > 0 and ids.shape[1] > 1 and sees_everything(self.loaded)
        with _eager(model.config) if weights else attention(BEHIND) if behind else nullcontext():
            output = model(
                input_ids=ids,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
                output_attentions=weights,
            )
        self._held += ids[0].tolist()
        if not weights:
            return (), output.logits[0, -1]
        seen, n_layers = output.attentions, self.loaded.shape.n_layers
        if seen is None or len(seen) != n_layers or any(layer is None for layer in seen):
            raise ModelError(
                f"{self.loaded.shape.id}: gives no attention for output_attentions; expected weights of each "
                f"of its {n_layers} layers; its heads cannot be scored by attention"
            )
        return seen, output.logits[0, -1]


@contextmanager
def _eager(config: PreTrainedConfig) -> Iterator[None]:
    """The model's eager attention for as long as the context is open."""
    before, config._attn_implementation = config._attn_implementation, "eager"
    try:
        yield
    finally:
        config._attn_implementation = before

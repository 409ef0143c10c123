"""Greedy decoding of several conditions of one prompt as one batch, each to its own end.

All rows hold the same positions, so no row is padded and the model is given no mask. What is known of a row
beyond what all rows know is fed again token by token, beside the others' new tokens. Rows that are done leave
the batch, unless each step is to have one shape (`static_step`).

Knows nothing of drafts or trees.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from harness.experiment.heads import Head
from harness.model.generation.greedy import Greedy, Reading
from harness.model.generation.node_cache import NodeCache
from harness.model.generation.static_step import StaticStep
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.projection_input import ZERO, Replacement
from harness.model.loading.loaded_model import LoadedModel


def decode(
    loaded: LoadedModel,
    cache: NodeCache,
    last_id: int,
    head_sets: Sequence[frozenset[Head]],
    greedy: Sequence[Greedy],
    replacement: Replacement = ZERO,
    *,
    static: bool = False,
) -> Counter[frozenset[Head]]:
    """Carry each row's tokens on until it is done; in row i the heads of `head_sets[i]` are replaced.

    The cache holds a row for each, none of them done, the prompt but its last token `last_id`; it grows. `static`: by a
    step that never changes its shape, in which rows that are done stay, and are not read; for models that
    `can_be_static` and replacements that are the same at every position. Returns how many calls of ablated projections
    each head set saw.

    Raises:
        AblationError: the ablation was not sound.
    """
    fired: Counter[frozenset[Head]] = Counter()
    # fed at once: what all rows know
    n_known = min(len(each.token_ids) for each in greedy)
    feed = [[last_id, *each.token_ids[:n_known]] for each in greedy]
    batch = list(range(len(greedy)))
    while batch:
        with Ablation(loaded.outputs, [head_sets[row] for row in batch], replacement) as ablation:
            growing = _GrowingStep(loaded, cache, ablation)
            logits = growing.feed(feed)
            step = StaticStep(loaded, cache) if static else growing
            while True:
                reading = Reading(logits)
                for position, row in enumerate(batch):
                    if not greedy[row].done:
                        fired[head_sets[row]] += len(_layers(head_sets[row]))
                        if len(greedy[row].token_ids) == n_known:
                            reading.take(position, 0, greedy[row])
                n_known += 1
                alive = [row for row in batch if not greedy[row].done]
                feed = [[_last_known(greedy[row], n_known)] for row in batch]
                if not alive or (len(alive) < len(batch) and not static):
                    break
                logits = step.feed(feed)
            ablation.replayed(step.replays)
        kept = [position for position, row in enumerate(batch) if row in alive]
        feed, batch = [feed[position] for position in kept], alive
        if batch:
            cache = cache.gather([kept] * len(cache.node_layers))
    return fired


class _GrowingStep:
    """Feeds some tokens a row after what a cache holds, which grows; hooks run in every call."""

    replays = 0

    def __init__(self, loaded: LoadedModel, cache: NodeCache, ablation: Ablation) -> None:
        self._loaded = loaded
        self._cache = cache
        self._ablation = ablation

    def feed(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """The last position's logits: (rows, 1, vocabulary)."""
        self._ablation.start = self._cache.get_seq_length()
        ids = torch.tensor(token_ids, device=self._loaded.device)
        output = self._loaded.model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = output.logits
        return logits


def _last_known(greedy: Greedy, n_known: int) -> int:
    """The last of a row's first tokens; of a row that has fewer, its own last."""
    return greedy.token_ids[min(n_known, len(greedy.token_ids)) - 1]


def _layers(heads: frozenset[Head]) -> set[int]:
    """The layers in which these heads are."""
    return {head.layer for head in heads}

"""Greedy decoding of several conditions of one prompt as one batch, each to its own end.

All rows hold the same positions, so no row is padded and the model is given no mask. What is known of a row
beyond what all rows know is fed again token by token, beside the others' new tokens. Rows that are done leave
the batch.

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
) -> Counter[frozenset[Head]]:
    """Carry each row's tokens on until it is done; in row i the heads of `head_sets[i]` are replaced.

    The cache holds a row for each, the prompt but its last token `last_id`; it grows. Returns how many calls
    of ablated projections each head set saw.

    Raises:
        AblationError: the ablation was not sound.
    """
    fired: Counter[frozenset[Head]] = Counter()
    # fed at once: what all rows know
    n_known = min(len(each.token_ids) for each in greedy)
    feed = [[last_id, *each.token_ids[:n_known]] for each in greedy]
    alive = list(range(len(greedy)))
    while alive:
        with Ablation(loaded.outputs, [head_sets[row] for row in alive], replacement) as ablation:
            while not any(greedy[row].done for row in alive):
                ablation.start = cache.get_seq_length()
                reading = Reading(_forward(loaded, cache, feed))
                for position, row in enumerate(alive):
                    if len(greedy[row].token_ids) == n_known:
                        reading.take(position, 0, greedy[row])
                n_known += 1
                feed = [[greedy[row].token_ids[n_known - 1]] for row in alive]
        for row in alive:
            fired[head_sets[row]] += sum(ablation.fired[layer] for layer in _layers(head_sets[row]))
        kept = [position for position, row in enumerate(alive) if not greedy[row].done]
        feed = [feed[position] for position in kept]
        alive = [alive[position] for position in kept]
        if alive:
            cache = cache.gather([kept] * len(cache.node_layers))
    return fired


def decode_statically(
    loaded: LoadedModel,
    cache: NodeCache,
    last_id: int,
    head_sets: Sequence[frozenset[Head]],
    greedy: Sequence[Greedy],
    replacement: Replacement = ZERO,
) -> Counter[frozenset[Head]]:
    """The same by a step that never changes its shape (`static_step`): rows that are done stay, and are not read.

    For models that `can_be_static`, and replacements that are the same at every position.
    """
    fired: Counter[frozenset[Head]] = Counter()
    n_known = min(len(each.token_ids) for each in greedy)
    with Ablation(loaded.outputs, head_sets, replacement) as ablation:
        ablation.start = cache.get_seq_length()
        logits = _forward(loaded, cache, [[last_id, *each.token_ids[:n_known]] for each in greedy])
        step = StaticStep(loaded, cache)
        alive = list(range(len(greedy)))
        while alive:
            reading = Reading(logits)
            for row in alive:
                fired[head_sets[row]] += len(_layers(head_sets[row]))
                if len(greedy[row].token_ids) == n_known:
                    reading.take(row, 0, greedy[row])
            alive = [row for row in alive if not greedy[row].done]
            n_known += 1
            if alive:
                logits = step.feed([each.token_ids[min(n_known, len(each.token_ids)) - 1] for each in greedy])
        ablation.replayed(step.replays)
    return fired


def _layers(heads: frozenset[Head]) -> set[int]:
    """The layers in which these heads are."""
    return {head.layer for head in heads}


def _forward(loaded: LoadedModel, cache: NodeCache, feed: Sequence[Sequence[int]]) -> torch.Tensor:
    """Run each row's tokens after what the cache holds: the last position's logits, (rows, 1, vocabulary)."""
    ids = torch.tensor(feed, device=loaded.device)
    output = loaded.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    logits: torch.Tensor = output.logits
    return logits

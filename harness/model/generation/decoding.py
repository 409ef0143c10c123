"""Greedy decoding: what logits say, and several conditions of one prompt decoded as one batch, each to its own end.

A draft is tokens that were fed after a prompt before anyone knew whether the model would say them. The logits
after the prompt and after each of them show how far it would have: as long as its own choice is the draft's
token, the next logits are its own too.

All rows of a batch hold the same positions, so no row is padded and the model is given no mask. What is known of a row
beyond what all rows know is fed again token by token, beside the others' new tokens. Rows that are done leave
the batch, unless each step is to have one shape (`static_step`).

Knows nothing of trees.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from harness.experiment.heads import Head
from harness.model.generation.node_cache import NodeCache
from harness.model.generation.static_step import StaticStep
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.projection_input import ZERO, Replacement
from harness.model.loading.loaded_model import LoadedModel


@dataclass(slots=True)
class Greedy:
    """One condition's own tokens so far, an end token included; `gaps` and `logprobs` hold one number each."""

    end_token_ids: Collection[int]
    max_new_tokens: int
    token_ids: list[int] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether the last token is an end token."""
        return bool(self.token_ids) and self.token_ids[-1] in self.end_token_ids

    @property
    def done(self) -> bool:
        """Whether nothing more is to come."""
        return self.ended or len(self.token_ids) == self.max_new_tokens

    def add(self, token_id: int, gap: float, logprob: float) -> None:
        """One more token."""
        self.token_ids.append(token_id)
        self.gaps.append(gap)
        self.logprobs.append(logprob)


class Reading:
    """What the logits of some rows say at each position: (rows, positions, vocabulary)."""

    def __init__(self, logits: torch.Tensor) -> None:
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        self._logprobs = torch.log_softmax(exact, dim=-1)
        # the first of equals, as the plain loop has it
        self.best: list[list[int]] = exact.argmax(dim=-1).tolist()
        self._best_logprobs: list[list[float]] = self._logprobs.amax(dim=-1).tolist()
        top = exact.topk(2, dim=-1).values
        spread = exact.std(dim=-1)
        gaps = torch.where(spread > 0, (top[..., 0] - top[..., 1]) / spread, 0.0)
        self._gaps: list[list[float]] = gaps.tolist()

    def follow(self, row: int, draft: Sequence[int], greedy: Greedy) -> None:
        """Add what the row said along a draft whose first tokens are those that `greedy` has already.

        Position i is the one after the first i tokens of the draft.
        """
        for position in range(len(self.best[row])):
            if greedy.done or list(draft[:position]) != greedy.token_ids[:position]:
                return
            if len(greedy.token_ids) == position:
                self.take(row, position, greedy)

    def take(self, row: int, position: int, greedy: Greedy) -> None:
        """Add the row's choice at one position."""
        greedy.add(self.best[row][position], self._gaps[row][position], self._best_logprobs[row][position])

    def logprobs(self, token_ids: Sequence[int]) -> list[float]:
        """For each row the sum of log p(token i | position i), summed in float64."""
        sums: list[float] = self._chosen(token_ids).sum(dim=(1, 2)).tolist()
        return sums

    def token_logprobs(self, token_ids: Sequence[int]) -> list[list[float]]:
        """For each row log p(token i | position i) of each token."""
        each: list[list[float]] = self._chosen(token_ids)[..., 0].tolist()
        return each

    def _chosen(self, token_ids: Sequence[int]) -> torch.Tensor:
        """(rows, tokens, 1), float64."""
        positions = self._logprobs[:, : len(token_ids)]
        index = torch.tensor(token_ids, dtype=torch.long, device=positions.device)[None, :, None]
        return positions.gather(2, index.expand(len(positions), -1, 1)).double()


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

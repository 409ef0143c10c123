"""Greedy decoding: what logits say, and several conditions of one prompt decoded as one batch, each to its own end.

A draft is tokens that were fed after a prompt before anyone knew whether the model would say them. The logits
after the prompt and after each of them show how far it would have: as long as its own choice is the draft's
token, the next logits are its own too.

A call feeds as many tokens for each row: what is known of a row and was not fed yet, token by token, beside the others'
new tokens. Rows that are done leave the batch, unless each step is to have one shape (`leaf_step`).

Drafts of tokens that a row has said before (its own, another condition's, the prompt's; prompt lookup) were tried and
left out: of 470 tokens that 49 conditions of SmolLM2 said beyond their drafts they saved 14 % of the row's steps and 2
of 19 calls, for as many more tokens fed.

Knows nothing of trees, nor of where keys and values lie.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from harness.experiment.heads import Head
from harness.model.generation.node_cache import NodeCache
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
        best = exact.argmax(dim=-1)
        top = exact.topk(2, dim=-1).values
        spread = exact.std(dim=-1)
        gaps = torch.where(spread > 0, (top[..., 0] - top[..., 1]) / spread, 0.0)
        # a device is waited for once; float64 holds every token exactly
        read = torch.stack([best.double(), gaps.double(), self._logprobs.amax(dim=-1).double()]).tolist()
        self._gaps: list[list[float]] = read[1]
        self._best_logprobs: list[list[float]] = read[2]
        self.best: list[list[int]] = [[int(token) for token in row] for row in read[0]]

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


class Feeding(Protocol):
    """Rows of a batch that tokens are fed for, after what is held of their prompt."""

    @property
    def n_held(self) -> int:
        """How many of its positions are held."""

    @property
    def keeps_shape(self) -> bool:
        """Whether rows stay to the end."""

    @property
    def replays(self) -> int:
        """Calls in which hooks did not run."""

    def feed(self, token_ids: Sequence[Sequence[int]], starts: Sequence[int]) -> torch.Tensor:
        """Run as many tokens for each row, the first of them `starts[row]` tokens after what is held.

        Returns the logits after the last: (rows, 1, vocabulary).
        """

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""


def decode(
    loaded: LoadedModel,
    feeding: Feeding,
    last_id: int,
    head_sets: Sequence[frozenset[Head]],
    greedy: Sequence[Greedy],
    replacement: Replacement = ZERO,
    *,
    draft: Sequence[int] | None = None,
) -> Counter[frozenset[Head]]:
    """Carry each row's tokens on until it is done; in row i the heads of `head_sets[i]` are replaced.

    Nothing of a row is done yet, and `feeding` holds the prompt but its last token `last_id`; where a `draft` is given,
    it and the draft were fed after that. Returns how many calls of ablated projections each head set saw.

    Raises:
        AblationError: the ablation was not sound.
    """
    fired: Counter[frozenset[Head]] = Counter()
    n_fed = [0 if draft is None else min(1 + _n_alike(draft, each.token_ids), len(each.token_ids)) for each in greedy]
    batch = list(range(len(greedy)))
    while batch:
        with Ablation(loaded.outputs, [head_sets[row] for row in batch], replacement) as ablation:
            before, alive = feeding.replays, batch
            while alive and (feeding.keeps_shape or len(alive) == len(batch)):
                # as many as all have that are not fed yet
                width = min(1 + len(greedy[row].token_ids) - n_fed[row] for row in alive)
                # of a row that is done, what was fed last
                starts = [n_fed[row] - (0 if row in alive else width) for row in batch]
                feed = [
                    [last_id, *greedy[row].token_ids][start : start + width]
                    for row, start in zip(batch, starts, strict=True)
                ]
                ablation.start = feeding.n_held + starts[0]
                reading = Reading(feeding.feed(feed, starts))
                for position, row in enumerate(batch):
                    if row in alive:
                        fired[head_sets[row]] += len(_layers(head_sets[row]))
                        n_fed[row] += width
                        if n_fed[row] > len(greedy[row].token_ids):
                            reading.take(position, 0, greedy[row])
                alive = [row for row in alive if not greedy[row].done]
            ablation.replayed(feeding.replays - before)
        if alive:
            feeding.keep([position for position, row in enumerate(batch) if row in alive])
        batch = alive
    return fired


class GrowingRows:
    """Rows of a cache that grows, all of one position; hooks run in every call."""

    keeps_shape = False
    replays = 0

    def __init__(self, loaded: LoadedModel, cache: NodeCache) -> None:
        self.n_held = cache.get_seq_length()
        self._loaded = loaded
        self._cache = cache

    def feed(self, token_ids: Sequence[Sequence[int]], starts: Sequence[int]) -> torch.Tensor:
        """After all that the cache holds."""
        ids = torch.tensor(token_ids, device=self._loaded.device)
        output = self._loaded.model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = output.logits
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Their keys and values, copied."""
        self._cache = self._cache.gather([rows] * len(self._cache.node_layers))


def _n_alike(draft: Sequence[int], token_ids: Sequence[int]) -> int:
    """How many first tokens the two have in common."""
    pairs = enumerate(zip(draft, token_ids, strict=False))
    return next((i for i, (one, other) in pairs if one != other), min(len(draft), len(token_ids)))


def _layers(heads: frozenset[Head]) -> set[int]:
    """The layers in which these heads are."""
    return {head.layer for head in heads}

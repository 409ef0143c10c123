"""Greedy decoding: what logits say, and conditions of one prompt or several decoded as one batch, each to its own end.

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

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from harness.experiment.heads import Head
from harness.experiment.prefix_tree import n_common
from harness.model.generation.node_cache import NodeCache
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.projection_input import ZERO, Replacement
from harness.model.loading.devices import uploaded
from harness.model.loading.loaded_model import LoadedModel

EXACT = 2**28
"""Logits that are read at once in float32: a gibibyte, and as much again for what is found out of them."""


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
        self._logits = logits
        some = max(1, EXACT // logits[0].numel())
        found = torch.cat([_said(each) for each in torch.split(logits, some)], dim=1)
        self._totals = found[3]
        # a device is waited for once; float64 holds every token exactly
        read = found.tolist()
        self._gaps: list[list[float]] = read[1]
        self._best_logprobs: list[list[float]] = read[2]
        self.best: list[list[int]] = [[int(token) for token in row] for row in read[0]]

    def follow(self, row: int, draft: Sequence[int], greedy: Greedy) -> None:
        """Add what the row said along a draft whose first tokens are those that `greedy` has already.

        Position i is the one after the first i tokens of the draft.
        """
        for position in range(min(1 + len(draft), len(self.best[row]))):
            if greedy.done or list(draft[:position]) != greedy.token_ids[:position]:
                return
            if len(greedy.token_ids) == position:
                self.take(row, position, greedy)

    def take(self, row: int, position: int, greedy: Greedy) -> None:
        """Add the row's choice at one position."""
        greedy.add(self.best[row][position], self._gaps[row][position], self._best_logprobs[row][position])

    def logprobs(self, token_ids: Sequence[int], rows: range) -> list[list[float]]:
        """For each of these rows log p(token i | position i) of each token."""
        part = slice(rows.start, rows.stop), slice(0, len(token_ids))
        index = uploaded(torch.tensor(token_ids, dtype=torch.long), self._logits.device)
        chosen = self._logits[part].gather(2, index[None, :, None].expand(len(rows), -1, 1))[..., 0]
        read: list[list[float]] = (chosen.double() - self._totals[part]).tolist()
        return read


def _said(logits: torch.Tensor) -> torch.Tensor:
    """Of each row and position the best token, its gap, its log-probability, and what all sum up to: (4, ...)."""
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    top = exact.topk(2, dim=-1).values.double()
    spread, total = exact.std(dim=-1).double(), exact.logsumexp(dim=-1).double()
    gaps = torch.where(spread > 0, (top[..., 0] - top[..., 1]) / spread, 0.0)
    # the first of equals, as the plain loop has it
    return torch.stack([exact.argmax(dim=-1).double(), gaps, top[..., 0] - total, total])


class Feeding(Protocol):
    """Rows of a batch that tokens are fed for, after what is held of their prompts."""

    @property
    def n_held(self) -> int:
        """How many positions of the first row's prompt are held."""

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


@dataclass(slots=True)
class Leaf:
    """One condition of one prompt, whose last token is `last_id`; `heads` are replaced in it.

    What is held of the prompt may have been fed with it, its last token and a draft. `hooks_fired` counts calls of
    projections in which it lost heads.
    """

    heads: frozenset[Head]
    last_id: int
    greedy: Greedy
    draft: Sequence[int] | None = None
    hooks_fired: int = 0

    @property
    def n_known(self) -> int:
        """Tokens that can be fed: the prompt's last, and what the leaf said."""
        return 1 + len(self.greedy.token_ids)

    def tokens(self, start: int, width: int) -> list[int]:
        """As many of them, from one on; zeros behind where there are fewer."""
        ids = self.greedy.token_ids
        return filled(ids[start - 1 : start - 1 + width] if start else [self.last_id, *ids[: width - 1]], width)

    @property
    def n_held(self) -> int:
        """How many of them are held; never the last that it said."""
        own = self.greedy.token_ids
        return 0 if self.draft is None else min(1 + n_common([self.draft, own]), len(own))

    @property
    def fires(self) -> int:
        """Projections in which it loses heads."""
        return len({head.layer for head in self.heads})


def decode(loaded: LoadedModel, feeding: Feeding, leaves: Sequence[Leaf], replacement: Replacement = ZERO) -> None:
    """Carry each leaf's tokens on until it is done; row i of what is fed is `leaves[i]`.

    Nothing of a leaf is done yet. Where positions matter to the replacement, all leaves are of one prompt.

    Raises:
        AblationError: the ablation was not sound.
    """
    n_fed = [leaf.n_held for leaf in leaves]
    batch = list(range(len(leaves)))
    while batch:
        with Ablation(loaded.outputs, [leaves[row].heads for row in batch], replacement) as ablation:
            before, alive = feeding.replays, batch
            while alive and (feeding.keeps_shape or len(alive) == len(batch)):
                # as many as all have that are not fed yet
                width = min(leaves[row].n_known - n_fed[row] for row in alive)
                goes_on = set(alive)
                # of a row that is done, what was fed last
                starts = [n_fed[row] if row in goes_on else max(0, n_fed[row] - width) for row in batch]
                ablation.start = feeding.n_held + starts[0]
                feed = [leaves[row].tokens(start, width) for row, start in zip(batch, starts, strict=True)]
                reading = Reading(feeding.feed(feed, starts))
                for position, row in enumerate(batch):
                    leaf = leaves[row]
                    if row in goes_on:
                        leaf.hooks_fired += leaf.fires
                        n_fed[row] += width
                        if n_fed[row] == leaf.n_known:
                            reading.take(position, 0, leaf.greedy)
                alive = [row for row in alive if not leaves[row].greedy.done]
            ablation.replayed(feeding.replays - before)
        if alive:
            feeding.keep([position for position, row in enumerate(batch) if row in alive])
        batch = alive


def filled(tokens: list[int], width: int) -> list[int]:
    """So many tokens: zeros behind where there are fewer."""
    return tokens + [0] * (width - len(tokens))


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

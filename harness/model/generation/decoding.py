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
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from harness.experiment.heads import Head
from harness.experiment.prefix_tree import n_common
from harness.model.generation.node_cache import NodeCache
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.projection_input import ZERO, Replacement
from harness.model.loading.devices import uploaded
from harness.model.loading.loaded_model import LoadedModel

EXACT = 2**28
"""Logits that are read at once in float32: a gibibyte, and as much again for what is found out of them."""

IN_CACHE = 2**21
"""The same on a CPU, whose caches hold so many from one pass over them to the next.

Two cores, torch 2.13, 34 rows of 12 positions and 49,152 words: 119 ms at once, 41 ms so.
"""


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
    """What the logits of some rows say at each position: (rows, positions, vocabulary).

    `best`, `gaps` and `best_logprobs` are (rows, positions).
    """

    def __init__(self, logits: torch.Tensor) -> None:
        self._logits = logits
        some = max(1, (EXACT if logits.is_cuda else IN_CACHE) // logits[0].numel())
        found = torch.cat([_said(each) for each in torch.split(logits, some)], dim=1)
        self._totals = found[3]
        # a device is waited for once; float64 holds every token exactly
        best, self.gaps, self.best_logprobs, _ = found.cpu().numpy()
        self.best: NDArray[np.int64] = best.astype(np.int64)

    def follow(self, row: int, draft: Sequence[int], greedy: Greedy) -> None:
        """Add what the row said along a draft whose first tokens are those that `greedy` has already.

        Position i is the one after the first i tokens of the draft.
        """
        own = greedy.token_ids
        for position in range(min(1 + len(draft), self.best.shape[1])):
            if greedy.done or (position and own[position - 1] != draft[position - 1]):
                return
            if len(own) == position:
                self.take(row, position, greedy)

    def take(self, row: int, position: int, greedy: Greedy) -> None:
        """Add the row's choice at one position."""
        best, gaps, logprobs = self._lists
        greedy.add(best[row][position], gaps[row][position], logprobs[row][position])

    @cached_property
    def _lists(self) -> tuple[list[list[int]], list[list[float]], list[list[float]]]:
        """What is taken one by one: numbers of arrays are slow to come by."""
        return self.best.tolist(), self.gaps.tolist(), self.best_logprobs.tolist()

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
    # the first of equals, as the plain loop has it
    best = exact.argmax(dim=-1, keepdim=True)
    top = exact.gather(-1, best)[..., 0].double()
    # a search for the best two takes several times as long as two for the best
    second = exact.scatter(-1, best, -torch.inf).amax(dim=-1).double()
    # the standard deviation in two passes: torch's one takes three times as long on CPUs
    around = torch.linalg.vector_norm(exact - exact.mean(dim=-1, keepdim=True), dim=-1).double()
    spread, total = around / (exact.shape[-1] - 1) ** 0.5, exact.logsumexp(dim=-1).double()
    gaps = torch.where(spread > 0, (top - second) / spread, 0.0)
    return torch.stack([best[..., 0].double(), gaps, top - total, total])


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

    def feed(self, token_ids: ArrayLike, starts: ArrayLike) -> torch.Tensor:
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

    Where rows stay to the end some may be done. Where positions matter to the replacement all leaves are of one prompt.

    Raises:
        AblationError: the ablation was not sound.
    """
    said = _Said(leaves)
    batch = np.arange(len(leaves))
    while len(batch):
        with Ablation(loaded.outputs, [leaves[row].heads for row in batch.tolist()], replacement) as ablation:
            before, alive = feeding.replays, batch[~said.done[batch]]
            while len(alive) and (feeding.keeps_shape or len(alive) == len(batch)):
                token_ids, starts = said.to_feed(batch)
                ablation.start = feeding.n_held + int(starts[0])
                said.take(batch, token_ids.shape[1], Reading(feeding.feed(token_ids, starts)))
                alive = batch[~said.done[batch]]
            ablation.replayed(feeding.replays - before)
        if len(alive):
            feeding.keep(np.flatnonzero(~said.done[batch]).tolist())
        batch = alive
    said.give_to(leaves)


class _Said:
    """What is known of leaves, in arrays: a step is to cost the CPU little, however many rows.

    `ids` are each leaf's last token of the prompt and what it said, (leaves, places), with zeros behind; it knows
    `n_known` of them, of which `n_fed` were fed. `done`: nothing more of it is to come.
    """

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        most = np.array([leaf.greedy.max_new_tokens for leaf in leaves])
        self.ids = np.zeros((len(leaves), 1 + most.max()), dtype=np.int64)
        for row, leaf in zip(self.ids, leaves, strict=True):
            row[: leaf.n_known] = [leaf.last_id, *leaf.greedy.token_ids]
        self.n_known = np.array([leaf.n_known for leaf in leaves])
        self.n_fed = np.array([leaf.n_held for leaf in leaves])
        self.done = np.array([leaf.greedy.done for leaf in leaves])
        self._n_calls = np.zeros(len(leaves), dtype=np.int64)
        self._places = 1 + most
        # of each token its gap and its log-probability
        self._sure = np.zeros((2, *self.ids.shape))
        self._ends = [*leaves[0].greedy.end_token_ids]

    def to_feed(self, batch: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each of these rows as many tokens as all have that were not fed, and where they stand.

        Of a row that is done it is what was fed last.
        """
        n_fed, done = self.n_fed[batch], self.done[batch]
        width = (self.n_known[batch] - n_fed)[~done].min()
        starts = np.where(done, np.maximum(0, n_fed - width), n_fed)
        return self.ids[batch[:, None], starts[:, None] + np.arange(width)], starts

    def take(self, batch: NDArray[np.int64], width: int, reading: Reading) -> None:
        """What these rows said to that: a token more of those all of whose tokens were fed."""
        goes_on = ~self.done[batch]
        self.n_fed[batch[goes_on]] += width
        self._n_calls[batch[goes_on]] += 1
        says = goes_on & (self.n_fed[batch] == self.n_known[batch])
        rows, places = batch[says], self.n_known[batch[says]]
        self.ids[rows, places] = reading.best[says, 0]
        self._sure[:, rows, places] = reading.gaps[says, 0], reading.best_logprobs[says, 0]
        self.n_known[rows] += 1
        self.done[rows] = np.isin(self.ids[rows, places], self._ends) | (self.n_known[rows] == self._places[rows])

    def give_to(self, leaves: Sequence[Leaf]) -> None:
        """To each leaf what it said since, and the calls in which it lost heads."""
        ids, (gaps, logprobs) = self.ids.tolist(), self._sure.tolist()
        for row, (leaf, n_known) in enumerate(zip(leaves, self.n_known.tolist(), strict=True)):
            for place in range(leaf.n_known, n_known):
                leaf.greedy.add(ids[row][place], gaps[row][place], logprobs[row][place])
            leaf.hooks_fired += leaf.fires * int(self._n_calls[row])


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

    def feed(self, token_ids: ArrayLike, starts: ArrayLike) -> torch.Tensor:
        """After all that the cache holds."""
        ids = torch.tensor(np.asarray(token_ids), device=self._loaded.device)
        output = self._loaded.model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = output.logits
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Their keys and values, copied."""
        self._cache = self._cache.gather([rows] * len(self._cache.node_layers))

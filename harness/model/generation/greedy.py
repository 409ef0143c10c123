"""What logits say: the greedy tokens along a draft, how sure they are, and the log-probabilities of tokens.

A draft is tokens that were fed after a prompt before anyone knew whether the model would say them. The logits
after the prompt and after each of them show how far it would have: as long as its own choice is the draft's
token, the next logits are its own too.

Knows nothing of how logits came about.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch


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

"""A completion: what a model, ablated or not, said to one prompt, and how it said it.

Knows nothing of how it came about (`harness.model.generation.engines`), nor of whether it is right.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Completion:
    """One condition of one row.

    `token_ids` are the greedy tokens without the end token; `end_token_id` is the one that came, if any.
    `gold_logprob` is the sum of log p(gold value's tokens | prompt), `baseline_logprob` the same for the untouched
    model's completion, its end token included, `None` where that is unknown, and `value_logprob` for the gold value's
    tokens where the untouched model's completion says them, `None` where it does not or where that was not measured;
    all in nats. `hooks_fired` counts forward calls of ablated projections. `smallest_gap` is, over all greedy steps,
    the least distance of the best two logits, in standard deviations of that step's logits: near 0 another kernel may
    choose the other token. `halvings` is how often memory ran out, and the conditions held at once were halved, before
    it came about.
    """

    token_ids: tuple[int, ...]
    end_token_id: int | None
    gold_logprob: float
    baseline_logprob: float | None
    hooks_fired: int
    smallest_gap: float
    halvings: int = 0
    value_logprob: float | None = None

    @property
    def ended(self) -> bool:
        """Whether an end token came."""
        return self.end_token_id is not None

    @property
    def all_ids(self) -> tuple[int, ...]:
        """The tokens with the end token."""
        return self.token_ids if self.end_token_id is None else (*self.token_ids, self.end_token_id)

"""What a model is asked, and its completions: what it said to one prompt, ablated or not, and how it said it.

Knows nothing of how they come about (`harness.model.generation.engines`), nor of whether they are right.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Intervention
from harness.retrieval.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt, to be completed once for each head set.

    `baseline_ids` are the untouched model's tokens, end token included if it ended; where they are `None`, those of an
    empty head set, if there is one, serve all that come after it. `max_new_tokens` counts the end token too.
    """

    prompt: Prompt
    head_sets: tuple[frozenset[Head], ...]
    baseline_ids: tuple[int, ...] | None
    intervention: Intervention = ZEROED
    max_new_tokens: int = 20


@dataclass(frozen=True, slots=True)
class Completion:
    """One condition of one row.

    `token_ids` are the greedy tokens without the end token; `end_token_id` is the one that came, if any.
    `gold_logprob` is the sum of log p(gold value's tokens | prompt), `baseline_logprob` the same for the untouched
    model's completion, its end token included, `None` where that is unknown, and `baseline_logprobs` its tokens' own,
    to six decimals, so that what a part of that completion says can be judged later on; all in nats. `hooks_fired`
    counts forward calls of ablated projections. `smallest_gap` is, over all greedy steps, the least distance of the
    best two logits, in standard deviations of that step's logits: near 0 another kernel may choose the other token.
    `halvings` is how often memory ran out, and the conditions held at once were halved, before it came about.
    """

    token_ids: tuple[int, ...]
    end_token_id: int | None
    gold_logprob: float
    baseline_logprob: float | None
    hooks_fired: int
    smallest_gap: float
    halvings: int = 0
    baseline_logprobs: tuple[float, ...] | None = None

    @property
    def ended(self) -> bool:
        """Whether an end token came."""
        return self.end_token_id is not None

    @property
    def all_ids(self) -> tuple[int, ...]:
        """The tokens with the end token."""
        return self.token_ids if self.end_token_id is None else (*self.token_ids, self.end_token_id)


def noted(logprobs: Iterable[float]) -> tuple[float, ...]:
    """Tokens' log-probabilities as records keep them; below a millionth of a nat kernels differ."""
    return tuple(round(float(each), 6) for each in logprobs)

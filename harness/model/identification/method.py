"""A method: one way to score all heads on one trial, with what it needs and refuses.

Each method has a module of its own; `harness.model.identification.identify` lists them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.model.loading.loaded_model import LoadedModel
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
    """`score` gives `None` for a trial that does not count: `counts` says which do.

    `n_tokens` tells how many positions the model must hold for a trial. `check` raises a HarnessError for one
    that cannot be scored; neither needs a model. `chance` is what a head scores that attends to all tokens
    alike, `None` where such a head scores nothing. `null_query` tells that trials need their prompt without a
    question. `variants` are other rules under the same name.
    """

    score: Callable[[LoadedModel, Trial], Scores | None]
    n_tokens: Callable[[Trial], int] = prompt_tokens
    check: Callable[[Trial], None] = accept
    counts: str = "all"
    chance: Callable[[Trial], float] | None = None
    null_query: bool = False
    variants: Mapping[str, "Method"] = field(default_factory=dict)

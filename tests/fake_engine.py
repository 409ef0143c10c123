"""An engine that computes nothing: a fake for tests."""

from collections.abc import Callable, Sequence

import numpy as np
from tiny_models import tiny_tokenizer

from harness.experiment.completion import Completion
from harness.experiment.heads import Head
from harness.experiment.intervention import Intervention, MeanValues
from harness.retrieval.prompts import Prompt

END = 257
Heads = frozenset[Head]


def ids_in(text: str) -> tuple[int, ...]:
    return tuple(tiny_tokenizer()(text)["input_ids"])


class FakeEngine:
    """Says how many heads are ablated, in letters; keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, tuple[Heads, ...], tuple[int, ...] | None]] = []
        self.interventions: list[Intervention] = []

    def __call__(
        self,
        prompt: Prompt,
        head_sets: Sequence[Heads],
        baseline_ids: tuple[int, ...] | None,
        intervention: Intervention,
    ) -> tuple[Completion, ...]:
        self.interventions.append(intervention)
        self.calls.append((prompt.row_id, prompt.kind, tuple(head_sets), baseline_ids))
        return tuple(
            Completion(
                token_ids=ids_in("x" * len(heads) or "none"),
                end_token_id=END if not heads else None,
                gold_logprob=-float(len(heads)),
                baseline_logprob=None if baseline_ids is None else -float(len(baseline_ids)),
                hooks_fired=len(heads),
                smallest_gap=0.5,
            )
            for heads in head_sets
        )

    device = "a fake card"

    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None]) -> MeanValues:
        for done, _ in enumerate(prompts, start=1):
            note(done)
        return MeanValues(np.full((3, 32), float(len(prompts))))

    @property
    def jobs(self) -> list[tuple[str, str, Heads]]:
        return [(row, kind, heads) for row, kind, sets, _ in self.calls for heads in sets]

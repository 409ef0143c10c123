"""An engine that computes nothing: a fake for tests."""

from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
from tiny_models import tiny_tokenizer

from harness.experiment.heads import Head
from harness.experiment.intervention import Intervention, MeanValues
from harness.experiment.record import Ask, Completion
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

    at_once, layout = 1, ""

    def rounds(
        self, rounds: Iterator[Sequence[Ask] | None]
    ) -> Generator[Sequence[tuple[int, int, tuple[Completion, ...]]], None, None]:
        for place, asks in enumerate(asks for asks in rounds if asks is not None):
            for number, ask in enumerate(asks):
                yield [(place, number, self.answer(ask))]

    def answer(self, ask: Ask) -> tuple[Completion, ...]:
        baseline_ids = ask.baseline_ids
        self.interventions.append(ask.intervention)
        self.calls.append((ask.prompt.row_id, ask.prompt.kind, ask.head_sets, baseline_ids))
        return tuple(
            Completion(
                token_ids=ids_in("x" * len(heads) or "none"),
                end_token_id=END if not heads else None,
                gold_logprob=-float(len(heads)),
                baseline_logprob=None if baseline_ids is None else -float(len(baseline_ids)),
                hooks_fired=len(heads),
                baseline_logprobs=None if baseline_ids is None else (-1.0,) * len(baseline_ids),
                smallest_gap=0.5,
            )
            for heads in ask.head_sets
        )

    device = "a fake card"

    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None]) -> MeanValues:
        for done, _ in enumerate(prompts, start=1):
            note(done)
        return MeanValues(np.full((3, 32), float(len(prompts))))

    @property
    def jobs(self) -> list[tuple[str, str, Heads]]:
        return [(row, kind, heads) for row, kind, sets, _ in self.calls for heads in sets]

"""Interventions of one run: what each row's ablated heads put out instead.

Mean values are found once, by whichever process comes first, and kept in the store: every other process, and every
later run, reads these, so that what records rest on is one set of numbers to the last bit. Knows nothing of pytest;
who computes the means is handed in.
"""

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol

from harness.experiment.claims import Claims
from harness.experiment.intervention import Intervention, MeanValues
from harness.experiment.plan import Job
from harness.experiment.store import RunKey, Store, means_key, tokens_digest
from harness.inputs import Inputs, mean_rows
from harness.retrieval.prompts import Prompt, identification_depth
from harness.retrieval.rows import Row

WAIT_SECONDS = 0.2
"""How long to wait before asking again for means that another process computes."""


class Average(Protocol):
    """Computes mean values over prompts, and tells after each how many are done."""

    def __call__(self, prompts: Sequence[Prompt], note: Callable[[int], None], /) -> MeanValues:
        """The means."""


class Interventions:
    """What ablated heads put out in a run, in its inputs' manner.

    `build` makes a row's prompt with the needle at a depth; `run_key` says what the run's records depend on, and is
    asked for only where means are looked up.
    """

    def __init__(
        self, inputs: Inputs, store: Store, build: Callable[[Row, float], Prompt], run_key: Callable[[], RunKey]
    ) -> None:
        self._inputs = inputs
        self._store = store
        self._build = build
        self._run_key = run_key
        self._found: MeanValues | None = None

    @cached_property
    def mean_prompts(self) -> tuple[Prompt, ...]:
        """The prompts that means are taken over, as for ranking heads: the identification rows of the tasks studied."""
        seed = self._inputs.split_seed
        return tuple(self._build(row, identification_depth(row, seed)) for row in mean_rows(self._inputs))

    @cached_property
    def _means_key(self) -> str:
        return means_key(
            self._run_key(), (tokens_digest(prompt.token_ids, prompt.value_ids) for prompt in self.mean_prompts)
        )

    @property
    def means(self) -> MeanValues | None:
        """The mean values; `None` where heads are not set to them, or nobody has computed them yet."""
        if self._inputs.manner.mode == "mean" and self._found is None:
            self._found = self._store.means(self._means_key)
        return self._found

    def known(self, job: Job) -> bool:
        """Whether it is known what the job's heads put out."""
        return job.mode != "mean" or self.means is not None

    def digest(self, job: Job) -> str | None:
        """Of what the job's heads put out, where that is known and not zero: part of its record's key."""
        return None if job.mode != "mean" or self.means is None else self.means.sha256

    def of(self, jobs: Sequence[Job]) -> Intervention:
        """How the heads of one prompt's jobs are ablated; what is `known` of them."""
        phase = self._inputs.manner.phase
        return Intervention(self.means if any(job.heads for job in jobs) else None, phase)

    def find(self, average: Average, note: Callable[[int, int], None]) -> None:
        """Have the means computed and kept, unless they are, or another process does so; waits for that one.

        `note` is told how many of how many prompts are done.

        Raises:
            HarnessError: the model or a prompt is bad.
        """
        if self._inputs.manner.mode != "mean":
            return
        claims, prompts = Claims(self._store.path), self.mean_prompts
        while self.means is None:
            with claims.try_claim(f"means {self._means_key}") as mine:
                # another process may have been done between the look and the claim
                if mine and self.means is None:
                    found = average(prompts, lambda done: note(done, len(prompts)))
                    self._store.put_means(self._means_key, found)
            if not mine:
                time.sleep(WAIT_SECONDS)

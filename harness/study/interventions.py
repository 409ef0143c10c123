"""Interventions of one run: what each row's ablated heads put out instead.

Mean values are found once, by whichever process comes first, and kept in the store: every other process, and every
later run, reads these, so that what records rest on is one set of numbers to the last bit. Donors follow from the rows
and the seed. Knows nothing of pytest; who computes the means is handed in.
"""

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol

from harness.choices import DONOR_MODES, EDGE_MODES
from harness.experiment.intervention import Edges, Intervention, MeanValues, Rescue, edges_of
from harness.experiment.locks import WAIT_SECONDS, try_claim
from harness.experiment.plan import Job
from harness.experiment.record import means_key, tokens_digest
from harness.experiment.store import Store
from harness.retrieval.placement import in_another_document
from harness.retrieval.prompts import Prompt, PromptKind, identification_depth
from harness.retrieval.rows import Row
from harness.study.inputs import Inputs, donor_row, mean_rows


class Average(Protocol):
    """Computes mean values over prompts, and tells after each how many are done."""

    def __call__(self, prompts: Sequence[Prompt], note: Callable[[int], None], /) -> MeanValues:
        """The means."""


class Interventions:
    """What ablated heads put out in a run, in its inputs' manner; the store knows the run by `run_id`."""

    def __init__(self, inputs: Inputs, store: Store, *, run_id: str) -> None:
        self._inputs = inputs
        self._store = store
        self._run_id = run_id
        self._found: MeanValues | None = None
        self._donors: dict[str, Row] = {}

    @cached_property
    def mean_prompts(self) -> tuple[Prompt, ...]:
        """The prompts that means are taken over, as for ranking heads: the identification rows of the tasks studied."""
        return tuple(self._inputs.prompts.read(row, self._mean_depth) for row in mean_rows(self._inputs))

    @cached_property
    def _means_key(self) -> str:
        prompts = self._inputs.prompts
        digests = (prompts.read_digest(row, self._mean_depth) for row in mean_rows(self._inputs))
        return means_key(self._inputs.run_key, digests)

    def _mean_depth(self, row: Row) -> float:
        return identification_depth(row, self._inputs.split_seed)

    @property
    def means(self) -> MeanValues | None:
        """The mean values; `None` where heads are not set to them, or nobody has computed them yet."""
        if self._inputs.manner.mode == "mean" and self._found is None:
            self._found = self._store.means(self._means_key)
        return self._found

    def donor(self, row_id: str, kind: PromptKind) -> Prompt:
        """The donor's prompt, of the same kind, its needle, or the row's own in it, as deep as the row's."""
        row, prompts = self._inputs.by_id[row_id], self._inputs.prompts
        same = self._inputs.manner.mode == "resample_same"
        if row_id not in self._donors:
            other = donor_row(self._inputs, row)
            self._donors[row_id] = in_another_document(row, other) if same else other
        stands = same and row.placement == "in_place"
        depth = prompts.asked(row).depth if stands else prompts.placed_depth(row)
        return prompts.read(self._donors[row_id], lambda _: depth, kind)

    def edges(self, job: Job) -> Edges:
        """The edges that the job's heads lose. Raises DataError where its row has none to take instead."""
        row, inputs = self._inputs.by_id[job.row_id], self._inputs
        return edges_of(inputs.prompts.asked(row, job.prompt), job.mode, seed=inputs.settings.seed)

    def known(self, job: Job) -> bool:
        """Whether it is known what the job's heads put out."""
        return job.mode != "mean" or self.means is not None

    def digest(self, job: Job) -> str | None:
        """Of what the job's heads put out, where that is known and not zero: part of its record's key."""
        if job.mode in DONOR_MODES:
            return tokens_digest(self.donor(job.row_id, job.prompt).token_ids, ())
        if job.mode in EDGE_MODES:
            return self.edges(job).sha256
        return None if job.mode != "mean" or self.means is None else self.means.sha256

    def of(self, jobs: Sequence[Job]) -> Intervention:
        """How the heads of one prompt's jobs are ablated; what is `known` of them."""
        phase = self._inputs.manner.phase
        for job in jobs:
            if job.mode == "mean":
                return Intervention(self.means, phase)
            if job.mode == "rescue":
                return Intervention(Rescue(), phase)
            if job.mode in DONOR_MODES:
                return Intervention(self.donor(job.row_id, job.prompt), phase)
            if job.mode in EDGE_MODES:
                return Intervention(self.edges(job), phase)
        return Intervention(phase=phase)

    def find_means(self, average: Average, note: Callable[[int, int], None]) -> None:
        """Have the means computed and kept, unless they are, or another process does so; waits for that one.

        `note` is told how many of how many prompts are done.

        Raises:
            HarnessError: the model or a prompt is bad.
        """
        if self._inputs.manner.mode != "mean":
            return
        prompts = self.mean_prompts
        while self.means is None:
            with try_claim(self._store.path, f"means {self._means_key}") as mine:
                # another process may have been done between the look and the claim
                if mine and self.means is None:
                    found = average(prompts, lambda done: note(done, len(prompts)))
                    self._store.put_means(self._means_key, found, run=self._run_id)
            if not mine:
                time.sleep(WAIT_SECONDS)

"""The run: the one loop that takes a plan, claims its rows, lets the model answer and stores what it said.

Prompts, plan, store, claims and the model floor are put together here. A run knows what the store holds before any
model is loaded, and loads one only for work that is left. Knows nothing of pytest: whoever shows progress hands in a
callback.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.experiment.completion import Completion
from harness.experiment.conditions import Condition
from harness.experiment.heads import Head
from harness.experiment.intervention import Intervention, MeanValues
from harness.experiment.keys import job_key
from harness.experiment.locks import WAIT_SECONDS, try_claim
from harness.experiment.plan import Job, Plan, RowWork, jobs_of, make_plan
from harness.experiment.record import Record
from harness.experiment.store import Store
from harness.retrieval.prompts import (
    PROMPT_KINDS,
    Prompt,
    PromptKind,
)
from harness.study.inputs import Inputs
from harness.study.interventions import Interventions


class Engine(Protocol):
    """Answers one prompt once for each head set, in their order; the baseline's tokens where they are known."""

    def __call__(
        self,
        prompt: Prompt,
        head_sets: Sequence[frozenset[Head]],
        baseline_ids: tuple[int, ...] | None,
        intervention: Intervention,
    ) -> Sequence[Completion]:
        """The completions, in the order of `head_sets`."""

    @property
    def device(self) -> str:
        """The name of the card, or `cpu`."""

    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None], /) -> MeanValues:
        """What every head puts out on average; tells after each prompt how many are done."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: rows done of those that were to do, and seconds since it began.

    `of` says what rows they are, where they are not those of the study.
    """

    rows_done: int
    rows: int
    seconds: float
    of: str = "rows"

    def __str__(self) -> str:
        rate = self.rows_done / self.seconds if self.seconds else 0.0
        left = f"{(self.rows - self.rows_done) / rate:.0f} s left" if rate else "..."
        return f"ablation: {self.rows_done}/{self.rows} {self.of}, {rate:.1f} rows/s, {left}"


class Run:
    """One run over its inputs and a store.

    `id` tells this run from others in the store; `share` is where among the rows this process begins, from 0 up to 1,
    so that processes that share the work begin apart.
    """

    def __init__(self, inputs: Inputs, store: Store, *, run_id: str, share: float = 0.0) -> None:
        self.inputs = inputs
        self.store = store
        self.id = run_id
        self.share = share
        self.interventions = Interventions(inputs, store, run_id=run_id)
        self._keys: dict[Job, str] = {}

    def plan(self, conditions: Sequence[Condition], *, from_nothing: bool = False) -> Plan:
        """What is left to do for these conditions; with `refresh`, all that this run has not done.

        With `from_nothing` the store is not looked at, and the model's weights need not be here.
        """
        stored = (lambda job: False) if from_nothing else self._is_stored
        return make_plan(conditions, self.inputs.rows, self.inputs.manner, stored=stored)

    def execute(
        self, conditions: Sequence[Condition], load: Callable[[], Engine], progress: Callable[[Progress], None]
    ) -> None:
        """Do what is left, row by row, beside any other process that does the same; the model is loaded on need.

        Raises:
            HarnessError: the model, a prompt or the store is bad, or an ablation was unsound. Rows that are done stay.
        """
        plan = self.plan(conditions)
        if not plan.work:
            return
        engine = load()
        began = time.monotonic()
        if any(job.heads for work in plan.work for job in work.jobs):
            self.interventions.find_means(
                engine.mean_values,
                lambda done, n: progress(Progress(done, n, time.monotonic() - began, "rows for the mean")),
            )
        began = time.monotonic()
        start = int(self.share * len(plan.work))
        waiting = [*plan.work[start:], *plan.work[:start]]
        done = 0
        while waiting:
            held_by_others = []
            for work in waiting:
                with try_claim(self.store.path, work.row.id) as mine:
                    if mine:
                        self._do(work, engine)
                if not mine:
                    held_by_others.append(work)
                    continue
                done += 1
                progress(Progress(done, len(plan.work), time.monotonic() - began))
            if len(held_by_others) == len(waiting):
                time.sleep(WAIT_SECONDS)
            waiting = held_by_others

    def records(self, conditions: Iterable[Condition]) -> dict[Job, Record]:
        """The stored records of these conditions' jobs; a job without one is not in it.

        With `refresh` those of earlier runs are none: what this run has not come to is missing.
        """
        jobs = dict.fromkeys(
            job for condition in conditions for job in jobs_of(condition, self.inputs.rows, self.inputs.manner)
        )
        found = {job: self._stored(job) for job in jobs if self.interventions.known(job)}
        return {job: record for job, record in found.items() if record is not None}

    def prompt(self, row_id: str, kind: PromptKind) -> Prompt:
        """The prompt that a row is asked with. Raises ModelError where the model's window cannot hold it."""
        return self.inputs.prompts.asked(self.inputs.by_id[row_id], kind)

    def _do(self, work: RowWork, engine: Engine) -> None:
        """Answer those of a row's jobs that nobody has done meanwhile, and store them together."""
        missing = [job for job in work.jobs if not self._is_stored(job)]
        jobs = sorted(missing, key=lambda job: PROMPT_KINDS.index(job.prompt))
        records = []
        for kind, of_kind in itertools.groupby(jobs, key=lambda job: job.prompt):
            records += self._answer(work.row.id, kind, tuple(of_kind), engine)
        self.store.put_row(records, run=self.id, refresh=self.inputs.settings.refresh)

    def _answer(self, row_id: str, kind: PromptKind, jobs: Sequence[Job], engine: Engine) -> list[tuple[str, Record]]:
        prompt = self.prompt(row_id, kind)
        began = time.perf_counter()
        head_sets, intervention = [job.heads for job in jobs], self.interventions.of(jobs)
        answers = engine(prompt, head_sets, self._baseline_ids(row_id, kind, jobs), intervention)
        seconds = (time.perf_counter() - began) / len(jobs)
        return [
            (self._key(job), Record(job, answer, self._text(answer), seconds, engine.device))
            for job, answer in zip(jobs, answers, strict=True)
        ]

    def _baseline_ids(self, row_id: str, kind: PromptKind, jobs: Sequence[Job]) -> tuple[int, ...] | None:
        """The stored baseline's tokens, end token included; `None` where it is among the jobs."""
        baseline = Job(row_id, frozenset(), kind)
        record = None if baseline in jobs else self._stored(baseline)
        return None if record is None else record.completion.all_ids

    def _text(self, answer: Completion) -> str:
        return str(self.inputs.model.tokenizer.decode(list(answer.token_ids), skip_special_tokens=True))

    def _key(self, job: Job) -> str:
        if job not in self._keys:
            tokens = self.inputs.prompts.digest(self.inputs.by_id[job.row_id], job.prompt)
            self._keys[job] = job_key(self.inputs.run_key, job, tokens, self.interventions.digest(job))
        return self._keys[job]

    def _is_stored(self, job: Job) -> bool:
        return self.interventions.known(job) and self.store.has(self._key(job), run=self._trusted)

    def _stored(self, job: Job) -> Record | None:
        return self.store.get(self._key(job), run=self._trusted)

    @property
    def _trusted(self) -> str | None:
        """The run whose records count: with `refresh` this one alone, else (`None`) any."""
        return self.id if self.inputs.settings.refresh else None

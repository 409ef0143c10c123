"""The run: the one loop that takes a plan, claims its rows, lets the model answer and stores what it said.

Prompts, plan, store, claims and the model floor are put together here. A run knows what the store holds before any
model is loaded, and loads one only for work that is left. Knows nothing of pytest: whoever shows progress hands in a
callback.
"""

import itertools
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

from harness.experiment.conditions import Condition
from harness.experiment.cost import group_passes
from harness.experiment.heads import Head
from harness.experiment.intervention import Manner, MeanValues
from harness.experiment.locks import WAIT_SECONDS, remove_left_claims, try_claim
from harness.experiment.plan import (
    Job,
    Plan,
    RowWork,
    by_filing,
    jobs_of,
    make_plan,
    rounds,
    share_out,
    untouched,
)
from harness.experiment.record import Ask, Completion, Record, job_key
from harness.experiment.store import Store
from harness.retrieval.prompts import PROMPT_KINDS, Prompt, PromptKind, most_new_tokens
from harness.retrieval.rows import Row
from harness.study.inputs import Inputs
from harness.study.interventions import Interventions
from harness.study.progress import Progress


class Engine(Protocol):
    """Answers prompts, each once for each of its head sets."""

    def __call__(self, asks: Sequence[Ask], /) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Each ask's number and completions, in the order of its head sets, as soon as it is answered."""

    @property
    def device(self) -> str:
        """The name of the card, or `cpu`."""

    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None], /) -> MeanValues:
        """What every head puts out on average; tells after each prompt how many are done."""


def engine_of(inputs: Inputs) -> Engine:
    """The inputs' model, loaded now, and the way in which it is computed with."""
    from harness.model.generation.engines import ModelEngine

    return ModelEngine(inputs.model.load(), inputs.settings.engine)


class Run:
    """One run over its inputs and a store.

    `id` tells this run from others in the store; `share` is where among the rows this process begins, from 0 up to 1,
    so that the `workers` that share the work begin apart.
    """

    def __init__(self, inputs: Inputs, store: Store, *, run_id: str, share: float = 0.0, workers: int = 1) -> None:
        self.inputs = inputs
        self.store = store
        self.id = run_id
        self.share = share
        self.workers = workers
        self.interventions = Interventions(inputs, store, run_id=run_id)
        self._keys: dict[Job, str] = {}
        self._parts: dict[tuple[Condition, ...], frozenset[str]] = {}

    def plan(self, conditions: Sequence[Condition], *, from_nothing: bool = False) -> Plan:
        """What is left to do for these conditions; with `refresh`, all that this run has not done.

        With `from_nothing` the store is not looked at, and the model's weights need not be here.
        """
        stored = (lambda job: False) if from_nothing else self._is_stored
        wrong = frozenset[str]() if from_nothing else self._wrong(conditions, self.inputs.rows)
        return self._make_plan(conditions, stored, wrong, only=self.part_of_rows(conditions))

    def part_of_rows(self, conditions: Sequence[Condition]) -> frozenset[str] | None:
        """The ids of the rows that are this part's, where only a part of the study is done; else `None`.

        Rows of a filing stay together where there are filings enough, and parts cost about the same. Which they are
        follows from rows and conditions alone: every part of the same study, on whatever machine, finds the same.
        """
        if self.inputs.settings.part is None:
            return None
        number, parts = self.inputs.settings.part
        if (asked := tuple(conditions)) not in self._parts:
            whole = self._make_plan(asked, lambda job: False, frozenset())
            groups = by_filing(whole.work, parts)
            part_of = share_out([self._passes(group) for group in groups], parts)
            mine = (group for group, part in zip(groups, part_of, strict=True) if part == number - 1)
            self._parts[asked] = frozenset(work.row.id for group in mine for work in group)
        return self._parts[asked]

    def execute(
        self, conditions: Sequence[Condition], load: Callable[[], Engine], progress: Callable[[Progress], None]
    ) -> None:
        """Do what is left, row by row, beside any other process that does the same; the model is loaded on need.

        Raises:
            HarnessError: the model, a prompt or the store is bad, or an ablation was unsound. Rows that are done stay.
        """
        remove_left_claims(self.store.path)
        plan = self.plan(conditions)
        if not plan.work:
            return
        engine = load()
        began = time.monotonic()
        if any(job.heads for work in plan.work for job in (*work.jobs, *work.if_right)):
            self.interventions.find_means(
                engine.mean_values,
                lambda done, n: progress(Progress(done, n, time.monotonic() - began, "rows for the mean")),
            )
        began = time.monotonic()
        groups = by_filing(plan.work, self.workers)
        start = int(self.share * len(groups))
        waiting = [*groups[start:], *groups[:start]]
        done = own = 0
        while waiting:
            held_by_others = []
            for group in waiting:
                with ExitStack() as claims:
                    mine = [work for work in group if claims.enter_context(try_claim(self.store.path, work.row.id))]
                    for row_id, asked in self._do(mine, engine):
                        done, own = done + 1, own + asked
                        seconds = time.monotonic() - began
                        progress(Progress(done, len(plan.work), seconds, row=row_id, own=own))
                ids = {work.row.id for work in mine}
                if left := tuple(work for work in group if work.row.id not in ids):
                    held_by_others.append(left)
            if sum(map(len, held_by_others)) == sum(map(len, waiting)):
                time.sleep(WAIT_SECONDS)
            waiting = held_by_others

    def records(
        self, conditions: Iterable[Condition], rows: Sequence[Row] | None = None, manner: Manner | None = None
    ) -> dict[Job, Record]:
        """The stored records of these conditions' jobs, on some rows or (`None`) all; a job without one is not in it.

        `manner` is another one than the study's, of which the store may hold records too: heads zeroed, say.
        With `refresh` those of earlier runs are none: what this run has not come to is missing.
        """
        conditions, asked = tuple(conditions), self.inputs.rows if rows is None else rows
        wrong = self._wrong(conditions, asked)
        how = manner or self.inputs.manner
        jobs = dict.fromkeys(job for condition in conditions for job in jobs_of(condition, asked, how, wrong))
        found = {job: self._stored(job) for job in jobs if self.interventions.known(job)}
        return {job: record for job, record in found.items() if record is not None}

    def prompt(self, row_id: str, kind: PromptKind) -> Prompt:
        """The prompt that a row is asked with. Raises ModelError where the model's window cannot hold it."""
        return self.inputs.prompts.asked(self.inputs.by_id[row_id], kind)

    def _make_plan(
        self,
        conditions: Sequence[Condition],
        stored: Callable[[Job], bool],
        wrong: frozenset[str],
        *,
        only: frozenset[str] | None = None,
    ) -> Plan:
        rows, manner = self.inputs.rows, self.inputs.manner
        return make_plan(conditions, rows, manner, stored=stored, wrong=wrong, content=self._content, only=only)

    def _passes(self, group: Sequence[RowWork]) -> int:
        """What reading a group's prompts costs, for all that is asked of them."""
        asked: dict[tuple[str, PromptKind], list[frozenset[Head]]] = {}
        for work in group:
            for job in (*work.jobs, *work.if_right):
                asked.setdefault((job.row_id, job.prompt), []).append(job.heads)
        once = self.inputs.manner.phase == "decode"  # the untouched model reads the prompt for all
        sets = [[frozenset[Head]()] if once else heads for heads in asked.values()]
        prompts = [self.prompt(row_id, kind).token_ids for row_id, kind in asked]
        return group_passes(prompts, sets, self.inputs.shape.n_layers)

    def _do(self, group: Sequence[RowWork], engine: Engine) -> Iterator[tuple[str, bool]]:
        """Answer those of these rows' jobs that nobody has done meanwhile; each row's id once all of its are kept, and
        whether anything was left to ask.

        Where jobs hang on whether the untouched model is right, it is asked first.
        """
        first, rest = rounds(group)
        asked_first = {row_id for row_id, asked in self._answer(first, engine) if asked}
        wrong = {work.row.id for work in first if self._is_wrong(work.row)}
        hanging = {job for work in group if work.row.id in wrong for job in work.if_right}
        right = [RowWork(work.row, tuple(job for job in work.jobs if job not in hanging)) for work in rest]
        yield from ((row_id, asked or row_id in asked_first) for row_id, asked in self._answer(right, engine))

    def _answer(self, group: Sequence[RowWork], engine: Engine) -> Iterator[tuple[str, bool]]:
        """Answer those of these rows' jobs that nobody has done meanwhile; each row's id once all of its are kept, and
        whether anything was left to ask.

        What is said to one prompt is kept at once: a process that ends in the middle leaves little to do again.
        """
        jobs: list[tuple[Job, ...]] = []
        left = {work.row.id: 0 for work in group}
        for work in group:
            missing = [job for job in work.jobs if not self._is_stored(job)]
            missing.sort(key=lambda job: PROMPT_KINDS.index(job.prompt))
            of_kinds = [tuple(found) for _, found in itertools.groupby(missing, key=lambda job: job.prompt)]
            left[work.row.id] = len(of_kinds)
            jobs += of_kinds
        yield from ((row_id, False) for row_id, n_prompts in left.items() if not n_prompts)
        began = time.perf_counter()
        for number, answers in engine([self._ask(each) for each in jobs]):
            seconds = (time.perf_counter() - began) / len(answers)
            records = [
                (self._key(job), Record(job, answer, self.decode(list(answer.token_ids)), seconds, engine.device))
                for job, answer in zip(jobs[number], answers, strict=True)
            ]
            instead = self.inputs.settings.refresh or self._needs_likelihood
            self.store.put_row(records, run=self.id, refresh=instead)
            row_id = jobs[number][0].row_id
            left[row_id] -= 1
            if not left[row_id]:
                yield row_id, True
            began = time.perf_counter()

    def _ask(self, jobs: Sequence[Job]) -> Ask:
        """What is asked of one prompt."""
        row_id, kind = jobs[0].row_id, jobs[0].prompt
        return Ask(
            self.prompt(row_id, kind),
            tuple(job.heads for job in jobs),
            self._baseline_ids(row_id, kind, jobs),
            self.interventions.of(jobs),
            most_new_tokens(kind, self.inputs.settings.max_new_tokens),
        )

    def _baseline_ids(self, row_id: str, kind: PromptKind, jobs: Sequence[Job]) -> tuple[int, ...] | None:
        """The stored baseline's tokens, end token included; `None` where it is among the jobs."""
        baseline = replace(untouched(row_id), prompt=kind)
        record = None if baseline in jobs else self._stored(baseline)
        return None if record is None else record.completion.all_ids

    def _wrong(self, conditions: Sequence[Condition], rows: Sequence[Row]) -> frozenset[str]:
        """Those of the rows whose stored baseline is wrong; none where no condition asks."""
        if not any(condition.only_right for condition in conditions):
            return frozenset()
        return frozenset(row.id for row in rows if self._is_wrong(row))

    def _is_wrong(self, row: Row) -> bool:
        """Whether the row has a baseline, and that is wrong."""
        record = self._stored(untouched(row.id))
        return record is not None and not self.inputs.score(row, record.text)[0]

    def _content(self, job: Job) -> Hashable:
        """What a job's answer depends on, where other rows may have the same: plain text of one document."""
        if job.prompt != "plain_text" or job.mode not in ("zero", "mean"):
            return job
        return self.inputs.prompts.digest(self.inputs.by_id[job.row_id], job.prompt), replace(job, row_id="")

    def decode(self, token_ids: list[int]) -> str:
        """The text that is scored."""
        return str(self.inputs.model.tokenizer.decode(token_ids, skip_special_tokens=True))

    def _key(self, job: Job) -> str:
        if job not in self._keys:
            tokens = self.inputs.prompts.digest(self.inputs.by_id[job.row_id], job.prompt)
            self._keys[job] = job_key(self.inputs.run_key, job, tokens, self.interventions.digest(job))
        return self._keys[job]

    def _is_stored(self, job: Job) -> bool:
        return self.interventions.known(job) and self._stored(job) is not None

    def _stored(self, job: Job) -> Record | None:
        """The job's record; one that lacks what the gates' outcome is made of is none."""
        record = self.store.get(self._key(job), run=self._trusted)
        if record is not None and self._needs_likelihood and job.prompt == "full":
            return None if record.completion.baseline_logprobs is None else record
        return record

    @property
    def _needs_likelihood(self) -> bool:
        return self.inputs.settings.gate_outcome == "likelihood"

    @property
    def _trusted(self) -> str | None:
        """The run whose records count: with `refresh` this one alone, else (`None`) any."""
        return self.id if self.inputs.settings.refresh else None

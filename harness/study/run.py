"""The run: the one loop that takes a plan, lets models answer its rows and stores what they said.

Prompts, plan, store, rounds (`rounds`) and whoever answers (`crew`) are put together here. A run knows what the store
holds before any model is loaded, and loads one only for work that is left. Knows nothing of pytest: whoever shows
progress hands in a callback.
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

from harness.experiment.conditions import Condition
from harness.experiment.cost import group_passes
from harness.experiment.heads import Head
from harness.experiment.intervention import Manner
from harness.experiment.locks import remove_left_claims
from harness.experiment.plan import (
    Job,
    Plan,
    RowWork,
    by_filing,
    jobs_of,
    make_plan,
    share_out,
    untouched,
)
from harness.experiment.prefix_tree import prefix_tree
from harness.experiment.record import Ask, Record, job_key
from harness.experiment.store import Store
from harness.retrieval.prompts import PROMPT_KINDS, Prompt, PromptKind, most_new_tokens
from harness.retrieval.rows import Row
from harness.study.crew import Alone, Crew, Engine, Said
from harness.study.inputs import Inputs
from harness.study.interventions import Interventions
from harness.study.progress import Progress
from harness.study.rounds import Rounds


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
        self._read: dict[str, Record] = {}
        self._parts: dict[tuple[Condition, ...], frozenset[str]] = {}

    def plan(self, conditions: Sequence[Condition], *, from_nothing: bool = False) -> Plan:
        """What is left to do for these conditions; with `refresh`, all that this run has not done.

        With `from_nothing` the store is not looked at, and the model's weights need not be here.
        """
        stored = _nothing if from_nothing else self._all_stored
        wrong = frozenset[str]() if from_nothing else self._wrong(conditions, self.inputs.rows)
        return self._make_plan(conditions, stored, wrong, only=self.part_of_rows(conditions))

    def is_done(self, conditions: Sequence[Condition]) -> bool:
        """Whether nothing is left to do for these conditions; it is looked no further than to the first job that is."""
        rows, manner = self.inputs.rows, self.inputs.manner
        wrong = self._wrong(conditions, rows)
        jobs = (job for each in conditions for job in jobs_of(each, rows, manner, wrong))
        return all(self._stored(job) is not None for job in jobs)

    def part_of_rows(self, conditions: Sequence[Condition]) -> frozenset[str] | None:
        """The ids of the rows that are this part's, where only a part of the study is done; else `None`.

        Rows of a filing stay together where there are filings enough, and parts cost about the same. Which they are
        follows from rows and conditions alone: every part of the same study, on whatever machine, finds the same.
        """
        if self.inputs.settings.part is None:
            return None
        number, parts = self.inputs.settings.part
        if (asked := tuple(conditions)) not in self._parts:
            whole = self._make_plan(asked, _nothing, frozenset())
            groups = by_filing(whole.work, parts)
            part_of = share_out([self._passes(group) for group in groups], parts)
            mine = (group for group, part in zip(groups, part_of, strict=True) if part == number - 1)
            self._parts[asked] = frozenset(work.row.id for group in mine for work in group)
        return self._parts[asked]

    def work_by_layer(self, conditions: Sequence[Condition]) -> tuple[float, ...]:
        """How often each layer is run over a prompt for all of these conditions, what they share done once.

        Whatever the store holds: as a model is to be laid out for. Nothing where a prompt is read for all at once.
        """
        n_layers, rows = self.inputs.shape.n_layers, Counter(row.task for row in self.inputs.rows)
        if self.inputs.manner.phase == "decode":
            return ()
        work = [0.0] * n_layers
        for task, n_rows in rows.items():
            sets = {frozenset(each.heads) for each in conditions if each.tasks is None or task in each.tasks}
            for layer, level in enumerate(prefix_tree({frozenset[Head](), *sets}, n_layers).levels):
                work[layer] += n_rows * len(level.parents)
        return tuple(work)

    def execute(
        self, conditions: Sequence[Condition], load: Callable[[], Engine | Crew], progress: Callable[[Progress], None]
    ) -> None:
        """Do what is left, row by row, beside any other process that does the same; models are loaded on need.

        Raises:
            HarnessError: the model, a prompt or the store is bad, or an ablation was unsound. Rows that are done stay.
        """
        remove_left_claims(self.store.path)
        plan = self.plan(conditions)
        if not plan.work:
            return
        loaded = load()
        crew = loaded if isinstance(loaded, Crew) else Alone(loaded)
        began, last = time.monotonic(), Progress(0, len(plan.work), 0.0)

        def tell(told: Progress) -> None:
            nonlocal last
            last = replace(told, just_done=())
            progress(replace(told, notices=tuple(crew.notices)))

        crew.when_noticed = lambda: tell(last)
        if crew.notices:
            tell(last)
        if any(job.heads for work in plan.work for job in (*work.jobs, *work.if_right)):
            self.interventions.find_means(
                crew.mean_values,
                lambda done, n: tell(Progress(done, n, time.monotonic() - began, "rows for the mean")),
            )
        groups = by_filing(plan.work, max(self.workers, crew.size))
        start = int(self.share * len(groups))
        with (
            closing(Rounds(self, self.store.path, [*groups[start:], *groups[:start]], tell)) as rounds,
            closing(crew.answer(rounds)) as answers,
        ):
            for together in answers:
                rounds.keep(together)

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
        return self._all_stored(jobs)

    def prompt(self, row_id: str, kind: PromptKind) -> Prompt:
        """The prompt that a row is asked with. Raises ModelError where the model's window cannot hold it."""
        return self.inputs.prompts.asked(self.inputs.by_id[row_id], kind)

    def _make_plan(
        self,
        conditions: Sequence[Condition],
        stored: Callable[[Sequence[Job]], Container[Job]],
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

    def missing(self, work: RowWork) -> list[tuple[Job, ...]]:
        """Those of a row's jobs that nobody has done meanwhile, prompt by prompt."""
        stored = self._all_stored(work.jobs)
        missing = [job for job in work.jobs if job not in stored]
        missing.sort(key=lambda job: PROMPT_KINDS.index(job.prompt))
        return [tuple(found) for _, found in itertools.groupby(missing, key=lambda job: job.prompt)]

    def keep(self, answers: Iterable[tuple[Sequence[Job], Said]]) -> None:
        """Store what was said to each of these jobs' prompts: all of it, or nothing."""
        records = [
            (
                self._key(job),
                Record(
                    job,
                    answer,
                    self.decode(list(answer.token_ids)),
                    said.seconds / len(said.completions),
                    said.device,
                ),
            )
            for jobs, said in answers
            for job, answer in zip(jobs, said.completions, strict=True)
        ]
        self.store.put_row(records, run=self.id, refresh=self.inputs.settings.refresh or self._needs_likelihood)

    def ask(self, jobs: Sequence[Job]) -> Ask:
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
        return frozenset(row.id for row in rows if self.is_wrong(row))

    def is_wrong(self, row: Row) -> bool:
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
        return self.inputs.model.text(token_ids)

    def _key(self, job: Job) -> str:
        if job not in self._keys:
            tokens = self.inputs.prompts.digest(self.inputs.by_id[job.row_id], job.prompt)
            self._keys[job] = job_key(self.inputs.run_key, job, tokens, self.interventions.digest(job))
        return self._keys[job]

    def _stored(self, job: Job) -> Record | None:
        """The job's record."""
        return self._all_stored([job]).get(job)

    def _all_stored(self, jobs: Iterable[Job]) -> dict[Job, Record]:
        """The records of those of the jobs that have one; one that lacks what the gates' outcome is made of is none."""
        keys = {job: self._key(job) for job in jobs if self.interventions.known(job)}
        # once read, a record is what it was: a report is made of what the plan was
        self._read |= self.store.found((key for key in keys.values() if key not in self._read), run=self._trusted)
        records = {job: self._read[key] for job, key in keys.items() if key in self._read}
        if not self._needs_likelihood:
            return records
        return {
            job: record
            for job, record in records.items()
            if job.prompt != "full" or record.completion.baseline_logprobs is not None
        }

    @property
    def _needs_likelihood(self) -> bool:
        return self.inputs.settings.gate_outcome == "likelihood"

    @property
    def _trusted(self) -> str | None:
        """The run whose records count: with `refresh` this one alone, else (`None`) any."""
        return self.id if self.inputs.settings.refresh else None


def _nothing(_jobs: Sequence[Job]) -> tuple[Job, ...]:
    """What of these is stored, where the store is not looked at."""
    return ()

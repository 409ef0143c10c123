"""The plan: rows x conditions, less what is equal and what is stored, row by row.

A job is the unit of work and of storage: one row, one set of heads, one kind of prompt. Conditions of
different experiments that zero equal heads on equal rows are one job. A row's jobs stand together, because
they share work: a head ablated at layer l changes nothing before layer l's output, so jobs whose heads agree
up to a layer share every layer up to it, and the jobs of a row form a tree over layers.

Some conditions are asked on the rows alone that the untouched model answers rightly. Where its answer is not known yet,
their jobs hang on it: it is asked first, alone, and the rest in a second round.

Knows no models, no prompts and no store: what is stored, and which rows are answered wrongly, it is told.
"""

from collections.abc import Callable, Collection, Container, Hashable, Iterable, Sequence
from dataclasses import dataclass

from harness.choices import Mode, Phase
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.experiment.intervention import DEFAULT_MANNER, Manner
from harness.retrieval.prompts import PromptKind
from harness.retrieval.rows import Row


@dataclass(frozen=True, slots=True)
class Job:
    """One completion: a row, the heads to ablate (none: the baseline), the prompt, and the manner.

    Without heads the manner is the default one: the untouched model is the same in all of them.
    """

    row_id: str
    heads: frozenset[Head]
    prompt: PromptKind = "full"
    mode: Mode = "zero"
    phase: Phase = "all"


@dataclass(frozen=True, slots=True)
class RowWork:
    """A row and its jobs that are still to be done, the baseline first if it is one of them.

    `if_right` are to be done where the baseline, which is among the jobs then, turns out to be right.
    """

    row: Row
    jobs: tuple[Job, ...]
    if_right: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The work to be done, in the order of the rows; rows with nothing left to do are not in it.

    `requested` counts (row, condition) pairs, the added baselines included; `distinct` the jobs that they
    come down to; `stored` those of them that are done already. Jobs that hang on an answer that is not known yet are
    counted, so that all three are the most that there can be.
    """

    work: tuple[RowWork, ...]
    requested: int
    distinct: int
    stored: int

    @property
    def if_right(self) -> int:
        """Jobs that hang on an answer that is not known yet."""
        return sum(len(work.if_right) for work in self.work)


LEAST_GROUPS = 4
"""Groups of rows that there should be for each worker: with fewer, some would be done long before others."""


def by_filing(work: Sequence[RowWork], workers: int = 1) -> tuple[tuple[RowWork, ...], ...]:
    """The rows of each filing together, in the order of their first ones; their prompts may begin alike.

    Where that leaves fewer than `LEAST_GROUPS` for each of several workers, groups are cut in halves until there are as
    many, or one for each row.
    """
    filings: dict[str, list[RowWork]] = {}
    for each in work:
        filings.setdefault(each.row.filename, []).append(each)
    most = max(map(len, filings.values()), default=1)
    while True:
        groups = tuple(
            tuple(rows[start : start + most]) for rows in filings.values() for start in range(0, len(rows), most)
        )
        if workers == 1 or most == 1 or len(groups) >= LEAST_GROUPS * workers:
            return groups
        most = (most + 1) // 2


def share_out(costs: Sequence[int], parts: int) -> tuple[int, ...]:
    """Which of several parts, counted from 0, each group of rows goes to, by what the groups cost.

    The dearest first, each to the part that has least so far, of equals to the first: no part costs more than 4/3 of
    what the best sharing gives (R. L. Graham, Bounds on multiprocessing timing anomalies, 1969).
    """
    loads, part_of = [0] * parts, [0] * len(costs)
    for group in sorted(range(len(costs)), key=lambda number: -costs[number]):
        part = loads.index(min(loads))
        loads[part] += costs[group]
        part_of[group] = part
    return tuple(part_of)


def untouched(row_id: str) -> Job:
    """The untouched model asked about a row."""
    return Job(row_id, frozenset())


def covers(condition: Condition, row: Row, wrong: Collection[str] = ()) -> bool:
    """Whether the row is asked under this condition; `wrong` are ids of rows known to be answered wrongly untouched."""
    of_task = condition.tasks is None or row.task in condition.tasks
    return of_task and not (condition.only_right and row.id in wrong)


def jobs_of(
    condition: Condition, rows: Iterable[Row], manner: Manner = DEFAULT_MANNER, wrong: Collection[str] = ()
) -> tuple[Job, ...]:
    """The condition's jobs, one for each row that it covers (`covers`), in the order of the rows."""
    return tuple(_job(condition, row, manner) for row in rows if covers(condition, row, wrong))


def rounds(group: Sequence[RowWork]) -> tuple[tuple[RowWork, ...], tuple[RowWork, ...]]:
    """What is asked first, since other jobs hang on the answer, and the rest, as if every answer were right."""
    first = tuple(RowWork(work.row, (untouched(work.row.id),)) for work in group if work.if_right)
    asked = {job for work in first for job in work.jobs}
    rest = (RowWork(work.row, (*(job for job in work.jobs if job not in asked), *work.if_right)) for work in group)
    return first, tuple(work for work in rest if work.jobs)


def make_plan(
    conditions: Sequence[Condition],
    rows: Sequence[Row],
    manner: Manner = DEFAULT_MANNER,
    *,
    stored: Callable[[Sequence[Job]], Container[Job]],
    wrong: Collection[str] = (),
    content: Callable[[Job], Hashable] = lambda job: job,
    only: Collection[str] | None = None,
) -> Plan:
    """Merge equal jobs, add the baseline, and leave out what is stored.

    Every row that a condition with the full prompt covers gets the baseline too, first of its jobs: drops are
    differences from it on the same rows. The other jobs of a row follow in the order of the conditions.

    `stored` says which of one row's jobs are. `wrong` are ids of rows whose stored baseline is wrong. Jobs of one
    `content` get one answer, whatever their rows (plain text of one document): the first row's is done. `only` are ids
    of the rows that are planned here, `None` for all: what others of the rows do first is not done here either.
    """
    work = []
    requested = distinct = n_stored = 0
    seen: set[Hashable] = set()
    for row in rows:
        covering = [condition for condition in conditions if covers(condition, row, wrong)]
        jobs = [_job(condition, row, manner) for condition in covering if not condition.only_right]
        hanging = [_job(condition, row, manner) for condition in covering if condition.only_right]
        if any(condition.prompt == "full" for condition in covering):
            if not any(condition.experiment == BASELINE.experiment for condition in covering):
                jobs.append(untouched(row.id))
            jobs.sort(key=lambda job: job != untouched(row.id))
        different = [job for job in dict.fromkeys((*jobs, *hanging)) if content(job) not in seen]
        seen.update(map(content, different))
        if only is not None and row.id not in only:
            continue
        requested += len(jobs) + len(hanging)
        there = stored(different)
        missing = [job for job in different if job not in there]
        distinct += len(different)
        n_stored += len(different) - len(missing)
        if missing:
            later = set(hanging).difference(jobs) if untouched(row.id) in missing else set()
            at_once = tuple(job for job in missing if job not in later)
            work.append(RowWork(row, at_once, tuple(job for job in missing if job in later)))
    return Plan(tuple(work), requested, distinct, n_stored)


def _job(condition: Condition, row: Row, manner: Manner) -> Job:
    if not condition.heads:
        return Job(row.id, frozenset(), condition.prompt)
    return Job(row.id, frozenset(condition.heads), condition.prompt, manner.mode, manner.phase)

"""The plan: rows x conditions, less what is equal and what is stored, row by row.

A job is the unit of work and of storage: one row, one set of heads, one kind of prompt. Conditions of
different experiments that zero equal heads on equal rows are one job. A row's jobs stand together, because
they share work: a head ablated at layer l changes nothing before layer l's output, so jobs whose heads agree
up to a layer share every layer up to it, and the jobs of a row form a tree over layers.

Knows no models, no prompts and no store: what is stored, a function says.
"""

from collections.abc import Callable, Iterable, Sequence
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
    """A row and its jobs that are still to be done, the baseline first if it is one of them."""

    row: Row
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The work to be done, in the order of the rows; rows with nothing left to do are not in it.

    `requested` counts (row, condition) pairs, the added baselines included; `distinct` the jobs that they
    come down to; `stored` those of them that are done already.
    """

    work: tuple[RowWork, ...]
    requested: int
    distinct: int
    stored: int


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


def jobs_of(condition: Condition, rows: Iterable[Row], manner: Manner = DEFAULT_MANNER) -> tuple[Job, ...]:
    """The condition's jobs, one for each row of its tasks, in the order of the rows."""
    return tuple(_job(condition, row, manner) for row in rows if _covers(condition, row))


def make_plan(
    conditions: Sequence[Condition],
    rows: Sequence[Row],
    manner: Manner = DEFAULT_MANNER,
    *,
    stored: Callable[[Job], bool],
) -> Plan:
    """Merge equal jobs, add the baseline, and leave out what is stored.

    Every row that a condition with the full prompt covers gets the baseline too, first of its jobs: drops are
    differences from it on the same rows. The other jobs of a row follow in the order of the conditions.
    """
    work = []
    requested = distinct = n_stored = 0
    for row in rows:
        covering = [condition for condition in conditions if _covers(condition, row)]
        jobs = [_job(condition, row, manner) for condition in covering]
        if any(condition.prompt == "full" for condition in covering):
            baseline = _job(BASELINE, row, manner)
            if not any(condition.experiment == BASELINE.experiment for condition in covering):
                jobs.append(baseline)
            jobs.sort(key=lambda job: job != baseline)
        requested += len(jobs)
        different = tuple(dict.fromkeys(jobs))
        missing = tuple(job for job in different if not stored(job))
        distinct += len(different)
        n_stored += len(different) - len(missing)
        if missing:
            work.append(RowWork(row, missing))
    return Plan(tuple(work), requested, distinct, n_stored)


def _covers(condition: Condition, row: Row) -> bool:
    return condition.tasks is None or row.task in condition.tasks


def _job(condition: Condition, row: Row, manner: Manner) -> Job:
    if not condition.heads:
        return Job(row.id, frozenset(), condition.prompt)
    return Job(row.id, frozenset(condition.heads), condition.prompt, manner.mode, manner.phase)

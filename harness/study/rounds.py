"""Rounds: what is asked together of a group of rows, claimed so that nobody else asks it, and told of when it is kept.

A run (`run`) says what is missing of a row, and keeps answers; who answers (`crew`) takes one round after the other.
Knows no models, and no store beyond the place of its claims.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.experiment.locks import try_claim
from harness.experiment.plan import Job, RowWork, rounds
from harness.experiment.record import Ask
from harness.retrieval.rows import Row
from harness.study.crew import Answers, Said
from harness.study.progress import Progress


class Asking(Protocol):
    """What a run knows of its rows."""

    def missing(self, work: RowWork, /) -> list[tuple[Job, ...]]:
        """Those of a row's jobs that nobody has done meanwhile, prompt by prompt."""

    def ask(self, jobs: Sequence[Job], /) -> Ask:
        """What is asked of one prompt."""

    def keep(self, answers: Iterable[tuple[Sequence[Job], Said]], /) -> None:
        """Store what was said to each of these jobs' prompts: all of it, or nothing."""

    def is_wrong(self, row: Row, /) -> bool:
        """Whether the row has a baseline, and that is wrong."""


@dataclass(frozen=True, eq=False, slots=True)
class Round:
    """Prompts of one group of rows that are asked together: those that others hang on, or all that are left.

    `jobs[number]` are asked of the prompt `asks[number]`, and `left` counts the prompts of each row that are not
    answered. `hanging` is the group where some of its rows' other jobs hang on this round.
    """

    jobs: tuple[tuple[Job, ...], ...]
    asks: tuple[Ask, ...]
    left: Counter[str]
    claims: ExitStack
    hanging: tuple[RowWork, ...] = ()


class Rounds(Iterator[Round | None]):
    """Groups of rows on their way, round by round: each group is claimed, by the store's file, while it is asked, and
    its rows are told of when all that was said of them is kept.

    What is said to a prompt is kept as it comes: a process that ends in the middle leaves little to do again. Where
    jobs hang on whether the untouched model is right, it is asked first. `None` is given where all that is left hangs
    on rounds that are out, or is held by others. To be closed.
    """

    def __init__(
        self, run: Asking, store: Path, groups: Sequence[Sequence[RowWork]], progress: Callable[[Progress], None]
    ) -> None:
        self._run = run
        self._store = store
        self._waiting = deque(map(tuple, groups))
        self._ready: deque[Round] = deque()
        self._out: set[Round] = set()
        self._progress = progress
        self._rows, self._done, self._own = sum(map(len, groups)), 0, 0
        self._asked: set[str] = set()
        self._by: Counter[str] = Counter()
        self._began = time.monotonic()

    def __next__(self) -> Round | None:
        for _ in range(len(self._waiting)):
            if self._ready:
                break
            self._claim(self._waiting.popleft())
        if self._ready:
            self._out.add(self._ready[0])
            return self._ready.popleft()
        if self._out or self._waiting:
            return None
        raise StopIteration

    def keep(self, answers: Answers[Round]) -> None:
        """Keep what was said to some of the rounds' prompts, in one transaction: one takes a disk as long as many.

        Rows are told of, all at once, and then let go of, when that is done.
        """
        self._run.keep((asked.jobs[number], said) for asked, number, said in answers)
        done = dict[str, str]()
        for asked, number, said in answers:
            row_id = asked.jobs[number][0].row_id
            self._asked.add(row_id)
            asked.left[row_id] -= 1
            if not asked.left[row_id] and not asked.hanging:
                done[row_id] = said.who
        self._tell(done)
        for asked in dict.fromkeys(asked for asked, _, _ in answers):
            if not asked.left.total():
                self._out.remove(asked)
                self._go_on(asked)

    def close(self) -> None:
        """Let go of every row that is claimed."""
        for each in (*self._out, *self._ready):
            each.claims.close()

    def _claim(self, group: tuple[RowWork, ...]) -> None:
        """Take those of a group's rows that nobody else has; the others wait for another turn."""
        with ExitStack() as claims:
            mine = [work for work in group if claims.enter_context(try_claim(self._store, work.row.id))]
            ids = {work.row.id for work in mine}
            if left := tuple(work for work in group if work.row.id not in ids):
                self._waiting.append(left)
            first, rest = rounds(mine)
            self._begin(first or rest, claims.pop_all(), hanging=tuple(mine) if first else ())

    def _begin(self, work: Sequence[RowWork], claims: ExitStack, hanging: tuple[RowWork, ...] = ()) -> None:
        """Put a round in the queue; of rows of which nothing is left to ask it is told at once."""
        of_rows = {each.row.id: self._run.missing(each) for each in work}
        jobs = tuple(of_prompt for of_row in of_rows.values() for of_prompt in of_row)
        left = Counter({row_id: len(of_row) for row_id, of_row in of_rows.items()})
        begun = Round(jobs, tuple(map(self._run.ask, jobs)), left, claims, hanging)
        if not hanging:
            self._tell({row_id: "" for row_id, n_prompts in left.items() if not n_prompts})
        if jobs:
            self._ready.append(begun)
        else:
            self._go_on(begun)

    def _go_on(self, ended: Round) -> None:
        """Ask what hung on a round, where the untouched model was right; or let go of its rows."""
        if not ended.hanging:
            ended.claims.close()
            return
        first, rest = rounds(ended.hanging)
        wrong = {work.row.id for work in first if self._run.is_wrong(work.row)}
        hanging = {job for work in ended.hanging if work.row.id in wrong for job in work.if_right}
        right = [RowWork(work.row, tuple(job for job in work.jobs if job not in hanging)) for work in rest]
        self._begin(right, ended.claims)

    def _tell(self, done: Mapping[str, str]) -> None:
        """Rows are done, each by whoever was last asked of it, if that is known; nothing is told of none."""
        if not done:
            return
        self._done += len(done)
        self._own += len(self._asked & done.keys())
        self._by.update(filter(None, done.values()))
        seconds = time.monotonic() - self._began
        self._progress(
            Progress(self._done, self._rows, seconds, just_done=tuple(done), own=self._own, by=dict(self._by))
        )

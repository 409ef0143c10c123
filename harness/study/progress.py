"""How far a run is: rows done of all, by whom, how fast, and what the answers of these rows say so far.

A run tells whenever rows are done, of all at once that were answered together; whoever shows it
(`harness.plugin.status_line`) asks for the answers when a line is due, for counting them costs a little. Processes that
share a run leave notes in its store, and `together` makes one of theirs; who hears of rows in another way, as the
driver of a cluster does, hands in the same `Progress`. Knows nothing of terminals.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.intervention import Manner
from harness.experiment.plan import Job, jobs_of
from harness.experiment.record import Record
from harness.experiment.store import Store, progress_notes
from harness.findings.statistics import wilson
from harness.retrieval.rows import Row

if TYPE_CHECKING:  # the command line reads this module as it parses, and writes no samples then
    from harness.findings.samples import Score

ROWS = "rows"
NOTE_SECONDS = 1.0
"""How often a process that shares a run notes how far it is."""

Tallies = Mapping[str, tuple[int, int]]
"""By condition: right answers, and rows."""


def _none() -> Tallies:
    return {}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: rows done of those that were to do, and seconds since it began.

    `of` says what rows they are, where they are not those of the study. `just_done` are the ids of those that were done
    since it was last told, where one process tells, and `own` how many it did itself: others may have done the rest.
    `by` says who did how many, and `tallies` counts the right answers of the rows that are done. `notices` are all that
    a user should know so far.
    """

    rows_done: int
    rows: int
    seconds: float
    of: str = ROWS
    just_done: tuple[str, ...] = ()
    own: int = 0
    by: Mapping[str, int] = field(default_factory=dict)
    tallies: Callable[[], Tallies] = _none
    notices: tuple[str, ...] = ()

    def facts(self) -> str:
        """Who did how many rows, where several did, and the untouched model's accuracy beside the worst condition's."""
        said = [" ".join(f"{who} {n}" for who, n in self.by.items())] if len(self.by) > 1 else []
        found = dict(self.tallies())
        if (untouched := found.pop(BASELINE.name, None)) is not None:
            said.append(f"untouched {_accuracy(untouched)}")
        if (name := worst(found)) is not None:
            said.append(f"worst {_accuracy(found[name])} of {found[name][1]} {name}")
        return ", ".join(said)


def worst(tallies: Tallies) -> str | None:
    """The condition that is surely low: the least upper end of Wilson's 95 % interval; of equals, the first."""
    ends = {name: found.high for name, (right, n) in tallies.items() if (found := wilson(right, n)) is not None}
    return min(ends, key=ends.__getitem__, default=None)


def _accuracy(tally: tuple[int, int]) -> str:
    right, n = tally
    return f"{right / n:.0%}" if n else "unknown"


def together(parts: Mapping[str, Progress]) -> Progress | None:
    """What processes that share a run have done, by the name of each; `None` where none has told anything.

    Who came late had fewer rows left to do than the first. Rows that another did meanwhile are done, and count once.
    """
    of_rows = {who: each for who, each in parts.items() if each.of == ROWS}
    counted = of_rows or parts
    if not counted:
        return None
    rows = max(each.rows for each in counted.values())
    settled = max(rows - each.rows + each.rows_done for each in counted.values())
    sums: dict[str, tuple[int, int]] = {}
    for each in counted.values():
        for name, (right, n) in each.tallies().items():
            known = sums.get(name, (0, 0))
            sums[name] = (known[0] + right, known[1] + n)
    return Progress(
        rows_done=min(rows, max(settled, sum(each.own for each in counted.values()))),
        rows=rows,
        seconds=max(each.seconds for each in counted.values()),
        of=next(iter(counted.values())).of,
        by={who: each.own for who, each in counted.items()} if of_rows else {},
        tallies=lambda: sums,
        notices=tuple(f"{who}: {notice}" for who, each in parts.items() for notice in each.notices),
    )


class RightAnswers:
    """Counts right answers by condition, over rows as they are done; conditions over other prompts are left out."""

    def __init__(
        self,
        conditions: Sequence[Condition],
        records: Callable[[Sequence[Condition], Sequence[Row]], Mapping[Job, Record]],
        score: "Score",
        manner: Manner,
    ) -> None:
        self._conditions = [condition for condition in conditions if condition.prompt == "full"]
        self._records = records
        self._score = score
        self._manner = manner
        self._waiting: list[Row] = []
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, row: Row) -> None:
        """A row is done; it is counted when somebody asks."""
        self._waiting.append(row)

    def tallies(self) -> Tallies:
        """The counts of all rows that are done."""
        while self._waiting:
            self._count(self._waiting.pop())
        return dict(self._found)

    def _count(self, row: Row) -> None:
        records, known = self._records(self._conditions, [row]), dict[str, bool]()
        for condition in self._conditions:
            for job in jobs_of(condition, [row], self._manner):
                if (record := records.get(job)) is None:
                    continue
                if record.text not in known:
                    known[record.text] = self._score(row, record.text)[0]
                right, n = self._found.get(condition.name, (0, 0))
                self._found[condition.name] = (right + known[record.text], n + 1)


class Notes:
    """Where a process that shares a run notes in its store how far it is, now and then."""

    def __init__(self, store: Store, run: str, who: str) -> None:
        self._store, self._run, self._who = store, run, who
        self._next = 0.0
        self._last: Progress | None = None

    def tell(self, progress: Progress) -> None:
        """Note it, where the last note is old."""
        self._last = progress
        if time.monotonic() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Note what was told last."""
        if self._last is not None:
            self._store.note_progress(self._run, self._who, as_note(self._last))
            self._next, self._last = time.monotonic() + NOTE_SECONDS, None


def as_note(progress: Progress) -> str:
    """A progress as text; who did what is said beside it."""
    said = {name: getattr(progress, name) for name in ("rows_done", "rows", "seconds", "of", "own", "notices")}
    return json.dumps({**said, "tallies": dict(progress.tallies())})


def read_note(text: str) -> Progress:
    """The progress that a note says. Raises ValueError, KeyError or TypeError where it is none."""
    said = json.loads(text)
    tallies = {str(name): (int(right), int(n)) for name, (right, n) in said.pop("tallies").items()}
    notices = tuple(map(str, said.pop("notices")))
    return replace(Progress(**said), tallies=lambda: tallies, notices=notices)


def shared_progress(store: Path, run: str) -> Progress | None:
    """What the processes of a run have noted in a store, together; `None` where there is nothing, or nothing readable.

    It is only looked at: progress that cannot be shown stops nobody.
    """
    parts = {}
    for who, text in progress_notes(store, run):
        try:
            parts[who] = read_note(text)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return together(parts)

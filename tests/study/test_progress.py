"""Progress of one process and of several, against sums made by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.heads import Head
from harness.experiment.intervention import DEFAULT_MANNER
from harness.experiment.plan import Job, jobs_of
from harness.experiment.record import Completion, Record
from harness.experiment.store import Store, progress_notes
from harness.retrieval.rows import Row
from harness.study import progress as module
from harness.study.progress import (
    Notes,
    Progress,
    RightAnswers,
    Tallies,
    as_note,
    read_note,
    shared_progress,
    together,
    worst,
)

ONE = Condition("mine", "one", (Head(0, 1),))
COUNTS: Tallies = {"baseline": (8, 10), "a": (0, 1), "b": (1, 10), "c": (5, 10)}


def told(done: int, rows: int, *, own: int | None = None, of: str = "rows", counts: Tallies | None = None) -> Progress:
    return Progress(done, rows, 2.0 * done, of, own=done if own is None else own, tallies=lambda: counts or {})


def test_the_worst_condition_is_one_that_is_surely_low() -> None:
    """One wrong answer of one says less than nine of ten."""
    assert worst(COUNTS) == "b"
    assert worst({"a": (0, 1), "none": (0, 0)}) == "a"
    assert worst({}) is None


def test_facts() -> None:
    assert told(10, 20, counts=COUNTS).facts() == "untouched 80%, worst 10% of 10 b"
    assert told(10, 20).facts() == ""
    both = together({"gw0": told(4, 20, counts={"baseline": (1, 4)}), "gw1": told(5, 20, counts={"baseline": (5, 5)})})
    assert both is not None
    assert both.facts() == "gw0 4 gw1 5, untouched 67%"


def test_several_processes_together() -> None:
    """The second came when three rows were done, and found one more of its own done meanwhile."""
    both = together({"gw0": replace(told(7, 20), notices=("split",)), "gw1": told(5, 17, own=4)})
    assert both is not None
    assert both.notices == ("gw0: split",)
    assert (both.rows_done, both.rows, both.seconds) == (11, 20, 14.0)
    assert dict(both.by) == {"gw0": 7, "gw1": 4}


def test_a_process_that_saw_more_done_than_was_told() -> None:
    """Whoever did the rest was killed before its last note."""
    both = together({"gw0": told(3, 20), "gw1": told(12, 17, own=6)})
    assert both is not None
    assert both.rows_done == 15
    assert together({}) is None


def test_rows_for_the_mean_are_shown_until_others_are_done() -> None:
    mean = told(3, 9, of="rows for the mean", own=0)
    alone = together({"gw0": mean})
    assert alone is not None
    assert (alone.rows_done, alone.rows, alone.of, dict(alone.by)) == (3, 9, "rows for the mean", {})
    both = together({"gw0": mean, "gw1": told(1, 20)})
    assert both is not None
    assert (both.rows_done, both.rows, both.of) == (1, 20, "rows")


def test_right_answers_are_counted_when_asked_for() -> None:
    rows = [Row(f"r{n}", "year", "It was 1999.", "1999", "A. B.") for n in range(3)]
    said = {"r0/year": ("1999", "no"), "r1/year": ("1999", "1999"), "r2/year": ("no", "no")}
    asked: list[str] = []

    def records(conditions: Sequence[Condition], of: Sequence[Row]) -> Mapping[Job, Record]:
        asked.extend(row.id for row in of)
        return {
            job: record(job, said[job.row_id][condition is ONE])
            for condition in conditions
            for job in jobs_of(condition, of)
        }

    counted = RightAnswers(
        [BASELINE, ONE, NEEDLE_ABSENT], records, lambda row, text: (text == row.needle_value,) * 2, DEFAULT_MANNER
    )
    counted.add(rows[0])
    counted.add(rows[1])
    assert asked == []
    assert counted.tallies() == {"baseline": (2, 2), "mine[one]": (1, 2)}
    counted.add(rows[2])
    assert counted.tallies() == {"baseline": (2, 3), "mine[one]": (1, 3)}
    assert sorted(asked) == ["r0/year", "r1/year", "r2/year"]


def record(job: Job, text: str) -> Record:
    return Record(job, Completion((1,), None, -1.0, None, hooks_fired=0, smallest_gap=0.5), text, 0.1, "cpu")


def test_notes_are_read_by_whoever_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "store.sqlite"
    assert shared_progress(file, "run") is None
    with Store(file) as store:
        assert shared_progress(file, "run") is None
        first, second = Notes(store, "run", "gw0"), Notes(store, "run", "gw1")
        first.tell(told(1, 9, counts=COUNTS))
        first.tell(told(2, 9))
        second.tell(told(4, 9))
        seen = shared_progress(file, "run")
        assert seen is not None
        assert (seen.rows_done, dict(seen.by), dict(seen.tallies())) == (5, {"gw0": 1, "gw1": 4}, COUNTS)
        first.flush()
        seen = shared_progress(file, "run")
        assert seen is not None
        assert seen.rows_done == 6
        monkeypatch.setattr(module, "NOTE_SECONDS", 0.0)
        store.note_progress("run", "gw1", "{")
        store.note_progress("other", "gw0", as_note(told(1, 2)))
        seen = shared_progress(file, "run")
        assert seen is not None
        assert seen.rows_done == 2
        store.forget_progress("run")
        assert shared_progress(file, "run") is None
        assert len(progress_notes(file, "other")) == 1


def test_a_note_is_read_back() -> None:
    given = replace(told(3, 9, own=2, counts=COUNTS), notices=("split",))
    read = read_note(as_note(given))
    assert (read.rows_done, read.rows, read.own, read.of, read.seconds) == (3, 9, 2, "rows", 6.0)
    assert read.tallies() == COUNTS
    assert read.notices == ("split",)

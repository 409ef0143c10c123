"""Killed without warning, again and again: nothing finished is computed twice, and nothing is lost."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from harness.demo.filings import demo_rows
from harness.retrieval.rows import write_rows
from plugin.project import TASKS, Project, lasting

KILLS = 20
FILINGS = 24
STUDY = ("evals/test_within_task.py", "evals/test_general.py", "evals/test_across_task.py", "evals/test_transfer.py")
WATCHED = """
    import os, time
    from pathlib import Path
    from harness.experiment.store import Store
    from harness.run import Run

    answer, put_row = Run._answer, Store.put_row

    def log(word, keys):
        lines = "".join(f"{word} {os.getpid()} {key}\\n" for key in keys)
        with Path("log.txt").open("a") as file:
            file.write(lines)

    def watched_answer(self, row_id, kind, jobs, engine):
        log("computing", [self._key(job) for job in jobs])
        time.sleep(0.03)
        return answer(self, row_id, kind, jobs, engine)

    def watched_put_row(self, records, **how):
        kept = list(records)
        put_row(self, kept, **how)
        log("stored", [key for key, _ in kept])

    Run._answer, Store.put_row = watched_answer, watched_put_row
"""
"""Notes which records are being computed and which are stored, by whom; one line a record."""


@pytest.fixture
def large(project: Project) -> Project:
    """A project of more rows than are done between two kills."""
    (project.path / "rows.csv").unlink()
    rows = [replace(row, split="evaluation") for row in demo_rows(FILINGS, n_sentences=2) if row.task in TASKS]
    write_rows(rows, project.path / "rows.csv")
    project.pytester.makeconftest(WATCHED)
    return project


def lines(project: Project) -> list[list[str]]:
    """The log so far, whole lines only."""
    log = project.path / "log.txt"
    text = log.read_text() if log.exists() else ""
    return [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]


def wait_for_more(project: Project, process: "subprocess.Popen[str]", more: int) -> bool:
    """Whether so many more lines came before the process ended."""
    known = len(lines(project))
    while process.poll() is None:
        if len(lines(project)) >= known + more:
            return True
        time.sleep(0.005)
    return False


def moments(seed: int) -> Iterator[tuple[int, float]]:
    """When to kill: after so many more lines, and so many seconds on top."""
    chance = random.Random(seed)
    while True:
        yield chance.randint(1, 12), chance.uniform(0, 0.06)


def test_killed_twenty_times(large: Project) -> None:
    """Half of the kills hit one of three workers, which xdist replaces, the others the whole session."""
    undisturbed = large.start(*STUDY, "-q")
    output, _ = undisturbed.communicate()
    assert undisturbed.returncode == 0, output
    expected, samples = large.report(), large.samples()
    shutil.rmtree(large.path / "reports")
    (large.path / "log.txt").unlink()

    kills = 0
    when = moments(seed=1)
    with large.start(*STUDY, "-n", "3", "--max-worker-restart=20", output=subprocess.DEVNULL) as session:
        while kills < KILLS // 2:
            more, seconds = next(when)
            if not wait_for_more(large, session, more):
                break
            time.sleep(seconds)
            with suppress(ProcessLookupError):
                os.kill(int(lines(large)[-1][1]), signal.SIGKILL)
            kills += 1
        session.kill()
    assert kills >= KILLS // 4
    while kills < KILLS:
        more, seconds = next(when)
        with large.start(*STUDY, "-q", output=subprocess.DEVNULL) as session:
            assert wait_for_more(large, session, more), "it ended before it could be killed: give it more rows"
            time.sleep(seconds)
            session.kill()
        kills += 1
    last = large.start(*STUDY, "-q")
    output, _ = last.communicate()

    assert last.returncode == 0, output
    assert lasting(large.report()) == lasting(expected)
    assert large.samples() == samples
    stored: set[str] = set()
    for word, _pid, key in lines(large):
        assert word == "stored" or key not in stored, "computed after it was stored"
        if word == "stored":
            stored.add(key)

"""Killed without warning, again and again: nothing finished is computed twice, and nothing is lost."""

import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import psutil
import pytest

from harness.demo.filings import demo_rows
from harness.retrieval.rows import write_rows
from plugin.project import TASKS, Project, lasting

KILLS = 20
MOST_AT_ONCE = 2
"""Prompts that are kept between two kills; `KILLS` times as many are fewer than the rows."""
LONGEST_WAIT = 0.06
"""Seconds from the moment that a prompt is answered, which takes about half of it to be kept, to a kill."""
FILINGS = 24
STUDY = ("evals/test_within_task.py", "evals/test_general.py", "evals/test_across_task.py", "evals/test_transfer.py")
WATCHED = """
    import os, time
    from pathlib import Path
    from harness.experiment.store import Store
    from harness.study.run import Run

    ask, put_row = Run.ask, Store.put_row

    def log(word, keys):
        lines = "".join(f"{word} {os.getpid()} {key}\\n" for key in keys)
        with Path("log.txt").open("a") as file:
            file.write(lines)

    def take(permit):
        try:
            permit.unlink()
        except FileNotFoundError:
            return False
        return True

    def watched_ask(self, jobs):
        log("computing", [self._key(job) for job in jobs])
        return ask(self, jobs)

    def watched_put_row(self, records, **how):
        kept = list(records)
        permits = Path("permits")
        while permits.exists() and not any(take(permit) for permit in permits.iterdir()):
            time.sleep(0.002)
        log("storing", [key for key, _ in kept])
        time.sleep(0.03)
        put_row(self, kept, **how)
        log("stored", [key for key, _ in kept])

    Run.ask, Store.put_row = watched_ask, watched_put_row
"""
"""Notes which records are being computed, are about to be stored and are stored, by whom; one line a record.

The rows of a filing are computed together. Where there is a folder `permits`, what was said to a prompt is stored only
with a file out of it, and waits where there is none: so a fast machine never runs out of rows before the last kill.
"""


@pytest.fixture
def large(project: Project) -> Project:
    """A project of more rows than are done between two kills."""
    (project.path / "rows.csv").unlink()
    rows = [replace(row, split="evaluation") for row in demo_rows(FILINGS, n_sentences=2) if row.task in TASKS]
    write_rows(rows, project.path / "rows.csv")
    project.pytester.makeconftest(WATCHED)
    project.configure(ablation_mode="needle_edge")  # its keys hold what each row's heads are kept from
    return project


def lines(project: Project) -> list[list[str]]:
    """The log so far, whole lines only."""
    log = project.path / "log.txt"
    text = log.read_text() if log.exists() else ""
    return [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]


def permit(project: Project, session: "subprocess.Popen[str]", prompts: int) -> None:
    """Let what was said to so many prompts be stored, and wait until that has begun."""
    permits = project.path / "permits"
    for number in range(prompts):
        (permits / str(number)).touch()
    while any(permits.iterdir()):
        assert session.poll() is None, "it ended before it could be killed: give it more rows"
        time.sleep(0.002)


def storing(project: Project) -> int:
    """The process that began to store last."""
    return [int(pid) for word, pid, _key in lines(project) if word == "storing"][-1]


def test_killed_twenty_times(large: Project) -> None:
    """Half of the kills hit one of three workers, which xdist replaces, the others the whole session."""
    undisturbed = large.start(*STUDY, "-q")
    output, _ = undisturbed.communicate()
    assert undisturbed.returncode == 0, output
    expected, samples = large.report(), large.samples()
    shutil.rmtree(large.path / "reports")
    (large.path / "log.txt").unlink()

    chance = random.Random(1)
    permits = large.path / "permits"
    permits.mkdir()
    with large.start(*STUDY, "-n", "3", f"--max-worker-restart={KILLS}", output=subprocess.DEVNULL) as session:
        for _ in range(KILLS // 2):
            permit(large, session, chance.randint(1, MOST_AT_ONCE))
            time.sleep(chance.uniform(0, LONGEST_WAIT))
            os.kill(storing(large), signal.SIGKILL)
        session.kill()
    for _ in range(KILLS - KILLS // 2):
        with large.start(*STUDY, "-q", output=subprocess.DEVNULL) as session:
            permit(large, session, chance.randint(1, MOST_AT_ONCE))
            time.sleep(chance.uniform(0, LONGEST_WAIT))
            session.kill()
    permits.rmdir()
    last = large.start(*STUDY, "-q")
    output, _ = last.communicate()

    assert last.returncode == 0, output
    assert lasting(large.report()) == lasting(expected)
    assert large.samples() == samples
    stored: set[str] = set()
    for word, _pid, key in lines(large):
        assert word != "computing" or key not in stored, "computed after it was stored"
        if word == "stored":
            stored.add(key)


def test_workers_end_with_a_session_that_is_killed(project: Project) -> None:
    """They worked on for up to 13 s; what they claimed is left, and the next run removes it."""
    project.pytester.makeconftest(
        """
        import time
        from pathlib import Path
        from harness.study.run import Run

        ask = Run.ask

        def endless_ask(self, jobs):
            if not Path("quick").exists():
                Path("begun").touch()
                time.sleep(600)
            return ask(self, jobs)

        Run.ask = endless_ask
        """
    )
    with project.start(*STUDY, "-n", "2", output=subprocess.DEVNULL) as session:
        while not (project.path / "begun").exists():
            assert session.poll() is None
            time.sleep(0.01)
        workers = psutil.Process(session.pid).children(recursive=True)
        session.kill()
    _, living = psutil.wait_procs(workers, timeout=4)
    assert len(workers) >= 2
    assert living == []
    reports = project.path / "reports"
    assert list(reports.glob("*.claim"))
    (project.path / "quick").touch()
    project.start(*STUDY[:1], "-q", output=subprocess.DEVNULL).wait()
    assert (reports / "latest" / "report.json").exists()
    assert not list(reports.glob("*.claim"))

"""Killed without warning, again and again: nothing finished is computed twice, and nothing is lost."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import psutil
import pytest
from ready_python import child_of

from harness.demo.filings import demo_rows
from harness.retrieval.rows import Row, write_rows
from plugin.project import TASKS, Project, lasting

KILLS = 20
OF_WORKERS = 5
"""How many of them hit a worker of several."""
MODES = ("needle_edge", "mass_edge", "rescue", "resample_same")
"""Each with something of each row in its keys, or in what is computed; workers are killed in the first."""
MOST_AT_ONCE = 2
"""Prompts that are kept between two kills; as many as there are kills of one mode come to fewer than the rows."""
LONGEST_WAIT = 0.06
"""Seconds from the moment that a prompt is answered, which takes about half of it to be kept, to a kill."""
FILINGS, DEPTHS = 3, (0.3, 0.6, 0.9)
STUDY = ("evals/test_within_task.py", "evals/test_general.py")
WATCHED = """
    import os, time
    from pathlib import Path
    import harness.findings.figures.plots as plots
    from harness.experiment.store import Store
    from harness.study.run import Run

    plots.draw_plots = lambda report, folder, **named: ()

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
        hurried = not permits.exists()
        while permits.exists() and not any(take(permit) for permit in permits.iterdir()):
            time.sleep(0.002)
        log("storing", [key for key, _ in kept])
        time.sleep(0 if hurried else 0.03)
        put_row(self, kept, **how)
        log("stored", [key for key, _ in kept])

    Run.ask, Store.put_row = watched_ask, watched_put_row
"""
"""Draws no plots, and notes which records are computed, about to be stored and stored, by whom; one line a record.

The rows of a filing are computed together. Where there is a folder `permits`, what was said to a prompt is stored only
with a file out of it, and waits where there is none: so a fast machine never runs out of rows before the last kill.
"""


def of_one_haystack(rows: list[Row]) -> list[Row]:
    """The rows of a filing around one document, at several depths: their prompts begin alike, up to a needle."""
    return [replace(row, haystack_text=rows[0].haystack_text, depth=depth) for row in rows for depth in DEPTHS]


@pytest.fixture
def large(project: Project) -> Project:
    """A project of more rows than are done between two kills."""
    (project.path / "rows.csv").unlink()
    rows = [replace(row, split="evaluation") for row in demo_rows(FILINGS, n_sentences=2) if row.task in TASKS]
    filings = [[row for row in rows if row.filename == name] for name in dict.fromkeys(row.filename for row in rows)]
    write_rows([row for filing in filings for row in of_one_haystack(filing)], project.path / "rows.csv")
    project.pytester.makeconftest(WATCHED)
    return project


class Session:
    """One session of the project, its output in a file."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self._python, self._output = project.ready_python(), project.path / "session.txt"
        with self._output.open("w") as file:
            self._process = project.start(*arguments, output=file.fileno())

    def ended(self) -> bool:
        """Whether it has come to its end."""
        return self._process.poll() is not None

    def kill(self) -> int:
        """Without warning; what `wait` gives."""
        with suppress(ProcessLookupError):
            os.kill(child_of(self._process, self._python), signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        return self._process.wait()

    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")


def lines(project: Project) -> list[list[str]]:
    """The log so far, whole lines only."""
    log = project.path / "log.txt"
    text = log.read_text() if log.exists() else ""
    return [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]


def permit(project: Project, session: Session, prompts: int) -> None:
    """Let what was said to so many prompts be stored, and wait until that has begun."""
    permits = project.path / "permits"
    for number in range(prompts):
        (permits / str(number)).touch()
    while any(permits.iterdir()):
        assert not session.ended(), f"it ended before it could be killed: give it more rows: {session.output()}"
        time.sleep(0.002)


def storing(project: Project) -> int:
    """The process that began to store last."""
    return [int(pid) for word, pid, _key in lines(project) if word == "storing"][-1]


def all_reports(project: Project) -> list[object]:
    """Of a study in each mode, done to its end: its report, without the digest of its samples' last bits, and these."""
    found: list[object] = []
    for mode in MODES:
        session = Session(project, *STUDY, "-q", f"--ablation-mode={mode}")
        assert session.wait() == 0, session.output()
        report = lasting(project.report())
        del report["samples"]["sha256"]
        found += [report, project.samples()]
    return found


def assert_same(found: object, expected: object, where: str = "") -> None:
    """Equal, but for how numbers are rounded: which rows are computed together hangs on where kills came."""
    if isinstance(expected, dict) and isinstance(found, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        assert len(found) == len(expected), where
        for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            assert_same(ours, theirs, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-4), where
    else:
        assert found == expected, where


def test_killed_twenty_times(large: Project) -> None:
    """Some kills hit one of two workers, which xdist replaces, the others a whole session; each in a group of rows of
    one filing."""
    expected = all_reports(large)
    shutil.rmtree(large.path / "reports")
    (large.path / "log.txt").unlink()

    chance = random.Random(1)
    permits = large.path / "permits"
    permits.mkdir()
    session = Session(large, *STUDY, f"--ablation-mode={MODES[0]}", "-n", "2", f"--max-worker-restart={KILLS}")
    for _ in range(OF_WORKERS):
        permit(large, session, chance.randint(1, MOST_AT_ONCE))
        time.sleep(chance.uniform(0, LONGEST_WAIT))
        os.kill(storing(large), signal.SIGKILL)
    session.kill()
    for mode in islice(cycle(MODES[1:]), KILLS - OF_WORKERS):
        session = Session(large, *STUDY, f"--ablation-mode={mode}")
        permit(large, session, chance.randint(1, MOST_AT_ONCE))
        time.sleep(chance.uniform(0, LONGEST_WAIT))
        assert session.kill() == -signal.SIGKILL
    permits.rmdir()

    assert_same(all_reports(large), expected)
    stored: set[str] = set()
    for word, _pid, key in lines(large):
        assert word != "computing" or key not in stored, "computed after it was stored"
        if word == "stored":
            stored.add(key)


def test_workers_end_with_a_session_that_is_killed(project: Project) -> None:
    """They worked on for up to 13 s; what they claimed is left, and the next run removes it. Fresh processes all."""
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
    with project.start(*STUDY, "-n", "2", output=subprocess.DEVNULL, python=Path(sys.executable)) as session:
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

"""Killed without warning, again and again: nothing finished is computed twice, and nothing is lost."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import psutil
import pytest
from ready_python import child_of

from harness.demo.filings import demo_rows
from harness.retrieval.rows import Row, write_rows
from plugin.project import REPOSITORY, TASKS, Project, lasting

KILLS = 20
OF_WORKERS = 5
"""How many of them hit a worker of several."""
MODES = ("needle_edge", "mass_edge", "rescue", "resample_same")
"""Each with something of each row in its keys, or in what is computed; workers are killed in the first."""
MOST_AT_ONCE = 2
"""Prompts that are kept between two kills; as many as there are kills of one mode come to fewer than the rows."""
LONGEST_WAIT = 0.06
"""Seconds from the moment that a prompt is answered, which takes about half of it to be kept, to a kill."""
FILINGS, DEPTHS = 3, (0.1, 0.5, 0.9)
FILINGS_TOGETHER = 20
"""Of two rows each: four more than are answered up to the last kill, for a run parts the rows of a few filings."""
STUDY = ("evals/test_within_task.py", "evals/test_general.py")
ON_A_GPU = f"""
import sys
sys.path.append({str(REPOSITORY / "tests")!r})
import conftest, as_on_a_gpu
as_on_a_gpu.run_study(busy=sys.argv[1] == "busy")
"""
"""The same study as sessions do in the first mode, its model taken for one on a GPU; noted as theirs."""
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


def of_one_haystack(rows: Sequence[Row], depths: Sequence[float]) -> list[Row]:
    """The rows of a filing around one document, at several depths: their prompts begin alike, up to a needle."""
    return [replace(row, haystack_text=rows[0].haystack_text, depth=depth) for row in rows for depth in depths]


def watch(project: Project, n_filings: int, depths: Sequence[float]) -> None:
    """Give the project these rows, and have what is done with them noted."""
    (project.path / "rows.csv").unlink()
    rows = [replace(row, split="evaluation") for row in demo_rows(n_filings, n_sentences=2) if row.task in TASKS]
    filings = [[row for row in rows if row.filename == name] for name in dict.fromkeys(row.filename for row in rows)]
    write_rows([row for filing in filings for row in of_one_haystack(filing, depths)], project.path / "rows.csv")
    project.pytester.makeconftest(WATCHED)


class Session:
    """One session of the project, or `code` with these arguments there; its output in a file."""

    def __init__(self, project: Project, *arguments: str, code: str | None = None) -> None:
        self._python, self._output = project.ready_python(), project.path / "session.txt"
        with self._output.open("w") as file:
            if code is None:
                self._process = project.start(*arguments, output=file.fileno())
            else:
                command = [str(self._python), "-c", code, *arguments]
                self._process = subprocess.Popen(command, cwd=project.path, stdout=file, stderr=file, text=True)

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
    """Let what was said to so many prompts be stored, or to as many groups of them, and wait until that has begun."""
    permits = project.path / "permits"
    for number in range(prompts):
        (permits / str(number)).touch()
    while any(permits.iterdir()):
        assert not session.ended(), f"it ended before it could be killed: give it more rows: {session.output()}"
        time.sleep(0.002)


def wait_until_asked(project: Project, session: Session) -> None:
    """Wait until its first prompts are about to be read."""
    before = len(lines(project))
    while len(lines(project)) == before:
        assert not session.ended(), f"it ended before it could be killed: give it more rows: {session.output()}"
        time.sleep(0.002)


def storing(project: Project) -> int:
    """The process that began to store last."""
    return [int(pid) for word, pid, _key in lines(project) if word == "storing"][-1]


def all_reports(project: Project, modes: Sequence[str]) -> list[object]:
    """Of a study in each mode, done to its end: its report, without the digest of its samples' last bits, and these."""
    found: list[object] = []
    for mode in modes:
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


def assert_nothing_is_done_twice(project: Project) -> None:
    """Nothing that was stored is asked or stored again."""
    stored: set[str] = set()
    for word, _pid, key in lines(project):
        assert key not in stored, f"{word} after it was stored"
        if word == "stored":
            stored.add(key)


def test_killed_twenty_times(project: Project) -> None:
    """Some kills hit one of two workers, which xdist replaces, the others a whole session; each in a group of rows of
    one filing."""
    watch(project, FILINGS, DEPTHS)
    expected = all_reports(project, MODES)
    shutil.rmtree(project.path / "reports")
    (project.path / "log.txt").unlink()

    chance = random.Random(1)
    permits = project.path / "permits"
    permits.mkdir()
    session = Session(project, *STUDY, f"--ablation-mode={MODES[0]}", "-n", "2", f"--max-worker-restart={KILLS}")
    for _ in range(OF_WORKERS):
        permit(project, session, chance.randint(1, MOST_AT_ONCE))
        time.sleep(chance.uniform(0, LONGEST_WAIT))
        os.kill(storing(project), signal.SIGKILL)
    session.kill()
    for mode in islice(cycle(MODES[1:]), KILLS - OF_WORKERS):
        session = Session(project, *STUDY, f"--ablation-mode={mode}")
        permit(project, session, chance.randint(1, MOST_AT_ONCE))
        time.sleep(chance.uniform(0, LONGEST_WAIT))
        assert session.kill() == -signal.SIGKILL
    permits.rmdir()

    assert_same(all_reports(project, MODES), expected)
    assert_nothing_is_done_twice(project)


def test_killed_twenty_times_where_rows_are_answered_together(project: Project) -> None:
    """By turns as on a GPU that waits, rows of two filings side by side, and on one that is busy, those of one behind
    what they begin with. All come together: a kill while they are read, or in the midst of being stored, costs all."""
    watch(project, FILINGS_TOGETHER, DEPTHS[1:2])
    expected = all_reports(project, ["zero"])
    shutil.rmtree(project.path / "reports")
    (project.path / "log.txt").unlink()

    chance = random.Random(2)
    permits = project.path / "permits"
    permits.mkdir()
    for kill in range(KILLS):
        session = Session(project, "busy" if kill % 2 else "waits", code=ON_A_GPU)
        if kill % 4 < 2:
            permit(project, session, 1)
        else:
            wait_until_asked(project, session)
        time.sleep(chance.uniform(0, LONGEST_WAIT))
        assert session.kill() == -signal.SIGKILL
    permits.rmdir()

    assert_same(all_reports(project, ["zero"]), expected)
    assert_nothing_is_done_twice(project)
    assert {*(project.path / "together.txt").read_text().split()} == {"4", "2"}


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

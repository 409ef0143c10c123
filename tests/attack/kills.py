"""Kills: a process that writes records and reports is killed at a drawn moment; what it leaves must be whole."""

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

from fake_study import make_ranking, make_records, make_report, make_rows

from harness.errors import ReportError
from harness.experiment.conditions import BASELINE
from harness.experiment.record import Record
from harness.experiment.store import Store
from harness.findings.report.report_writing import write_report

TASKS = ("ceo_lastname", "incorporation_year")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LONGEST = 0.4
"""Seconds that a process writes, at most."""


class LostError(AssertionError):
    """A record or a report is not whole."""


class Kills:
    """A store and a report that one killed process after the other writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = make_records([BASELINE], make_rows(TASKS, 6), make_ranking(tasks=TASKS))
        self.records = list(made.values())
        self.reports = [make_report(TASKS, ks, ("within_task",), 3) for ks in ((1,), (1, 2))]
        self.n_rows = 0

    def kill_one(self, generator: random.Random) -> str:
        """What came of one kill, in a word; an error where something is lost or torn."""
        child = os.fork()
        if child == 0:
            self._write()
        time.sleep(generator.uniform(0.0, LONGEST))
        os.kill(child, generator.choice(SIGNALS))
        os.waitpid(child, 0)
        self._check_store()
        return self._check_report()

    def _write(self) -> None:
        """Rows of two records each, and reports, until the end comes."""
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            number = self.n_rows
            with Store(self.folder / "store.sqlite") as store:
                while True:
                    store.put_row([(f"{number}/{part}", self._record(number, part)) for part in range(2)])
                    number += 1
                    write_report(*self.reports[number % 2], self.folder / "run")
        finally:
            os._exit(1)

    def _record(self, number: int, part: int) -> Record:
        return replace(self.records[(number + part) % len(self.records)], text=f"{number} {part}")

    def _check_store(self) -> None:
        """Every row that was there is there still, each whole and as it was written."""
        if not self.n_rows and not (self.folder / "store.sqlite").exists():
            return
        with Store(self.folder / "store.sqlite") as store:
            number = 0
            while store.has(f"{number}/0") or store.has(f"{number}/1"):
                for part in range(2):
                    if store.get(f"{number}/{part}") != self._record(number, part):
                        raise LostError(f"store: row {number}, record {part}: torn or lost")
                number += 1
        if number < self.n_rows:
            raise LostError(f"store: {number} rows where {self.n_rows} were")
        self.n_rows = number

    def _check_report(self) -> str:
        from harness.findings.report.reading import load

        if not (self.folder / "run" / "report.json").exists():
            return "killed before a report"
        try:
            report = load(self.folder / "run")
        except ReportError as error:
            if "beside it was written with" not in str(error):
                raise LostError(f"report: {error}") from None
            return "killed between the two files, and seen"
        samples = report.sample_lines()
        if (report.data.model_copy(update={"samples": None}), samples) not in self.reports:
            raise LostError("report: none that was written")
        return "killed, all whole"

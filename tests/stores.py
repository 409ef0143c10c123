"""Stores to test with: a record, a file full of it, one as version 1 wrote it, and what damages one."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.experiment.heads import Head
from harness.experiment.plan import Job
from harness.experiment.record import Completion, Record
from harness.experiment.store import Store

JOB = Job("f1/ceo", frozenset({Head(17, 24), Head(3, 1)}))
RECORD = Record(
    job=JOB,
    completion=Completion(
        token_ids=(5, 7),
        end_token_id=2,
        gold_logprob=-0.1,
        baseline_logprob=None,
        hooks_fired=42,
        smallest_gap=1e-300,
        baseline_logprobs=(-0.2, -0.0),
    ),
    text="Lee",
    seconds=0.25,
    device="NVIDIA H100 80GB HBM3",
)


def filled(path: Path, records: int = 300) -> Path:
    with Store(path) as store:
        store.put_row([(f"key {i}", RECORD) for i in range(records)])
    return path


def change(path: Path, statement: str, *values: object) -> None:
    """What another program, or a disk, did to a store."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(statement, values)
    database.close()


VERSION_1 = """
CREATE TABLE records (key TEXT PRIMARY KEY, row_id TEXT NOT NULL, run TEXT NOT NULL, record TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE declarations (id INTEGER PRIMARY KEY, run TEXT NOT NULL, payload TEXT NOT NULL, UNIQUE (run, payload));
CREATE TABLE means (key TEXT PRIMARY KEY, layers INTEGER NOT NULL, vectors BLOB NOT NULL);
PRAGMA application_id = 0x52486463;
PRAGMA user_version = 1;
"""
RECORD_1 = (
    '{"job": {"row_id": "f1/ceo", "heads": ["L3H1", "L17H24"], "prompt": "full", "mode": "zero", "phase": "all"}, '
    '"token_ids": [5, 7], "text": "Lee", "end_token_id": 2, "gold_logprob": -0.1, "baseline_logprob": null, '
    '"hooks_fired": 42, "seconds": 0.25, "smallest_gap": 1e-300, "halvings": 0}'
)
OF_VERSION_1 = replace(RECORD, completion=replace(RECORD.completion, baseline_logprobs=None), device=None)


def version_1(path: Path, records: int = 3) -> Path:
    """A store as version 1 wrote it; the record under `bad` is none."""
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(VERSION_1)
    rows = [(f"key {i}", "f1/ceo", "old", RECORD_1) for i in range(records)]
    database.execute("BEGIN")
    database.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", [*rows, ("bad", "f1/ceo", "old", '{"job": 3}')])
    database.execute("INSERT INTO declarations (run, payload) VALUES ('old', '[]')")
    database.execute("INSERT INTO means VALUES ('m', 1, ?)", (np.array([0.1, -0.0]).tobytes(),))
    database.execute("COMMIT")
    database.close()
    return path

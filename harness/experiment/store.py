"""The store: what the model said, one record a job, in one SQLite file.

A record is found by its key (`record.job_key`). It holds token ids, text, log-probabilities and checks, never scores:
scoring is done on reading, and a new scorer needs no model. Beside records it keeps mean values, what a run asks for
and how far its processes are, what was computed again, and in which ways gates were judged.

A row is written whole, in one transaction: a process killed at any moment leaves whole rows, and several processes may
write to one file (`store_file` says how). A record, or mean values, that were damaged are as good as none, and are
computed again; who did so is noted beside them. Which process works on which row is not settled here. Knows no models.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from harness.experiment.intervention import MeanValues
from harness.experiment.record import Record, record_text
from harness.experiment.store_file import (
    IN_MEMORY,
    JUDGED,
    OF_DECLARATION,
    OF_MEANS,
    OF_RECORD,
    PROGRESS,
    REMEMBERED,
    SCHEMA_VERSION,
    StoreFile,
    digest_of,
    is_means,
    sound_record,
)
from harness.files import is_file

__all__ = ["IN_MEMORY", "SCHEMA_VERSION", "Repair", "Store", "has_declared", "progress_notes", "remembered"]

AT_ONCE = 1000
"""Records that are looked up at once: a process that writes waits for so many to be found."""
MOST_REMEMBERED = 16
"""Texts that are remembered, the latest ones: each is of other settings, or of another model."""

_PUT_RECORD = f"""
    INSERT INTO records VALUES (:key, :row_id, :run, :record, digest(:key, :row_id, :run, :record))
    ON CONFLICT (key) DO UPDATE SET row_id = excluded.row_id, run = excluded.run, record = excluded.record,
        digest = excluded.digest
    WHERE :refresh OR NOT is_record({OF_RECORD})
"""
_PUT_MEANS = f"""
    INSERT INTO means VALUES (:key, :layers, :vectors, digest(:key, :layers, :vectors))
    ON CONFLICT (key) DO UPDATE SET layers = excluded.layers, vectors = excluded.vectors, digest = excluded.digest
    WHERE NOT is_means({OF_MEANS})
"""


class Repair(NamedTuple):
    """Something that was damaged in the store, and was computed again: a row's id or what else it was, and its key."""

    what: str
    key: str

    def __str__(self) -> str:
        return f"{self.what}: damaged in the store (key {self.key[:12]}...), and computed again"


class Store:
    """The records in one file, opened for reading and writing; a context manager.

    The file and its folder are made where they do not exist. Opening checks the whole file and that it can be
    written, so that no hour of work ends in an error. With `writes=False` the file is only looked at, and need not be
    one that can be written; an older version is migrated in memory. Every method may raise StoreError.

    Raises:
        StoreError: the file is no store, damaged, of a newer version, or cannot be written.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self._file = StoreFile(path, writes=writes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; closing twice is harmless."""
        self._file.close()

    def has(self, key: str, *, run: str | None = None) -> bool:
        """Whether there is a sound record of this key; with `run`, one that this run wrote."""
        return self.get(key, run=run) is not None

    def get(self, key: str, *, run: str | None = None) -> Record | None:
        """The record of this key, equal to the one put in to the last bit; with `run`, one that it wrote.

        `None` where there is none, or a damaged one.
        """
        return self.found([key], run=run).get(key)

    def found(self, keys: Iterable[str], *, run: str | None = None) -> dict[str, Record]:
        """The records of these keys, each as `get` gives it: many cost little more than one.

        A file is locked for each look at it, which may take longer than reading a record.
        """
        query = f"""SELECT {OF_RECORD} FROM records
            WHERE key IN (SELECT value FROM json_each(:keys)) AND run = ifnull(:run, run)"""
        found, asked = {}, tuple(dict.fromkeys(keys))
        for start in range(0, len(asked), AT_ONCE):
            at_once = json.dumps(asked[start : start + AT_ONCE])
            for digest, key, *content in self._file.rows(query, {"keys": at_once, "run": run}):
                if (record := sound_record(digest, key, *content)) is not None:
                    found[key.decode()] = record
        return found

    def put_row(self, records: Iterable[tuple[str, Record]], *, run: str = "", refresh: bool = False) -> None:
        """Write a row's records under their keys: all of them, or none. `run` is who writes.

        A key that is there already keeps its record, unless that is damaged; with `refresh` the new one takes its
        place.
        """
        rows = [
            {"key": key, "row_id": record.job.row_id, "run": run, "record": record_text(record), "refresh": refresh}
            for key, record in records
        ]
        note = f"""INSERT OR IGNORE INTO repairs SELECT :run, :row_id, key FROM records
            WHERE key = :key AND NOT is_record({OF_RECORD})"""
        with self._file.transaction():
            self._file.database.executemany(note, rows)
            self._file.database.executemany(_PUT_RECORD, rows)

    def means(self, key: str) -> MeanValues | None:
        """The mean values of this key, equal to those put in to the last bit; `None` where none are sound."""
        row = self._file.row(f"SELECT {OF_MEANS} FROM means WHERE key = :key", {"key": key})
        if row is None or not is_means(*row):
            return None
        import numpy as np

        return MeanValues(np.frombuffer(row[3], dtype="<f8").reshape(row[2], -1))

    def put_means(self, key: str, means: MeanValues, *, run: str = "") -> None:
        """Keep mean values; sound ones that are there already stay, so that records which rest on them stay right."""
        import numpy as np

        plain = np.ascontiguousarray(means.vectors, dtype="<f8")
        values = {"key": key, "layers": len(plain), "vectors": plain.tobytes(), "run": run}
        note = f"""INSERT OR IGNORE INTO repairs SELECT :run, 'mean values', key FROM means
            WHERE key = :key AND NOT is_means({OF_MEANS})"""
        with self._file.transaction():
            self._file.database.execute(note, values)
            self._file.database.execute(_PUT_MEANS, values)

    def repairs(self, run: str) -> tuple[Repair, ...]:
        """What this run found damaged and computed again."""
        with self._file.errors_named():
            rows = self._file.database.execute("SELECT what, key FROM repairs WHERE run = ? ORDER BY what, key", (run,))
            return tuple(Repair(str(what), str(key)) for what, key in rows)

    def declare(self, run: str, payload: str) -> None:
        """Note what a run asks for; a payload that the run has declared already changes nothing."""
        with self._file.transaction():
            self._file.database.execute(
                "INSERT OR IGNORE INTO declarations (run, payload, digest) "
                "VALUES (:run, :payload, digest(:run, :payload))",
                {"run": run, "payload": payload},
            )

    def declarations(self, run: str) -> tuple[str, ...]:
        """What a run has declared, oldest first."""
        query = f"SELECT {OF_DECLARATION} FROM declarations WHERE run = ? ORDER BY id"
        with self._file.errors_named():
            rows = self._file.database.execute(query, (run,)).fetchall()
        for digest, *content in rows:
            if digest != digest_of(*content):
                raise self._file.error("what this session asks for is damaged in it", sqlite3.SQLITE_CORRUPT)
        return tuple(payload.decode() for _, _, payload in rows)

    def note_judged(self, gate: str, way: str) -> None:
        """Note that a gate was judged in this way, so that later verdicts can say how many came before them."""
        with self._file.transaction():
            self._file.database.execute(JUDGED)
            self._file.database.execute("INSERT OR IGNORE INTO judged VALUES (?, ?)", (gate, way))

    def judged(self, gate: str) -> tuple[str, ...]:
        """The ways in which a gate was judged by whoever used this store, oldest first."""
        if self._file.row("SELECT 1 FROM sqlite_master WHERE name = 'judged'") is None:
            return ()
        with self._file.errors_named():
            rows = self._file.database.execute(
                "SELECT way FROM judged WHERE gate = ? ORDER BY rowid", (gate,)
            ).fetchall()
        return tuple(str(way) for (way,) in rows)

    def note_progress(self, run: str, who: str, note: str) -> None:
        """Note how far one of the processes of a run is, in place of what it noted before."""
        with self._file.transaction():
            self._file.database.execute(PROGRESS)
            self._file.database.execute("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", (run, who, note))

    def forget_progress(self, run: str) -> None:
        """A run has ended: nobody asks any more how far it is."""
        if self._file.row("SELECT 1 FROM sqlite_master WHERE name = 'progress'") is not None:
            with self._file.transaction():
                self._file.database.execute("DELETE FROM progress WHERE run = ?", (run,))

    def remember(self, key: str, text: str) -> None:
        """Keep a text that `remembered` gives back, in place of what was kept under this key."""
        values = {"key": key, "value": text, "digest": digest_of(key, text)}
        with self._file.transaction():
            database = self._file.database
            database.execute(REMEMBERED)
            database.execute("DELETE FROM remembered WHERE key = :key", values)
            database.execute("INSERT INTO remembered VALUES (:key, :value, :digest)", values)
            database.execute(
                "DELETE FROM remembered WHERE rowid NOT IN (SELECT rowid FROM remembered ORDER BY rowid DESC LIMIT ?)",
                (MOST_REMEMBERED,),
            )


def has_declared(path: Path, run: str) -> bool:
    """Whether a run has declared anything in this file; only looks, whatever the file may be."""
    return bool(_looked_up(path, "SELECT 1 FROM declarations WHERE run = ? LIMIT 1", run))


def progress_notes(path: Path, run: str) -> tuple[tuple[str, str], ...]:
    """Who of a run's processes has noted what on how far it is, by name; only looks, whatever the file may be."""
    found = _looked_up(path, "SELECT who, note FROM progress WHERE run = ? ORDER BY who", run)
    return tuple((str(who), str(note)) for who, note in found)


def remembered(path: Path, key: str) -> str | None:
    """The text kept under this key; `None` where there is none, or a damaged one; only looks, as the others."""
    query = "SELECT CAST(digest AS BLOB), CAST(key AS BLOB), CAST(value AS BLOB) FROM remembered WHERE key = ?"
    for digest, *content in _looked_up(path, query, key):
        if digest == digest_of(*content):
            return str(content[1].decode())
    return None


def _looked_up(path: Path, query: str, name: str) -> list[tuple[Any, ...]]:
    """What a query about a name finds in this file; nothing where it cannot be asked."""
    if not is_file(path):  # SQLite would wait for somebody to write into a pipe
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute(query, (name,)).fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return []

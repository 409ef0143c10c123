"""The store: what the model said, one record a job, in one SQLite file.

A record is found by its key (`record.job_key`). It holds token ids, text, log-probabilities and checks, never scores:
scoring is done on reading, and a new scorer needs no model.

A row is written whole, in one transaction with SQLite's rollback journal and full synchronisation: a process
killed at any moment leaves whole rows, and several processes may write to one file. (No write-ahead log: it
would add two files beside the store, and gain nothing for a few writes a second.) Which process works on
which row is not settled here. Knows no models.

SQLite checks its own structure, not what stands in it: a bit that a disk flips changes a token, and nobody is told. So
every entry has a digest, which is checked whenever it is read. A record, or mean values, that do not agree with theirs
are as good as none, and are computed again; who did so is noted beside them.
"""

import contextlib
import hashlib
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from harness.errors import StoreError
from harness.experiment.intervention import MeanValues
from harness.experiment.locks import check_disk
from harness.experiment.record import Record, read_record, record_text, upgraded

SCHEMA_VERSION = 2
BUSY_SECONDS = 60.0
"""How long a process waits for another one's transaction, which takes milliseconds."""

IN_MEMORY = Path(":memory:")
"""SQLite's name for a database without a file."""

APPLICATION_ID = 0x52486463
"""Written into the file's header, so that another program's database is not taken for a store."""

_MAGIC = b"SQLite format 3\0"
"""How a file of SQLite begins; it takes a file of a single byte for an empty one, whatever the byte."""

_DECLARATIONS = """CREATE TABLE declarations (id INTEGER PRIMARY KEY, run TEXT NOT NULL, payload TEXT NOT NULL,
    digest BLOB, UNIQUE (run, payload))"""
_MEANS = """CREATE TABLE means (key TEXT PRIMARY KEY, layers INTEGER NOT NULL, vectors BLOB NOT NULL, digest BLOB)"""
_REPAIRS = """CREATE TABLE repairs (run TEXT NOT NULL, what TEXT NOT NULL, key TEXT NOT NULL, UNIQUE (run, key))"""
_JUDGED = "CREATE TABLE IF NOT EXISTS judged (gate TEXT NOT NULL, way TEXT NOT NULL, UNIQUE (gate, way))"
"""Made with the first verdict."""
_PROGRESS = "CREATE TABLE IF NOT EXISTS progress (run TEXT, who TEXT, note TEXT NOT NULL, UNIQUE (run, who))"
"""Made with the first note of a process that shares a run."""
_TABLES = (
    """CREATE TABLE records (key TEXT PRIMARY KEY, row_id TEXT NOT NULL, run TEXT NOT NULL, record TEXT NOT NULL,
    digest BLOB) WITHOUT ROWID""",
    _DECLARATIONS,
    _MEANS,
    _REPAIRS,
)
_VERSION_1_TO_2 = (
    "ALTER TABLE records ADD COLUMN digest BLOB",
    """UPDATE records SET record = ifnull(upgraded(CAST(record AS BLOB)), record),
    digest = digest(CAST(key AS BLOB), CAST(row_id AS BLOB), CAST(run AS BLOB), upgraded(CAST(record AS BLOB)))""",
    # made late in version 1: not every store has it
    "CREATE TABLE IF NOT EXISTS means (key TEXT PRIMARY KEY, layers INTEGER NOT NULL, vectors BLOB NOT NULL)",
    "ALTER TABLE means ADD COLUMN digest BLOB",
    "UPDATE means SET digest = digest(CAST(key AS BLOB), CAST(layers AS INTEGER), CAST(vectors AS BLOB))",
    # what runs that have ended asked for
    "DROP TABLE declarations",
    _DECLARATIONS,
    _REPAIRS,
)
"""What cannot be read has no digest afterwards, and is damaged as any other."""

_OF_RECORD = "CAST(digest AS BLOB), CAST(key AS BLOB), CAST(row_id AS BLOB), CAST(run AS BLOB), CAST(record AS BLOB)"
_OF_MEANS = "CAST(digest AS BLOB), CAST(key AS BLOB), CAST(layers AS INTEGER), CAST(vectors AS BLOB)"
_OF_DECLARATION = "CAST(digest AS BLOB), CAST(run AS BLOB), CAST(payload AS BLOB)"
"""An entry's digest and what it is of: as bytes, for what is damaged may be no text."""

_PUT_RECORD = f"""
    INSERT INTO records VALUES (:key, :row_id, :run, :record, digest(:key, :row_id, :run, :record))
    ON CONFLICT (key) DO UPDATE SET row_id = excluded.row_id, run = excluded.run, record = excluded.record,
        digest = excluded.digest
    WHERE :refresh OR NOT is_record({_OF_RECORD})
"""
_PUT_MEANS = f"""
    INSERT INTO means VALUES (:key, :layers, :vectors, digest(:key, :layers, :vectors))
    ON CONFLICT (key) DO UPDATE SET layers = excluded.layers, vectors = excluded.vectors, digest = excluded.digest
    WHERE NOT is_means({_OF_MEANS})
"""

_ADVICE = {
    sqlite3.SQLITE_NOTADB: "expected a store of records; move the file away, or name another one",
    sqlite3.SQLITE_CORRUPT: "expected an intact store; put a copy in its place, or move it away",
    sqlite3.SQLITE_FULL: "free some space and start again: the rows finished so far are kept",
    sqlite3.SQLITE_IOERR: "check the disk and its free space, and start again: finished rows are kept",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable, or name another store",
    sqlite3.SQLITE_READONLY_DBMOVED: "leave it where it is while a run lasts; put it back, and start again",
    sqlite3.SQLITE_CANTOPEN: "expected a file in a folder that can be written; name another store",
    sqlite3.SQLITE_BUSY: "another process holds it; end that one, or name another store",
}


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
        self._writes = writes
        with self._errors_named():
            if path != IN_MEMORY:
                self._check_file()
                check_disk(path)
            if writes:
                path.parent.mkdir(parents=True, exist_ok=True)
            # autocommit: transactions are begun by `_transaction` alone
            self._database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; closing twice is harmless."""
        self._database.close()

    def has(self, key: str, *, run: str | None = None) -> bool:
        """Whether there is a sound record of this key; with `run`, one that this run wrote."""
        return self.get(key, run=run) is not None

    def get(self, key: str, *, run: str | None = None) -> Record | None:
        """The record of this key, equal to the one put in to the last bit; with `run`, one that it wrote.

        `None` where there is none, or a damaged one.
        """
        query = f"SELECT {_OF_RECORD} FROM records WHERE key = :key AND run = ifnull(:run, run)"
        row = self._row(query, {"key": key, "run": run})
        return None if row is None else _sound_record(*row)

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
            WHERE key = :key AND NOT is_record({_OF_RECORD})"""
        with self._transaction():
            self._database.executemany(note, rows)
            self._database.executemany(_PUT_RECORD, rows)

    def means(self, key: str) -> MeanValues | None:
        """The mean values of this key, equal to those put in to the last bit; `None` where none are sound."""
        row = self._row(f"SELECT {_OF_MEANS} FROM means WHERE key = :key", {"key": key})
        if row is None or not _is_means(*row):
            return None
        import numpy as np

        return MeanValues(np.frombuffer(row[3], dtype="<f8").reshape(row[2], -1))

    def put_means(self, key: str, means: MeanValues, *, run: str = "") -> None:
        """Keep mean values; sound ones that are there already stay, so that records which rest on them stay right."""
        import numpy as np

        plain = np.ascontiguousarray(means.vectors, dtype="<f8")
        values = {"key": key, "layers": len(plain), "vectors": plain.tobytes(), "run": run}
        note = f"""INSERT OR IGNORE INTO repairs SELECT :run, 'mean values', key FROM means
            WHERE key = :key AND NOT is_means({_OF_MEANS})"""
        with self._transaction():
            self._database.execute(note, values)
            self._database.execute(_PUT_MEANS, values)

    def repairs(self, run: str) -> tuple[Repair, ...]:
        """What this run found damaged and computed again."""
        with self._errors_named():
            rows = self._database.execute("SELECT what, key FROM repairs WHERE run = ? ORDER BY what, key", (run,))
            return tuple(Repair(str(what), str(key)) for what, key in rows)

    def declare(self, run: str, payload: str) -> None:
        """Note what a run asks for; a payload that the run has declared already changes nothing."""
        with self._transaction():
            self._database.execute(
                "INSERT OR IGNORE INTO declarations (run, payload, digest) "
                "VALUES (:run, :payload, digest(:run, :payload))",
                {"run": run, "payload": payload},
            )

    def declarations(self, run: str) -> tuple[str, ...]:
        """What a run has declared, oldest first."""
        query = f"SELECT {_OF_DECLARATION} FROM declarations WHERE run = ? ORDER BY id"
        with self._errors_named():
            rows = self._database.execute(query, (run,)).fetchall()
        for digest, *content in rows:
            if digest != _digest(*content):
                raise self._error("what this session asks for is damaged in it", sqlite3.SQLITE_CORRUPT)
        return tuple(payload.decode() for _, _, payload in rows)

    def note_judged(self, gate: str, way: str) -> None:
        """Note that a gate was judged in this way, so that later verdicts can say how many came before them."""
        with self._transaction():
            self._database.execute(_JUDGED)
            self._database.execute("INSERT OR IGNORE INTO judged VALUES (?, ?)", (gate, way))

    def judged(self, gate: str) -> tuple[str, ...]:
        """The ways in which a gate was judged by whoever used this store, oldest first."""
        if self._row("SELECT 1 FROM sqlite_master WHERE name = 'judged'") is None:
            return ()
        with self._errors_named():
            rows = self._database.execute("SELECT way FROM judged WHERE gate = ? ORDER BY rowid", (gate,)).fetchall()
        return tuple(str(way) for (way,) in rows)

    def note_progress(self, run: str, who: str, note: str) -> None:
        """Note how far one of the processes of a run is, in place of what it noted before."""
        with self._transaction():
            self._database.execute(_PROGRESS)
            self._database.execute("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", (run, who, note))

    def forget_progress(self, run: str) -> None:
        """A run has ended: nobody asks any more how far it is."""
        if self._row("SELECT 1 FROM sqlite_master WHERE name = 'progress'") is not None:
            with self._transaction():
                self._database.execute("DELETE FROM progress WHERE run = ?", (run,))

    def _check_file(self) -> None:
        """Raise a StoreError where something else than a store, or an empty file, stands at the path."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(found.st_mode):
            raise self._error("not a regular file", sqlite3.SQLITE_NOTADB)
        with self.path.open("rb") as file:
            if file.read(len(_MAGIC)) not in (b"", _MAGIC):
                raise self._error("file is not a database", sqlite3.SQLITE_NOTADB)

    def _open(self) -> None:
        with self._errors_named():
            self._database.execute("PRAGMA synchronous = FULL")
            (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise self._error(f"damaged ({' '.join(str(verdict).split())})", sqlite3.SQLITE_CORRUPT)
        if not self._writes:
            if not self._missing_steps():
                return
            self._copy_into_memory()
        self._add_functions()
        with self._transaction():
            for statement in self._missing_steps():
                self._database.execute(statement)
            # written every time: the one sure way to learn that the file and its folder can be written
            self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _copy_into_memory(self) -> None:
        with self._errors_named():
            copy = sqlite3.connect(IN_MEMORY, isolation_level=None)
            self._database.backup(copy)
            self._database.close()
            self._database = copy

    def _add_functions(self) -> None:
        for name, function in (("digest", _digest), ("upgraded", _upgraded)):
            self._database.create_function(name, -1, function, deterministic=True)
        self._database.create_function("is_record", 5, lambda *row: _sound_record(*row) is not None, deterministic=True)
        self._database.create_function("is_means", 4, _is_means, deterministic=True)

    def _missing_steps(self) -> tuple[str, ...]:
        """What makes this version's tables of what is there: of an empty file, or of an older store."""
        if self._row("SELECT 1 FROM sqlite_master") is None:
            return (*_TABLES, f"PRAGMA application_id = {APPLICATION_ID}")
        if self._row("PRAGMA application_id") != (APPLICATION_ID,):
            raise self._error("a database of another program", sqlite3.SQLITE_NOTADB)
        (version,) = self._row("PRAGMA user_version") or (None,)
        if version not in (1, SCHEMA_VERSION):
            raise StoreError(
                f"{self.path}: a store of version {version}; expected version {SCHEMA_VERSION} or older; use the "
                "version of the harness that wrote it, or name another store"
            )
        return _VERSION_1_TO_2 if version == 1 else ()

    def _row(self, query: str, parameters: Mapping[str, str | None] | None = None) -> tuple[Any, ...] | None:
        """The first row, or None."""
        with self._errors_named():
            row: tuple[Any, ...] | None = self._database.execute(query, parameters or {}).fetchone()
        return row

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, one process at a time."""
        with self._errors_named():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                # some errors (a full disk) end the transaction by themselves
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Every error of SQLite or the file system becomes a StoreError that says what to do."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of a damaged table's name
            raise self._error(str(error), getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) from error
        except OSError as error:
            raise self._error(error.strerror or str(error), sqlite3.SQLITE_CANTOPEN) from error

    def _error(self, got: str, code: int) -> StoreError:
        if code == sqlite3.SQLITE_READONLY_DBMOVED:
            got = "the store was removed, moved or replaced while it was in use"
        # the low byte is the kind of error, the rest its details
        kind = _ADVICE.get(code & 0xFF, "expected a store of records that can be read and written")
        advice = _ADVICE.get(code, kind)
        return StoreError(f"{self.path}: {got}; {advice}")


def has_declared(path: Path, run: str) -> bool:
    """Whether a run has declared anything in this file; only looks, whatever the file may be."""
    return bool(_looked_up(path, "SELECT 1 FROM declarations WHERE run = ? LIMIT 1", run))


def progress_notes(path: Path, run: str) -> tuple[tuple[str, str], ...]:
    """Who of a run's processes has noted what on how far it is, by name; only looks, whatever the file may be."""
    found = _looked_up(path, "SELECT who, note FROM progress WHERE run = ? ORDER BY who", run)
    return tuple((str(who), str(note)) for who, note in found)


def _looked_up(path: Path, query: str, run: str) -> list[tuple[Any, ...]]:
    """What a query about a run finds in this file; nothing where it cannot be asked."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute(query, (run,)).fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return []


def _digest(*content: str | bytes | int | None) -> bytes | None:
    """A SHA-256 of an entry's content, texts and bytes alike; `None` where something is missing."""
    if None in content:
        return None
    found = hashlib.sha256()
    for part in content:
        plain = part if isinstance(part, bytes) else str(part).encode()
        found.update(len(plain).to_bytes(8, "little") + plain)
    return found.digest()


def _sound_record(digest: object, *content: bytes) -> Record | None:
    """The record of an entry whose digest is right."""
    if digest is None or digest != _digest(*content):
        return None
    try:
        return read_record(content[-1])
    except (ValueError, RecursionError):
        return None


@lru_cache(maxsize=1)
def _upgraded(text: bytes) -> str | None:
    """Asked for twice of each record: for itself, and for its digest."""
    try:
        return upgraded(text)
    except (ValueError, RecursionError):
        return None


def _is_means(digest: object, key: bytes, layers: object, vectors: object) -> bool:
    """Whether mean values agree with their digest, and are as many numbers for each layer."""
    return (
        isinstance(layers, int)
        and isinstance(vectors, bytes)
        and digest is not None
        and digest == _digest(key, layers, vectors)
        and layers > 0
        and len(vectors) % (8 * layers) == 0
    )

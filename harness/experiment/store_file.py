"""The file of a store: its tables, how it is opened, checked and brought to this version, and what in it is sound.

It is one SQLite file, with the rollback journal and full synchronisation: a process killed at any moment leaves whole
transactions, and several processes may write. (No write-ahead log: it would add two files beside the store, and gain
nothing for a few writes a second.)

SQLite checks its own structure, not what stands in it: a bit that a disk flips changes a token, and nobody is told. So
every entry has a digest, which is checked whenever it is read. Stores of an older version are migrated when they are
opened, in one transaction. What the entries are for is `store`'s concern.
"""

import contextlib
import hashlib
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.experiment.locks import check_disk
from harness.experiment.record import Record, read_record, upgraded

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
JUDGED = "CREATE TABLE IF NOT EXISTS judged (gate TEXT NOT NULL, way TEXT NOT NULL, UNIQUE (gate, way))"
"""Made with the first verdict."""
PROGRESS = "CREATE TABLE IF NOT EXISTS progress (run TEXT, who TEXT, note TEXT NOT NULL, UNIQUE (run, who))"
"""Made with the first note of a process that shares a run."""
REMEMBERED = "CREATE TABLE IF NOT EXISTS remembered (key TEXT PRIMARY KEY, value TEXT NOT NULL, digest BLOB)"
"""Made with the first thing that is to be remembered."""
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

OF_RECORD = "CAST(digest AS BLOB), CAST(key AS BLOB), CAST(row_id AS BLOB), CAST(run AS BLOB), CAST(record AS BLOB)"
OF_MEANS = "CAST(digest AS BLOB), CAST(key AS BLOB), CAST(layers AS INTEGER), CAST(vectors AS BLOB)"
OF_DECLARATION = "CAST(digest AS BLOB), CAST(run AS BLOB), CAST(payload AS BLOB)"
"""An entry's digest and what it is of: as bytes, for what is damaged may be no text."""

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


class StoreFile:
    """An open file of a store, of this version.

    The file and its folder are made where they do not exist. Opening checks the whole file and that it can be
    written, so that no hour of work ends in an error. With `writes=False` the file is only looked at, and need not be
    one that can be written; an older version is migrated in memory. With `settled` too nobody writes to it any more: it
    may lie on a disk that several machines share, and is read without locks there.

    Raises:
        StoreError: the file is no store, damaged, of a newer version, or cannot be written.
    """

    def __init__(self, path: Path, *, writes: bool = True, settled: bool = False) -> None:
        self.path = path
        self._writes = writes
        name: Path | str = path
        with self.errors_named():
            if path != IN_MEMORY:
                self._check_file()
                try:
                    check_disk(path)
                except StoreError:
                    if not settled:
                        raise
                    name = self._without_locks()
            if writes:
                path.parent.mkdir(parents=True, exist_ok=True)
            # autocommit: transactions are begun by `transaction` alone
            self.database = sqlite3.connect(name, timeout=BUSY_SECONDS, isolation_level=None, uri=name != path)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file; closing twice is harmless."""
        self.database.close()

    def _check_file(self) -> None:
        """Raise a StoreError where something else than a store, or an empty file, stands at the path."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(found.st_mode):
            raise self.error("not a regular file", sqlite3.SQLITE_NOTADB)
        with self.path.open("rb") as file:
            if file.read(len(_MAGIC)) not in (b"", _MAGIC):
                raise self.error("file is not a database", sqlite3.SQLITE_NOTADB)

    def _without_locks(self) -> str:
        """SQLite's name for the file as one that nobody changes (https://www.sqlite.org/uri.html)."""
        if self.path.with_name(f"{self.path.name}-journal").exists():
            raise StoreError(
                f"{self.path}: a run writes to it, or was killed then (its -journal lies beside it); expected a "
                "store that nobody writes to; end that run, or copy both files to a disk of this machine"
            )
        return f"{self.path.absolute().as_uri()}?immutable=1"

    def _open(self) -> None:
        with self.errors_named():
            self.database.execute("PRAGMA synchronous = FULL")
            (verdict,) = self.database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise self.error(f"damaged ({' '.join(str(verdict).split())})", sqlite3.SQLITE_CORRUPT)
        if not self._writes:
            if not self._missing_steps():
                return
            self._copy_into_memory()
        self._add_functions()
        with self.transaction():
            for statement in self._missing_steps():
                self.database.execute(statement)
            # written every time: the one sure way to learn that the file and its folder can be written
            self.database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _copy_into_memory(self) -> None:
        with self.errors_named():
            copy = sqlite3.connect(IN_MEMORY, isolation_level=None)
            self.database.backup(copy)
            self.database.close()
            self.database = copy

    def _add_functions(self) -> None:
        for name, function in (("digest", digest_of), ("upgraded", _upgraded)):
            self.database.create_function(name, -1, function, deterministic=True)
        self.database.create_function("is_record", 5, lambda *row: sound_record(*row) is not None, deterministic=True)
        self.database.create_function("is_means", 4, is_means, deterministic=True)

    def _missing_steps(self) -> tuple[str, ...]:
        """What makes this version's tables of what is there: of an empty file, or of an older store."""
        if self.row("SELECT 1 FROM sqlite_master") is None:
            return (*_TABLES, f"PRAGMA application_id = {APPLICATION_ID}")
        if self.row("PRAGMA application_id") != (APPLICATION_ID,):
            raise self.error("a database of another program", sqlite3.SQLITE_NOTADB)
        (version,) = self.row("PRAGMA user_version") or (None,)
        if version not in (1, SCHEMA_VERSION):
            raise StoreError(
                f"{self.path}: a store of version {version}; expected version {SCHEMA_VERSION} or older; use the "
                "version of the harness that wrote it, or name another store"
            )
        return _VERSION_1_TO_2 if version == 1 else ()

    def row(self, query: str, parameters: Mapping[str, str | None] | None = None) -> tuple[Any, ...] | None:
        """The first row, or None."""
        with self.errors_named():
            row: tuple[Any, ...] | None = self.database.execute(query, parameters or {}).fetchone()
        return row

    def rows(self, query: str, parameters: Mapping[str, str | None]) -> list[tuple[Any, ...]]:
        """All rows: the file is locked once for them."""
        with self.errors_named():
            return self.database.execute(query, parameters).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, one process at a time."""
        with self.errors_named():
            self.database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.database.execute("COMMIT")
            except BaseException:
                # some errors (a full disk) end the transaction by themselves
                if self.database.in_transaction:
                    self.database.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def errors_named(self) -> Iterator[None]:
        """Every error of SQLite or the file system becomes a StoreError that says what to do."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of a damaged table's name
            raise self.error(str(error), getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) from error
        except OSError as error:
            raise self.error(error.strerror or str(error), sqlite3.SQLITE_CANTOPEN) from error

    def error(self, got: str, code: int) -> StoreError:
        """What was got of this file, and what to do about an error of this code of SQLite's."""
        if code == sqlite3.SQLITE_READONLY_DBMOVED:
            got = "the store was removed, moved or replaced while it was in use"
        # the low byte is the kind of error, the rest its details
        kind = _ADVICE.get(code & 0xFF, "expected a store of records that can be read and written")
        advice = _ADVICE.get(code, kind)
        return StoreError(f"{self.path}: {got}; {advice}")


def digest_of(*content: str | bytes | int | None) -> bytes | None:
    """A SHA-256 of an entry's content, texts and bytes alike; `None` where something is missing."""
    if None in content:
        return None
    found = hashlib.sha256()
    for part in content:
        plain = part if isinstance(part, bytes) else str(part).encode()
        found.update(len(plain).to_bytes(8, "little") + plain)
    return found.digest()


def sound_record(digest: object, *content: bytes) -> Record | None:
    """The record of an entry whose digest is right."""
    if digest is None or digest != digest_of(*content):
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


def is_means(digest: object, key: bytes, layers: object, vectors: object) -> bool:
    """Whether mean values agree with their digest, and are as many numbers for each layer."""
    return (
        isinstance(layers, int)
        and isinstance(vectors, bytes)
        and digest is not None
        and digest == digest_of(key, layers, vectors)
        and layers > 0
        and len(vectors) % (8 * layers) == 0
    )

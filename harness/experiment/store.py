"""The store: what the model said, one record a job, in one SQLite file.

A record is found by its key (`keys`). It holds token ids, text, log-probabilities and checks, never scores: scoring
is done on reading, and a new scorer needs no model.

A row is written whole, in one transaction with SQLite's rollback journal and full synchronisation: a process
killed at any moment leaves whole rows, and several processes may write to one file. (No write-ahead log: it
would add two files beside the store, and gain nothing for a few writes a second.) Which process works on
which row is not settled here. Knows no models.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import StoreError
from harness.experiment.heads import Head
from harness.experiment.intervention import MeanValues
from harness.experiment.locks import check_disk
from harness.experiment.plan import Job

SCHEMA_VERSION = 1
BUSY_SECONDS = 60.0
"""How long a process waits for another one's transaction, which takes milliseconds."""

IN_MEMORY = Path(":memory:")
"""SQLite's name for a database without a file."""

APPLICATION_ID = 0x52486463
"""Written into the file's header, so that another program's database is not taken for a store."""

_TABLES = """
CREATE TABLE records (key TEXT PRIMARY KEY, row_id TEXT NOT NULL, run TEXT NOT NULL, record TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE declarations (id INTEGER PRIMARY KEY, run TEXT NOT NULL, payload TEXT NOT NULL,
    UNIQUE (run, payload));
"""

# also made in stores that are older than this table
_MEANS = "CREATE TABLE IF NOT EXISTS means (key TEXT PRIMARY KEY, layers INTEGER NOT NULL, vectors BLOB NOT NULL)"

_ADVICE = {
    sqlite3.SQLITE_NOTADB: "expected a store of records; move the file away, or name another one",
    sqlite3.SQLITE_CORRUPT: "expected an intact store; put a copy in its place, or move it away",
    sqlite3.SQLITE_FULL: "free some space and start again: the rows finished so far are kept",
    sqlite3.SQLITE_IOERR: "check the disk and its free space, and start again: finished rows are kept",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable, or name another store",
    sqlite3.SQLITE_CANTOPEN: "expected a file in a folder that can be written; name another store",
    sqlite3.SQLITE_BUSY: "another process holds it; end that one, or name another store",
}


@dataclass(frozen=True, slots=True)
class Record:
    """What one job gave.

    `token_ids` are the completion's without the end token; `end_token_id` is the one that came, if any.
    `gold_logprob` is the summed log-probability of the gold value's tokens after the prompt, `baseline_logprob` that of
    the baseline's completion, end token included, where it was measured. `hooks_fired` counts the forward calls
    that the ablation saw, `smallest_gap` is the least difference of the two best logits along the way. `halvings` is
    how often memory ran out before it was computed in smaller groups.
    """

    job: Job
    token_ids: tuple[int, ...]
    text: str
    end_token_id: int | None
    gold_logprob: float
    baseline_logprob: float | None
    hooks_fired: int
    seconds: float
    smallest_gap: float | None
    halvings: int = 0

    @property
    def ended(self) -> bool:
        """Whether the completion came to an end of its own."""
        return self.end_token_id is not None


class Store:
    """The records in one file, opened for reading and writing; a context manager.

    The file and its folder are made where they do not exist. Opening checks the whole file and that it can be
    written, so that no hour of work ends in an error. Every method may raise StoreError.

    Raises:
        StoreError: the file is no store, damaged, of a newer version, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path != IN_MEMORY:
            check_disk(path)
        with self._errors_named():
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
        """Whether there is a record of this key; with `run`, one that this run wrote."""
        return self._value("SELECT 1 FROM records WHERE key = ?1 AND run = ifnull(?2, run)", key, run) is not None

    def get(self, key: str, *, run: str | None = None) -> Record | None:
        """The record of this key, equal to the one put in to the last bit, or None; with `run`, one that it wrote."""
        text = self._value("SELECT record FROM records WHERE key = ?1 AND run = ifnull(?2, run)", key, run)
        if text is None:
            return None
        try:
            return _from_json(str(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(
                f"{self.path}: record {key}: cannot be read ({error!r}); expected one of this version; "
                "compute it anew with --ablation-refresh"
            ) from error

    def put_row(self, records: Iterable[tuple[str, Record]], *, run: str = "", refresh: bool = False) -> None:
        """Write a row's records under their keys: all of them, or none. `run` is who writes.

        A key that is there already keeps its record; with `refresh` the new one takes its place.
        """
        instead = "REPLACE" if refresh else "IGNORE"
        rows = [(key, record.job.row_id, run, _to_json(record)) for key, record in records]
        with self._transaction():
            self._database.executemany(f"INSERT OR {instead} INTO records VALUES (?, ?, ?, ?)", rows)

    def means(self, key: str) -> MeanValues | None:
        """The mean values of this key, equal to those put in to the last bit, or None."""
        with self._errors_named():
            row = self._database.execute("SELECT layers, vectors FROM means WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        import numpy as np

        return MeanValues(np.frombuffer(row[1], dtype="<f8").reshape(row[0], -1))

    def put_means(self, key: str, means: MeanValues) -> None:
        """Keep mean values; those that are there already stay, so that records which rest on them stay right."""
        import numpy as np

        plain = np.ascontiguousarray(means.vectors, dtype="<f8")
        with self._transaction():
            self._database.execute("INSERT OR IGNORE INTO means VALUES (?, ?, ?)", (key, len(plain), plain.tobytes()))

    def declare(self, run: str, payload: str) -> None:
        """Note what a run asks for; a payload that the run has declared already changes nothing."""
        with self._transaction():
            self._database.execute("INSERT OR IGNORE INTO declarations (run, payload) VALUES (?, ?)", (run, payload))

    def declarations(self, run: str) -> tuple[str, ...]:
        """What a run has declared, oldest first."""
        with self._errors_named():
            rows = self._database.execute("SELECT payload FROM declarations WHERE run = ? ORDER BY id", (run,))
            return tuple(str(payload) for (payload,) in rows)

    def _open(self) -> None:
        with self._errors_named():
            self._database.execute("PRAGMA synchronous = FULL")
            (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise self._error(f"damaged ({' '.join(str(verdict).split())})", sqlite3.SQLITE_CORRUPT)
        with self._transaction():
            if self._value("SELECT count(*) FROM sqlite_master") == 0:
                for statement in _TABLES.split(";")[:-1]:
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            elif self._value("PRAGMA application_id") != APPLICATION_ID:
                raise self._error("a database of another program", sqlite3.SQLITE_NOTADB)
            elif (version := self._value("PRAGMA user_version")) != SCHEMA_VERSION:
                raise StoreError(
                    f"{self.path}: a store of version {version}; expected version {SCHEMA_VERSION}; use the "
                    "version of the harness that wrote it, or name another store"
                )
            self._database.execute(_MEANS)
            # written every time: the one sure way to learn that the file and its folder can be written
            self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _value(self, query: str, *parameters: str | None) -> object:
        """The first column of the first row, or None."""
        with self._errors_named():
            row = self._database.execute(query, parameters).fetchone()
        return None if row is None else row[0]

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
        except sqlite3.Error as error:
            # the low byte is the kind of error, the rest its details
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            raise self._error(str(error), code) from error
        except OSError as error:
            raise self._error(error.strerror or str(error), sqlite3.SQLITE_CANTOPEN) from error

    def _error(self, got: str, code: int) -> StoreError:
        advice = _ADVICE.get(code, "expected a store of records that can be read and written")
        return StoreError(f"{self.path}: {got}; {advice}")


def has_declared(path: Path, run: str) -> bool:
    """Whether a run has declared anything in this file; only looks, whatever the file may be."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            asked = "SELECT 1 FROM declarations WHERE run = ? LIMIT 1"
            return database.execute(asked, (run,)).fetchone() is not None
    except sqlite3.Error:
        return False


def _to_json(record: Record) -> str:
    """JSON keeps every float to the last bit, also -0.0, which a column of SQLite does not."""
    job = record.job
    heads = [str(head) for head in sorted(job.heads)]
    return json.dumps({**asdict(record), "job": {**asdict(job), "heads": heads}})


def _from_json(text: str) -> Record:
    record = json.loads(text)
    job = record.pop("job")
    heads = frozenset(Head.parse(head) for head in job.pop("heads"))
    token_ids = tuple(record.pop("token_ids"))
    return Record(job=Job(heads=heads, **job), token_ids=token_ids, **record)

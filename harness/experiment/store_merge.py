"""Stores put together: what several machines computed without a disk that all of them could write to.

Keys are hashes of all that a record depends on, so what does not belong together cannot meet. Where two stores hold one
key, they answered one question twice. Equal answers are one: the first is kept, for times and the last bits of
log-probabilities hang on what was computed beside it, unless another says more of the untouched model's tokens.
Different answers, or different mean values, are told, and nothing is merged until the user has said whose are kept.

All is one transaction: a merge that is interrupted, killed or refused leaves the store that it merges into as it was,
and the others are only read. Damaged entries are left behind. What runs declared, and how far they were, is of no use
to anyone any more. Knows no models.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness.errors import StoreError, counted
from harness.experiment.record import Record
from harness.experiment.store_file import JUDGED, OF_MEANS, OF_RECORD, StoreFile, is_means, sound_record

Keep = Literal["first", "last"]
"""Of different answers to one question: that of the store which is named first (the one merged into is before all), or
last."""
NAMED = 3
"""How many of them a message names."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of one store: records that were added, and that were there already; of these, how many with another
    answer; how many entries were damaged, and left behind; and how many mean values were there with other numbers."""

    path: Path
    added: int
    there: int
    different: int
    damaged: int
    means: int = 0


class _Conflict(NamedTuple):
    what: str
    key: str
    path: Path

    def __str__(self) -> str:
        return f"{self.what} in {self.path} (key {self.key[:12]}...)"


def merge_stores(sources: Sequence[Path], into: Path, *, keep: Keep | None = None) -> tuple[Merged, ...]:
    """Put the records and mean values of all sources into one store, which is made where there is none.

    Raises:
        StoreError: a source is missing, no store, or there twice; the store cannot be written; or different answers to
            one question were found, and `keep` does not say which are kept.
    """
    _check_paths(sources, into)
    is_new = not into.exists()
    try:
        with closing(StoreFile(into)) as target:
            return _merge(sources, target, keep)
    except BaseException:
        if is_new:
            into.unlink(missing_ok=True)
        raise


def _check_paths(sources: Sequence[Path], into: Path) -> None:
    seen: dict[tuple[int, int], Path] = {}
    for path in sources:
        try:
            found = path.stat()
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; expected a store of records to merge") from None
        if not found.st_size:
            raise StoreError(f"{path}: an empty file; expected a store of records to merge; copy it again")
        first = seen.setdefault((found.st_dev, found.st_ino), path)
        if first is not path:
            raise StoreError(f"{path}: given twice, first as {first}; expected each store once; leave one of them out")
    if into.exists() and (same := seen.get((into.stat().st_dev, into.stat().st_ino))) is not None:
        raise StoreError(
            f"{same}: both to be merged and what is merged into; expected another store for one of the two; what "
            "--into names keeps what it holds, and need not be named again"
        )


def _merge(sources: Sequence[Path], target: StoreFile, keep: Keep | None) -> tuple[Merged, ...]:
    merged, conflicts = [], list[_Conflict]()
    with target.transaction():
        for path in sources:
            with closing(StoreFile(path, writes=False, settled=True)) as source:
                found, different = _add_records(source, target, keep)
                means = [*_add_means(source, target, keep)]
                _add_judged(source, target)
            merged.append(replace(found, means=len(means)))
            conflicts += [*means, *different]
        if conflicts and keep is None:
            raise _refusal(conflicts)
    return tuple(merged)


def _add_records(source: StoreFile, target: StoreFile, keep: Keep | None) -> tuple[Merged, list[_Conflict]]:
    added = there = damaged = 0
    conflicts = []
    for entry in _entries(source, f"SELECT {OF_RECORD} FROM records ORDER BY key"):
        if (record := sound_record(*entry)) is None:
            damaged += 1
            continue
        digest, *content = entry
        key, row_id, *_ = texts = [each.decode() for each in content]
        found = target.row(f"SELECT {OF_RECORD} FROM records WHERE key = :key", {"key": key})
        ours = None if found is None else sound_record(*found)
        if ours is None:
            added += 1
            _put(target, (*texts, digest))
            continue
        there += 1
        if _answer(ours) != _answer(record):
            conflicts.append(_Conflict(f"row {row_id}", key, source.path))
            if keep == "last":
                _put(target, (*texts, digest))
        elif ours.completion.baseline_logprobs is None and record.completion.baseline_logprobs is not None:
            _put(target, (*texts, digest))
    return Merged(source.path, added, there, len(conflicts), damaged), conflicts


def _answer(record: Record) -> tuple[object, ...]:
    """What two records of one key must agree in; numbers hang on rounding."""
    return record.completion.token_ids, record.completion.end_token_id, record.text


def _put(target: StoreFile, entry: tuple[str | bytes, ...]) -> None:
    query = "INSERT OR REPLACE INTO records (key, row_id, run, record, digest) VALUES (?, ?, ?, ?, ?)"
    with target.errors_named():
        target.database.execute(query, entry)


def _add_means(source: StoreFile, target: StoreFile, keep: Keep | None) -> Iterator[_Conflict]:
    """Records rest on mean values to the last bit, and are found under them."""
    for digest, key, layers, vectors in _entries(source, f"SELECT {OF_MEANS} FROM means ORDER BY key"):
        if not is_means(digest, key, layers, vectors):
            continue
        name = key.decode()
        found = target.row(f"SELECT {OF_MEANS} FROM means WHERE key = :key", {"key": name})
        there = found is not None and is_means(*found)
        differs = there and found is not None and found[2:] != (layers, vectors)
        if differs:
            yield _Conflict("mean values", name, source.path)
        if not there or (differs and keep == "last"):
            query = "INSERT OR REPLACE INTO means (key, layers, vectors, digest) VALUES (?, ?, ?, ?)"
            with target.errors_named():
                target.database.execute(query, (name, layers, vectors, digest))


def _add_judged(source: StoreFile, target: StoreFile) -> None:
    """In which ways gates were judged: later verdicts say how many came before them."""
    if source.row("SELECT 1 FROM sqlite_master WHERE name = 'judged'") is None:
        return
    with target.errors_named():
        target.database.execute(JUDGED)
        for entry in _entries(source, "SELECT gate, way FROM judged ORDER BY rowid"):
            target.database.execute("INSERT OR IGNORE INTO judged VALUES (?, ?)", entry)


def _entries(source: StoreFile, query: str) -> Iterator[tuple[Any, ...]]:
    with source.errors_named():
        yield from source.database.execute(query)


def _refusal(conflicts: Sequence[_Conflict]) -> StoreError:
    more = ", ..." if conflicts[NAMED:] else ""
    return StoreError(
        f"{counted(len(conflicts), 'question')} that stores answer differently: "
        f"{', '.join(map(str, conflicts[:NAMED]))}{more}; expected one answer to a question; nothing was merged; keep "
        "the answers of the store named first (--keep first; what --into holds is before all) or last (--keep last), "
        "or leave a store out"
    )

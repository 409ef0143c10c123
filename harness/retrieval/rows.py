"""Rows: one filing, one task, one needle and the haystack it is put into; their files, their split and their donors.

The split says which filings are for finding the heads and which for testing them: by a hash of seed and cluster, so
that all filings of a cluster fall on the same side, and each stays on its side when others come, go, or are filtered. A
filing without a cluster is one of its own (`harness.retrieval.traces` joins those of equal text).
A row's donor asks the same of another filing and has another answer: resample ablation gives the row's ablated heads
what they put out on the donor (Chan et al. 2022, causal scrubbing; Zhang and Nanda 2023,
https://arxiv.org/abs/2309.16042).

Knows nothing about prompts, tokens or models. The columns follow the EDGAR haystack study
(https://github.com/dersual/EDGAR-Haystack).
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast, get_args

from harness.errors import DataError
from harness.retrieval.row_files import Fields, read_records, write_records
from harness.retrieval.scoring import matches_value, normalise
from harness.retrieval.tasks import Task

SplitName = Literal["identification", "evaluation"]
Placement = Literal["insert", "in_place"]


@dataclass(frozen=True, slots=True)
class Row:
    """One sample; the fields are the columns of a row file.

    `depth`, where given, is the row's own needle depth in [0, 1]. `placement` says whether the needle is put
    into the haystack (`insert`), or already stands in it exactly once (`in_place`). `cluster` names what the row's
    filing belongs to (its company): filings of one cluster are not independent of each other.
    """

    filename: str
    task: str
    needle_sentence: str
    needle_value: str
    haystack_text: str
    haystack_token_length: int | None = None
    split: SplitName | None = None
    depth: float | None = None
    placement: Placement = "insert"
    cluster: str | None = None

    @property
    def id(self) -> str:
        """`filename/task`, with `@depth` where the row has a depth of its own."""
        name = f"{self.filename}/{self.task}"
        return name if self.depth is None else f"{name}@{self.depth!r}"

    @property
    def cluster_name(self) -> str:
        """The row's cluster; without one, its filing."""
        return self.filename if self.cluster is None else self.cluster


REQUIRED: Mapping[str, str] = MappingProxyType(
    {
        "filename": "the document's name: rows of one filing share it; all are for ranking, or all for evaluation",
        "task": "what is asked: one of the nine tasks, or one of your own",
        "needle_sentence": "the sentence that holds the answer; it is put into the document",
        "needle_value": "the answer, as it stands in the sentence",
        "haystack_text": "the document without that sentence",
    }
)
"""The columns that rows must have, and what each means."""

OPTIONAL: Mapping[str, str] = MappingProxyType(
    {
        "haystack_token_length": "not used; published files have it",
        "split": "`identification` or `evaluation`, the same for all rows of a filing; default: a hash of its cluster",
        "depth": "where this row's needle goes, from 0 (start) to 1 (end); default: `--ablation-depth`",
        "placement": "`in_place` where the document already holds its needle, once; default: `insert`",
        "cluster": "what the filing belongs to, its company say: filings of one are not independent of each other; "
        "default: filings of equal text are one cluster",
    }
)
"""The columns that rows may have, and what each means."""


@dataclass(frozen=True, slots=True)
class Excluded:
    """A row that is left out, and why."""

    row_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class RowTable:
    """The rows that can be used, in their order, and those that are left out."""

    rows: tuple[Row, ...]
    excluded: tuple[Excluded, ...]


def read_rows(path: Path, tasks: Mapping[str, Task], *, strict: bool = False) -> RowTable:
    """The rows of a CSV, TSV, Parquet, JSON Lines or JSON file, checked as by `check_rows`.

    Columns: `filename, task, needle_sentence, needle_value, haystack_text`; optional
    `haystack_token_length, split, depth, placement, cluster`, where an empty cell means not given. Others are ignored.
    Text is kept as it stands.

    Raises:
        DataError: the first fault, with file, row (the first data row is 1), column, got and expected.
    """
    records = read_records(path, tuple(REQUIRED), tuple(OPTIONAL))
    return check_rows(_rows_of(records, str(path)), tasks, source=str(path), strict=strict)


def check_rows(rows: Iterable[Row], tasks: Mapping[str, Task], *, source: str, strict: bool = False) -> RowTable:
    """The same rows, checked one by one; `source` names them in messages.

    A row whose needle already stands in its haystack cannot be asked for one needle: it is excluded, or with
    `strict` an error. Only the given tasks are known.

    Raises:
        DataError: the first fault: an unknown task; a text that is empty or no UTF-8; a value that its own
            needle does not hold (by rule `value`); a depth outside [0, 1]; a (filename, task, depth) seen
            before; a filing with two splits or clusters; an `in_place` needle that does not stand exactly once; no
            rows.
    """
    kept: list[Row] = []
    excluded: list[Excluded] = []
    first_of: dict[tuple[str, str, float | None], int] = {}
    of_filing: dict[tuple[str, str], tuple[str | None, int]] = {}
    number = 0
    for number, row in enumerate(rows, start=1):
        where = f"{source}: row {number}"
        _check_row(row, tasks, where)
        if (first := first_of.setdefault((row.filename, row.task, row.depth), number)) != number:
            raise DataError(
                f"{where}: filename, task, depth: got {row.id}, as in row {first}; "
                "expected each once; remove one of the two"
            )
        for name, got in (("split", row.split), ("cluster", row.cluster)):
            earlier, first = of_filing.setdefault((row.filename, name), (got, number))
            if earlier != got:
                raise DataError(
                    f"{where}: {name}: got {got or 'none'}, but {row.filename} has {earlier or 'none'} in row "
                    f"{first}; expected one {name} a filing; make them equal"
                )
        reason = _needle_in_haystack(row, where)
        if reason is None:
            kept.append(row)
        elif strict:
            raise DataError(
                f"{where}: haystack_text: {reason}; expected it without the needle; "
                "take it out, or use placement in_place"
            )
        else:
            excluded.append(Excluded(row.id, reason))
    if not kept:
        reason = f"all {number} rows are excluded: {excluded[0].reason}" if excluded else "got no rows"
        raise DataError(f"{source}: {reason}; expected rows; check how they were made")
    return RowTable(tuple(kept), tuple(excluded))


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write rows as .csv, .parquet or .jsonl, atomically, with the optional columns that any row uses.

    Raises:
        DataError: the file's ending is unknown, or it cannot be written.
    """
    table = tuple(rows)
    defaults = {field.name: field.default for field in fields(Row)}
    used = [name for name in OPTIONAL if any(getattr(row, name) != defaults[name] for row in table)]
    columns = (*REQUIRED, *used)
    write_records(path, columns, [[getattr(row, name) for name in columns] for row in table])


def occurrences(needle: str, haystack: str) -> int:
    """How many times the needle stands in the haystack, overlaps counted."""
    count, at = 0, haystack.find(needle)
    while at != -1:
        count, at = count + 1, haystack.find(needle, at + 1)
    return count


def _check_row(row: Row, tasks: Mapping[str, Task], where: str) -> None:
    """What can be said of a row by itself."""
    for name in REQUIRED:
        text = getattr(row, name)
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: {name}: got {text!r}; expected text; fill it in")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise DataError(f"{where}: {name}: got half a character pair; expected UTF-8; save it as UTF-8")
    if row.task not in tasks:
        raise DataError(
            f"{where}: task: got {row.task!r}; expected one of {', '.join(tasks)}; correct it, or define it"
        )
    if row.depth is not None and not 0 <= row.depth <= 1:
        raise DataError(f"{where}: depth: got {row.depth!r}; expected a number from 0 to 1; correct it")
    for name, known in (("split", get_args(SplitName)), ("placement", get_args(Placement))):
        got = getattr(row, name)
        if got not in known and not (name == "split" and got is None):
            raise DataError(f"{where}: {name}: got {got!r}; expected {' or '.join(known)}; correct it")
    try:
        contained = matches_value(row.needle_sentence, row.needle_value, tasks[row.task].compare)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    if not contained:
        expected = "a value that stands, as whole words, in"
        if tasks[row.task].compare == "number":
            read = ", ".join(normalise(row.needle_sentence, "number"))
            expected = f"a number that is said exactly ({read or 'none'} is read) in"
        raise DataError(
            f"{where}: needle_value: got {row.needle_value!r}; expected {expected} its needle_sentence "
            f"{row.needle_sentence!r}; correct one of the two"
        )


def _needle_in_haystack(row: Row, where: str) -> str | None:
    """Why the row must be left out, if its needle already stands in the haystack, line breaks aside."""
    needle, haystack = row.needle_sentence.strip(), row.haystack_text
    unbroken = occurrences(" ".join(needle.split()), " ".join(haystack.split()))
    if row.placement == "insert":
        return f"the needle already stands in the haystack ({unbroken} x)" if unbroken else None
    if unbroken != 1 or needle not in haystack:
        got = f"{unbroken} times" if unbroken != 1 else "once, with other line breaks or spaces,"
        raise DataError(
            f"{where}: haystack_text: the needle stands {got} in the haystack; expected exactly once, "
            "letter for letter, for placement in_place; correct the needle or the placement"
        )
    return None


def _rows_of(records: Iterator[Fields], source: str) -> Iterator[Row]:
    """Typed rows; a cell of the wrong type is an error when its row is reached."""
    for number, record in enumerate(records, start=1):
        yield _row_of(record, f"{source}: row {number}")


def _row_of(record: Fields, where: str) -> Row:
    text = {name: _text(record[name], f"{where}: {name}") for name in REQUIRED}
    split, placement = (_text(record.get(name), f"{where}: {name}") or None for name in ("split", "placement"))
    return Row(
        **text,
        haystack_token_length=_length(record.get("haystack_token_length"), f"{where}: haystack_token_length"),
        # Any word passes here: `check_rows` knows which there are.
        split=cast(SplitName | None, split),
        depth=_depth(record.get("depth"), f"{where}: depth"),
        placement=cast(Placement, placement or "insert"),
        cluster=_text(record.get("cluster"), f"{where}: cluster") or None,
    )


def _text(cell: object, where: str) -> str:
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)  # a count or a year that was saved as a number
    if cell is None or isinstance(cell, str):
        return cell or ""
    raise DataError(f"{where}: got {cell!r} ({type(cell).__name__}); expected text; save it as text")


def _number(cell: object, where: str, expected: str) -> float | None:
    """A number, from text too; None when the cell is empty (in a numeric column: NaN)."""
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return None
    try:
        if isinstance(cell, bool) or not isinstance(cell, (str, int, float)):
            raise ValueError
        return float(cell)
    except (ValueError, OverflowError):
        raise DataError(f"{where}: got {cell!r}; expected {expected}; correct it") from None


def _depth(cell: object, where: str) -> float | None:
    depth = _number(cell, where, "a number from 0 to 1")
    return None if depth is None else depth + 0.0  # -0.0 is 0.0


def _length(cell: object, where: str) -> int | None:
    length = _number(cell, where, "a whole number of tokens")
    if length is not None and (length < 0 or not length.is_integer()):
        raise DataError(f"{where}: got {cell!r}; expected a whole number of tokens; correct it")
    return None if length is None else int(length)


@dataclass(frozen=True, slots=True)
class Split:
    """Rows by side, each in the order in which they came."""

    identification: tuple[Row, ...]
    evaluation: tuple[Row, ...]


SPLIT_SHARE = 0.8
"""The part of the clusters that is for identification, unless another is asked for."""


def filing_hash(filename: str, seed: int) -> str:
    """SHA-256 of seed and filing (or cluster), in hex: what a ranking file keeps of the filings that made it."""
    return hashlib.sha256(f"{seed}\0{filename}".encode()).hexdigest()


def split_of(row: Row, seed: int, share: float = SPLIT_SHARE) -> SplitName:
    """The row's own `split`; without one, identification for the lowest `share` of the hashes of clusters.

    A larger share holds all that a smaller one does.
    """
    if row.split is not None:
        return row.split
    return "evaluation" if is_evaluated(row.cluster_name, seed, share) else "identification"


def is_evaluated(cluster: str, seed: int, share: float = SPLIT_SHARE) -> bool:
    """Whether the hash of a cluster is not among the lowest `share`."""
    part = Fraction(str(share))
    return int(filing_hash(cluster, seed), 16) * part.denominator >= part.numerator * 2**256


def split_rows(rows: Iterable[Row], *, seed: int, share: float = SPLIT_SHARE) -> Split:
    """Every row on its side (`split_of`)."""
    sides: dict[SplitName, list[Row]] = {"identification": [], "evaluation": []}
    for row in rows:
        sides[split_of(row, seed, share)].append(row)
    return Split(tuple(sides["identification"]), tuple(sides["evaluation"]))


def donor_of(row: Row, rows: Iterable[Row], task: Task, *, seed: int) -> Row:
    """One of these rows, of the same task and another filing, whose value would not pass for this row's.

    Of all that there are, the one with the lowest hash of seed and both rows: a row keeps its donor, also at another
    depth, unless that leaves or one with a lower hash joins. Raises DataError where there is none.
    """

    def place(other: Row) -> str:
        return hashlib.sha256(f"donor\0{seed}\0{row.filename}\0{row.task}\0{other.id}".encode()).hexdigest()

    others = (other for other in rows if other.task == row.task and other.filename != row.filename)
    for other in sorted(others, key=place):
        if not matches_value(other.needle_value, row.needle_value, task.compare):
            return other
    raise DataError(
        f"{row.id}: no row to take heads' outputs from; expected one of the task {row.task} of another filing, with "
        f"another value than {row.needle_value!r}; give more filings, leave the row out, or use the mode zero"
    )

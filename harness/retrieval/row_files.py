"""Row files: CSV, Parquet and JSON Lines as records of named cells, and back; TSV and lists in JSON are read too.

Knows nothing about what the columns mean. Cells come as they stand in the file (a CSV's are all text, and an
empty one is None); nothing is guessed, stripped or rounded.

pyarrow checks little of the Parquet that it reads: a flipped bit ends in any of a dozen errors, of the file's own words
or of Python's, at the opening or at one cell. Whatever it makes of damaged bytes is one DataError.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.errors import DataError
from harness.files import read_bytes, replacing, strict_json

Columns = Callable[[Sequence[str]], Sequence[str]]
"""(names of all columns) -> those to read; it may raise a DataError."""

_DAMAGE = (OSError, ValueError, LookupError, ArithmeticError, NotImplementedError, TypeError)
"""What pyarrow raises of damaged bytes, its own errors among them, and what Python does of a date it has not."""


def read_parquet(
    where: str, data: bytes | Path, columns: Columns, *, batch_size: int
) -> Iterator[Mapping[str, object]]:
    """The records of a file, or of its bytes, in order, with `batch_size` at a time in memory.

    `where` is what messages call it.

    Raises:
        DataError: the bytes are damaged or no Parquet, a column stands there twice, or a cell cannot be read.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(data if isinstance(data, Path) else pa.BufferReader(data))
        names = [str(name) for name in file.schema_arrow.names]
        batches = file.iter_batches(batch_size=batch_size, columns=list(_wanted(names, columns, where)))
    except DataError:
        raise
    except _DAMAGE as error:
        raise _damaged(where, error) from None
    number = 0
    while True:
        try:
            batch = next(batches, None)
        except _DAMAGE as error:
            raise _damaged(where, error) from None
        if batch is None:
            return
        for at in range(batch.num_rows):
            number += 1
            yield {
                name: _cell(batch.column(i)[at].as_py, f"{where}: row {number}: {name}")
                for i, name in enumerate(batch.schema.names)
            }


def _wanted(names: Sequence[str], columns: Columns, where: str) -> Sequence[str]:
    wanted = columns(names)
    for name in wanted:
        if names.count(name) > 1:
            raise DataError(f"{where}: column {name}: got it twice; expected it once; rename one")
    return wanted


def _cell(read: Callable[[], object], where: str) -> object:
    try:
        return read()
    except UnicodeDecodeError as error:
        byte = f"0x{error.object[error.start]:02x}"
        raise DataError(f"{where}: got byte {byte}, broken UTF-8; expected UTF-8; save the file as UTF-8") from None
    except _DAMAGE as error:
        raise DataError(f"{where}: {_reason(error)}; expected a value that can be read; save it as text") from None


def _damaged(where: str, error: Exception) -> DataError:
    return DataError(f"{where}: {_reason(error)}; expected a Parquet file; check how it was made")


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


Cell = str | int | float | None
Fields = Mapping[str, object]


def read_records(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[Fields]:
    """The records of a file, in order, with the named columns; other columns are left out.

    Raises:
        DataError: the file cannot be read, its ending is unknown, a required column is missing, or (while
            iterating) a record is broken. Records are counted from 1, a CSV's header and blank lines aside.
    """
    read = _READERS[_ending(path, tuple(_READERS))]
    try:
        data = read_bytes(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; expected a readable file; check the path") from None
    if not data.strip():
        raise DataError(f"{path}: got an empty file; expected rows; check how it was made")
    return read(path, data, required, optional)


def write_records(path: Path, columns: Sequence[str], records: Sequence[Sequence[Cell]]) -> None:
    """Write records in the format of the file's ending, at once or not at all.

    Raises:
        DataError: the ending is unknown, or the file cannot be written.
    """
    write = _WRITERS[_ending(path, tuple(_WRITERS))]
    data = write(columns, records)
    try:
        with replacing(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}; expected a folder that can be written; choose another"
        ) from None


def _ending(path: Path, known: Sequence[str]) -> str:
    ending = path.suffix.lower()
    if ending not in known:
        expected = f"{', '.join(known[:-1])} or {known[-1]}"
        raise DataError(f"{path}: got ending {ending!r}; expected {expected}; save it as one of these, or rename it")
    return ending


def _check_columns(where: str, got: Sequence[str], required: Sequence[str]) -> None:
    """Raise a DataError that names all required columns that are missing."""
    missing = [name for name in required if name not in got]
    if missing:
        it = "it" if len(missing) == 1 else "them"
        raise DataError(
            f"{where}: got columns {', '.join(got) or 'none'}; expected {', '.join(missing)} too; add or rename {it}"
        )


# ---------------------------------------------------------------------------------------------------- CSV


def _read_csv(
    path: Path, data: bytes, required: Sequence[str], optional: Sequence[str], delimiter: str = ","
) -> Iterator[Fields]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken_csv(path, data, error, delimiter) from None
    rows = _csv_rows(text, path, delimiter)
    header = rows[0] if rows else []
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"{path}: column {name}: got it twice; expected it once; rename one")
    _check_columns(str(path), header, required)
    wanted = [(at, name) for at, name in enumerate(header) if name in {*required, *optional}]
    for number, cells in enumerate(rows[1:], start=1):
        if len(cells) != len(header):
            raise DataError(
                f"{path}: row {number}: got {len(cells)} cells; expected {len(header)}, as in the header; "
                f"put text with {'commas' if delimiter == ',' else 'tabs'} or line breaks in double quotes"
            )
        yield {name: cells[at] or None for at, name in wanted}


def _read_tsv(path: Path, data: bytes, required: Sequence[str], optional: Sequence[str]) -> Iterator[Fields]:
    """As CSV, but for tabs in the place of commas."""
    return _read_csv(path, data, required, optional, delimiter="\t")


def _csv_rows(text: str, path: Path, delimiter: str) -> list[list[str]]:
    """The header and the rows; blank lines are no rows."""
    rows: list[list[str]] = []
    before = csv.field_size_limit(sys.maxsize)  # the default, 131,072 characters, is less than a long filing
    try:
        for row in csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter):
            if row:
                rows.append(row)
    except csv.Error as error:
        raise DataError(
            f"{path}: row {len(rows)}: {error}; expected {path.suffix[1:].upper()} with double quotes; correct it there"
        ) from None
    finally:
        csv.field_size_limit(before)
    return rows


def _broken_csv(path: Path, data: bytes, error: UnicodeDecodeError, delimiter: str) -> DataError:
    """Name the row in which the first byte stands that is not UTF-8."""
    before = data[: error.start].decode("utf-8-sig", errors="ignore") + "\N{REPLACEMENT CHARACTER}"
    # An open quote is closed, so that the text up to the broken byte is sound CSV.
    rows = _csv_rows(before + '"' * (before.count('"') % 2), path, delimiter)
    number = len(rows) - 1
    return _not_utf8(f"{path}: row {number}" if number else f"{path}: header", data[error.start])


def _not_utf8(where: str, byte: int) -> DataError:
    return DataError(f"{where}: got byte 0x{byte:02x}, broken UTF-8; expected UTF-8; save the file as UTF-8")


def _csv_bytes(columns: Sequence[str], records: Sequence[Sequence[Cell]]) -> bytes:
    text = io.StringIO(newline="")
    # both are put in quotes where they stand in a cell, which Python before 3.13 does with no others
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows(records)
    return text.getvalue().encode("utf-8")


# -------------------------------------------------------------------------------------------- JSON Lines


def _read_jsonl(path: Path, data: bytes, required: Sequence[str], optional: Sequence[str]) -> Iterator[Fields]:
    number = 0
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if not line.strip():
            continue
        number += 1
        where = f"{path}: row {number}"
        try:
            record = strict_json(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise _not_utf8(where, line[error.start]) from None
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where}: {error.msg} at character {error.pos + 1}; expected one JSON object a line; correct it there"
            ) from None
        except ValueError as error:
            raise DataError(f"{where}: {error}; expected one JSON object a line without it; correct it there") from None
        yield _of_object(record, where, required, optional)


def _read_json(path: Path, data: bytes, required: Sequence[str], optional: Sequence[str]) -> Iterator[Fields]:
    """A list of objects, as `json.dump` and pandas' `to_json(orient="records")` write it."""
    try:
        records = strict_json(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _not_utf8(str(path), data[error.start]) from None
    except ValueError as error:
        raise DataError(
            f"{path}: {error}; expected a list of JSON objects; correct it, or write one a line into a .jsonl file"
        ) from None
    if not isinstance(records, list):
        raise DataError(
            f"{path}: got {type(records).__name__}; expected a list of JSON objects, one a row; write them as a list, "
            "or one a line into a .jsonl file"
        )
    for number, record in enumerate(records, start=1):
        yield _of_object(record, f"{path}: row {number}", required, optional)


def _of_object(record: object, where: str, required: Sequence[str], optional: Sequence[str]) -> Fields:
    if not isinstance(record, dict):
        raise DataError(f"{where}: got {type(record).__name__}; expected a JSON object; correct it")
    _check_columns(where, list(record), required)
    return {name: record[name] for name in (*required, *optional) if name in record}


def _jsonl_bytes(columns: Sequence[str], records: Sequence[Sequence[Cell]]) -> bytes:
    lines = (
        json.dumps(dict(zip(columns, record, strict=True)), ensure_ascii=False, allow_nan=False) for record in records
    )
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


# ------------------------------------------------------------------------------------------------ Parquet


def _read_parquet(path: Path, data: bytes, required: Sequence[str], optional: Sequence[str]) -> Iterator[Fields]:
    def wanted(names: Sequence[str]) -> Sequence[str]:
        _check_columns(str(path), names, required)
        return [name for name in names if name in {*required, *optional}]

    return read_parquet(str(path), data, wanted, batch_size=64)


def _parquet_bytes(columns: Sequence[str], records: Sequence[Sequence[Cell]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: [record[at] for record in records] for at, name in enumerate(columns)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
}
_WRITERS = {".csv": _csv_bytes, ".parquet": _parquet_bytes, ".jsonl": _jsonl_bytes}

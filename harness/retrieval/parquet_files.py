"""Parquet as records of named cells; whatever a library makes of damaged bytes is one DataError.

pyarrow checks little of what it reads: a flipped bit ends in any of a dozen errors, of the file's own words or of
Python's, at the opening or at one cell. Knows nothing of what the columns mean.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.errors import DataError

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

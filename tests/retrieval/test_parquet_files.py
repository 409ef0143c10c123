"""Parquet files that are damaged: one error that says where, whatever pyarrow raises."""

import io
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from harness.errors import DataError
from harness.retrieval.parquet_files import read_parquet


def written(table: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def everything(names: Sequence[str]) -> Sequence[str]:
    return names


def read(data: bytes) -> list[object]:
    return list(read_parquet("rows.parquet", data, everything, batch_size=2))


def test_records_come_in_order_over_batches() -> None:
    records = [{"a": number, "b": str(number)} for number in range(5)]
    assert read(written(pa.Table.from_pylist(records))) == records


def test_a_column_that_stands_twice_is_named() -> None:
    """It once ended in a KeyError."""
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match=r"^rows\.parquet: column a: got it twice; expected it once; rename one$"):
        read(written(table))


def test_a_time_that_python_has_not_is_named() -> None:
    """It once ended in an OverflowError."""
    now = datetime(2026, 1, 2, tzinfo=UTC).replace(tzinfo=None)
    assert read(written(pa.table({"a": pa.array([now], pa.timestamp("us"))}))) == [{"a": now}]
    table = pa.table({"a": pa.array([2**62], pa.timestamp("us"))})
    with pytest.raises(DataError, match=r"^rows\.parquet: row 1: a: .*; expected a value that can be read; save it as"):
        read(written(table))


def test_damage_is_one_error() -> None:
    """Two hundred flipped and cut files: what can still be read is, and all else is one kind of error."""
    sound = written(pa.Table.from_pylist([{"a": "word " * 40, "b": n, "c": n / 3} for n in range(50)]))
    generator = random.Random(5)
    refused = 0
    for _ in range(200):
        damaged = bytearray(sound)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        try:
            read(bytes(damaged[: generator.choice([None, generator.randrange(len(damaged))])]))
        except DataError:
            refused += 1
    assert refused > 100

"""An error as text: one line, of a moderate length, that steers no terminal; and memory that runs out is one."""

import pytest

from harness.errors import DataError, OutOfMemoryError, memory_is_named


def test_an_error_is_one_plain_line() -> None:
    """A name with escape sequences once changed the terminal's colours and title."""
    assert str(DataError("rows.csv: task \x1b[31mred\nsecond")) == r"rows.csv: task \x1b[31mred\nsecond"


def test_a_cell_of_megabytes_is_not_echoed_whole() -> None:
    said = str(DataError(f"rows.csv: row 1: got {'x' * 4_000_000}; expected a number; correct it"))
    assert len(said) < 2000
    assert said.startswith("rows.csv: row 1: got xxx")
    assert said.endswith("xxx; expected a number; correct it")


def test_memory_that_runs_out_is_named() -> None:
    @memory_is_named()
    def read() -> None:
        raise MemoryError

    with pytest.raises(OutOfMemoryError, match=r"^out of memory; expected more .*; raise its limit"):
        read()

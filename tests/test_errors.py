"""An error as text: one line, of a moderate length, that steers no terminal; and memory that runs out is one."""

import pytest

from harness.errors import HEAD, TAIL, DataError, OutOfMemoryError, counted, memory_is_named, plain, shortened


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("within_task[ceo_lastname-k05]", "within_task[ceo_lastname-k05]"),
        ("Société Générale, 東京, 3 %", "Société Générale, 東京, 3 %"),
        ("\x1b]0;title\x07\x1b[31mred", r"\x1b]0;title\x07\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("a\u2028b", r"a\u2028b"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected
    assert plain(text).encode()


def test_shortened() -> None:
    whole = "a" * HEAD + "b" * TAIL
    assert shortened(whole) == whole
    assert shortened("a" * HEAD + "x" * 4_000_000 + "b" * TAIL) == (
        "a" * HEAD + "... (4,000,000 characters left out) ..." + "b" * TAIL
    )


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1000, "1,000 rows"), (1061, "1,061 rows")]
)
def test_counted(n: int, said: str) -> None:
    assert counted(n, "row") == said

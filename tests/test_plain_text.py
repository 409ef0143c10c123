"""What others wrote, fit for a terminal: nothing that steers it is left, and nothing else is changed."""

import pytest

from harness.plain_text import HEAD, TAIL, plain, shortened


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

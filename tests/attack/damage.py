"""Damage: sound bytes made malformed, as disks, editors, other programs and enemies make them.

Every choice is the generator's, so that a seed repeats it. Knows nothing of what the bytes mean, but for JSON, where a
value in a drawn place is replaced, doubled or left out.
"""

import json
import random
from typing import Any

TOKENS = (
    *(
        b"[" * 50_000,
        b'{"a":' * 20_000,
        b"9" * 5000,
        b"x" * 300_000,
        b"1e308",
        b"-1e308",
        b"1e-320",
        b"NaN",
        b"-Infinity",
    ),
    *(
        b"null",
        b"true",
        b"-1",
        b"0",
        b"1.5",
        b'"\\ud800"',
        b"\\u0000",
        b"\x1b]0;x\x07",
        b"\xff",
        b"\xc3",
        b"\x00",
        b"\r",
    ),
    *(b'"', b"'", b",", b"\n", b"{", b"}", b"[]", b"{}", b"\t", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\xe2\x80\xa8"),
    *(b"$x^$", b"=HYPERLINK(1)", b"{context}", b"{question}", b"..", b"/dev/zero", b"~", b"%s", b"\\"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2.5, 10**30, 1e308, -1e308, 1e-320, float("nan"), float("inf")),
    *("", " ", "x", "0", "\x1b[31mred", "\u202e", "\ud800", "=1+1", "$a_{b$", "x" * 300_000, "two\nlines"),
    *([], {}, [[]], [None], [1, 2, 3], {"a": 1}, [0, 0], ["1-1", 1]),
)
LONG = "a whole number of 5,000 digits"
DEEP = "nested 100,000 deep"


def damaged(sound: bytes, generator: random.Random) -> bytes:
    """The bytes with one to three faults; in JSON, mostly faults of values."""
    if generator.random() < 0.6:
        try:
            return _values_changed(sound, generator)
        except ValueError:
            pass
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        sound = _bytes_changed(sound, generator)
    return sound


def text_damaged(sound: str, generator: random.Random) -> str:
    """A text with faults, as somebody might type it; bytes that are no text are half surrogates, as in Python."""
    return _bytes_changed(sound.encode(), generator).decode("utf-8", "surrogateescape")


def _bytes_changed(data: bytes, generator: random.Random) -> bytes:
    at, to = sorted(generator.randint(0, len(data)) for _ in range(2))
    to = min(to, at + generator.choice((1, 3, 30, 3000)))
    match generator.randrange(6):
        case 0 if data:
            flipped = bytearray(data)
            flipped[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
            return bytes(flipped)
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[to:]
        case 3:
            return data[:to] + data[at:to] + data[to:]
        case 4:
            return data[:at] + generator.choice(TOKENS) + data[to:]
    return data[:at] + generator.choice(TOKENS) + data[at:]


def _values_changed(data: bytes, generator: random.Random) -> bytes:
    """A document, or one of a document's lines, with a value changed. Raises ValueError where it is no JSON."""
    text = data.decode()
    try:
        return _written(_changed(json.loads(text), generator))
    except json.JSONDecodeError:
        lines = text.split("\n")
        at = generator.randrange(len(lines))
        return b"\n".join(
            _written(_changed(json.loads(line), generator)) if i == at else line.encode()
            for i, line in enumerate(lines)
        )


def _changed(whole: Any, generator: random.Random) -> Any:
    value, steps = whole, generator.randint(1, 6)
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        if not keys:
            return generator.choice(VALUES)
        key = generator.choice(keys)
        steps -= 1
        if steps <= 0 or not isinstance(value[key], dict | list) or not value[key]:
            break
        value = value[key]
    match generator.randrange(8):
        case 0:
            del value[key]
        case 1 if isinstance(value, dict):
            value[f"{key}?"] = value[key]
        case 1:
            value.append(value[key])
        case 2:
            value[key] = generator.choice((LONG, DEEP))
        case 3:
            value[key] = [value[key]]
        case 4:
            value[key] = str(value[key])
        case _:
            value[key] = generator.choice(VALUES)
    return whole


def _written(value: Any) -> bytes:
    text = json.dumps(value)
    text = text.replace(f'"{LONG}"', "9" * 5000).replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000)
    return text.encode()

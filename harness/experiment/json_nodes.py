"""A JSON document whose every piece knows where it stands, so that an error can name the file and the entry.

Knows nothing of what the document is about.
"""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.errors import HarnessError, HeadsError
from harness.files import read_bytes, strict_json

T = TypeVar("T")

MOST = 1e100
"""Larger numbers are no measurements, and their sums are infinite."""


@dataclass(frozen=True, slots=True)
class Node:
    """A piece of a JSON document: its value, the file's name, and its place, as in `tasks.ceo_lastname[3]`.

    Every method that reads raises an error of `kind` where the piece is not what the method reads.
    """

    value: object
    source: str
    place: str = ""
    kind: type[HarnessError] = HeadsError

    @property
    def where(self) -> str:
        """File and place, as messages begin."""
        return f"{self.source}: {self.place}" if self.place else self.source

    def bad(self, expected: str) -> HarnessError:
        """The error that says what stands here, and what was expected."""
        text = repr(self.value)
        got = text if len(text) <= 80 else text[:77] + "..."
        return self.kind(f"{self.where}: {got}; expected {expected}")

    def part(self, value: object, step: str) -> "Node":
        """A piece of this piece; `step` is `[3]` or a name."""
        dot = "." if self.place and not step.startswith("[") else ""
        return Node(value, self.source, f"{self.place}{dot}{step}", self.kind)

    def has(self, key: str) -> bool:
        """Whether this is an object with a value other than null under `key`."""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def field(self, key: str) -> "Node":
        """The piece under `key` of an object."""
        if not isinstance(self.value, dict) or key not in self.value:
            raise self.bad(f"an object with {key!r}")
        return self.part(self.value[key], key)

    def optional(self, key: str, read: Callable[["Node"], T]) -> T | None:
        """What `read` makes of the piece under `key`, or None where it is missing or null."""
        return read(self.field(key)) if self.has(key) else None

    def items(self, *, least: int = 0) -> list["Node"]:
        """The pieces of a list, of which there are to be so many at least."""
        if not isinstance(self.value, list):
            raise self.bad("a list")
        if len(self.value) < least:
            raise self.bad(f"a list of at least {least}")
        return [self.part(value, f"[{i}]") for i, value in enumerate(self.value)]

    def table(self, read: Callable[["Node"], T]) -> dict[str, T]:
        """What `read` makes of each piece of an object, by key."""
        if not isinstance(self.value, dict):
            raise self.bad("an object")
        return {key: read(self.field(key)) for key in self.value}

    def number(self) -> float:
        """A finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.bad("a number")
        try:
            number = float(self.value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.bad("a finite number")
        if abs(number) > MOST:
            raise self.bad(f"a number of at most {MOST:g}")
        return number

    def integer(self, least: int | None = 0) -> int:
        """An integer, from `least` up unless that is None."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.bad("an integer")
        if least is not None and self.value < least:
            raise self.bad(f"an integer from {least} up")
        return self.value

    def numbers(self) -> list[float]:
        """A list of finite numbers, of which there may be millions."""
        if isinstance(self.value, list) and set(map(type, self.value)) <= {int, float}:
            # an integer beyond all floats is named below, as infinity is
            with suppress(OverflowError):
                found = list(map(float, self.value))
                if all(-MOST <= number <= MOST for number in found):
                    return found
        return [item.number() for item in self.items()]

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.bad("true or false")
        return self.value

    def text(self) -> str:
        """A text."""
        if not isinstance(self.value, str):
            raise self.bad("a text")
        return self.value


def read_json(path: Path, kind: type[HarnessError] = HeadsError) -> Node:
    """The document in a file; `kind` is the error of whatever is wrong with it.

    Raises:
        HarnessError: of that kind; the file cannot be read, is empty, is not UTF-8 or not JSON (cut off, say), or
            an object in it has a key twice.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise kind(f"{path}: {error.strerror}; expected a JSON file that can be read") from error
    except UnicodeDecodeError:
        raise kind(f"{path.name}: not a text file; expected JSON in UTF-8") from None
    return parse_json(text, path.name, kind)


def parse_json(text: str, source: str, kind: type[HarnessError] = HeadsError) -> Node:
    """The document in a text; `source` is what messages call it, `kind` the error of whatever is wrong with it.

    Raises:
        HarnessError: of that kind; the text is empty or not JSON (cut off, say), or an object in it has a key twice.
    """
    if not text.strip():
        raise kind(f"{source}: an empty file; expected JSON")
    try:
        return Node(strict_json(text), source, kind=kind)
    except json.JSONDecodeError as error:
        end = " at the end of the file, which may be cut off" if error.pos >= len(text.rstrip()) else ""
        raise kind(f"{source}: line {error.lineno}, column {error.colno}: {error.msg}{end}; expected JSON") from None
    except ValueError as error:
        raise kind(f"{source}: {error}; expected JSON without it") from None

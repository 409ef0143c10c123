"""The tree of errors that users meet: one class a kind of thing that can be wrong; and what messages are made of.

Every message is one line: where, what was got, what was expected, what to do. Only the plugin and the
command line turn these into exit codes.

A name in a file may hold sequences that move a terminal's cursor, change its title or turn the direction of what
follows; a path may hold bytes that are no text; and a cell may be millions of characters long. What others wrote is
made fit for a terminal and for one line, wherever it comes from.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager


class HarnessError(ValueError):
    """Something a user gave, or asked for, cannot be used.

    As text it is one line without anything that would steer a terminal, and of a moderate length, whatever stands in
    the file that it tells of.
    """

    def __str__(self) -> str:
        return plain(shortened(super().__str__()))


class SettingsError(HarnessError):
    """An option or ini value is bad."""


class BusyError(SettingsError):
    """What was asked for is in use by another process of the same session."""


class DataError(HarnessError):
    """A file of rows or tasks, or a row in it, is bad."""


class HeadsError(HarnessError):
    """A head file, or a set of heads, is bad."""


class ModelError(HarnessError):
    """A model cannot be loaded, or does not fit what is asked of it."""


class AblationError(HarnessError):
    """An ablation would be, or was, unsound."""


class OutOfMemoryError(HarnessError):
    """Something took more memory than this process may have."""


@contextmanager
def memory_is_named() -> Iterator[None]:
    """Raise OutOfMemoryError in the place of Python's MemoryError, which says nothing; also as a decorator."""
    try:
        yield
    except MemoryError:
        raise OutOfMemoryError(
            "out of memory; expected more than this process may take; raise its limit (ulimit -v), ask for fewer rows "
            "or shorter prompts, or take a machine that has more"
        ) from None


class ClusterError(HarnessError):
    """A cluster cannot be reached, or none of its nodes can serve."""


class StoreError(HarnessError):
    """The store of records cannot be used."""


class ReportError(HarnessError):
    """A report cannot be read or written."""


_UNFIT = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of what is no character to be seen: control, format, half surrogates, separators of lines."""
HEAD, TAIL = 1200, 600
"""How much of a long text's beginning and end is kept."""


def plain(text: str) -> str:
    """The text on one line, what cannot be shown written as in a Python string: `\\x1b`, `\\n`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written(each) if unicodedata.category(each) in _UNFIT else each for each in text)


def shortened(text: str) -> str:
    """The beginning and the end of a long text, and how much was left out between them."""
    left_out = len(text) - HEAD - TAIL
    return text if left_out <= 0 else f"{text[:HEAD]}... ({left_out:,} characters left out) ...{text[-TAIL:]}"


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode()


def counted(n: int, thing: str) -> str:
    """The number and the thing, which takes an s unless there is one of it."""
    return f"{n:,} {thing}" + ("" if n == 1 else "s")

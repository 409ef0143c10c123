"""The tree of errors that users meet: one class a kind of thing that can be wrong.

Every message is one line: where, what was got, what was expected, what to do. Only the plugin and the
command line turn these into exit codes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from harness.plain_text import plain, shortened


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


class StoreError(HarnessError):
    """The store of records cannot be used."""


class ReportError(HarnessError):
    """A report cannot be read or written."""

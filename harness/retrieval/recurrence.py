"""Recurrence: rows whose value stands in their document anyway, needle or not.

Such a row may be answered without its needle: a right answer says less of the heads that look there. In place that is
so of nearly every row. Whether the value is said there in answer to the question is not known. Knows nothing of models.
"""

from collections.abc import Iterable, Mapping

from harness.errors import DataError
from harness.retrieval.placement import place_needle
from harness.retrieval.rows import Row
from harness.retrieval.scoring import Compare, normalise
from harness.retrieval.tasks import Task


def value_recurs(row: Row, task: Task) -> bool:
    """Whether the row's value stands, by rule `value`, in its document without the needle.

    Raises:
        DataError: the needle of a row placed `in_place` does not stand there exactly once.
    """
    document = place_needle(row, depth=0.0, keep=False).document
    return value_stands(row.needle_value, document, task.compare)


def recurring_rows(rows: Iterable[Row], tasks: Mapping[str, Task]) -> tuple[str, ...]:
    """The ids of the rows whose value recurs, in their order."""
    return tuple(row.id for row in rows if value_recurs(row, tasks[row.task]))


def value_stands(value: str, text: str, compare: Compare) -> bool:
    """Whether the value's tokens stand in a text, whole, in order and side by side.

    Raises:
        DataError: the value has no tokens: it would be found everywhere.
    """
    sought, words = normalise(value, compare), normalise(text, compare)
    if not sought:
        raise DataError(f"needle_value: got {value!r}; expected something to compare; correct the value")
    return any(words[at : at + len(sought)] == sought for at in range(len(words) - len(sought) + 1))

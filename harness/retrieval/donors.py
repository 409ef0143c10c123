"""Donors: for a row, another one whose run the row's ablated heads are given the outputs of.

A donor asks the same of another filing and has another answer, so that what a head hands over of it is of no use here
(resample ablation: Chan et al. 2022, causal scrubbing; Zhang and Nanda 2023, https://arxiv.org/abs/2309.16042).

Knows no models.
"""

import hashlib
from collections.abc import Iterable

from harness.errors import DataError
from harness.retrieval.rows import Row
from harness.retrieval.scoring import matches_value
from harness.retrieval.tasks import Task


def donor_of(row: Row, rows: Iterable[Row], task: Task, *, seed: int) -> Row:
    """One of these rows, of the same task and another filing, whose value would not pass for this row's.

    Of all that there are, the one with the lowest hash of seed and both rows: a row keeps its donor, also at another
    depth, unless that leaves or one with a lower hash joins. Raises DataError where there is none.
    """

    def place(other: Row) -> str:
        return hashlib.sha256(f"donor\0{seed}\0{row.filename}\0{row.task}\0{other.id}".encode()).hexdigest()

    others = (other for other in rows if other.task == row.task and other.filename != row.filename)
    for other in sorted(others, key=place):
        if not matches_value(other.needle_value, row.needle_value, task.compare):
            return other
    raise DataError(
        f"{row.id}: no row to take heads' outputs from; expected one of the task {row.task} of another filing, with "
        f"another value than {row.needle_value!r}; give more filings, leave the row out, or use the mode zero"
    )

"""Rows whose value stands in their document beside the needle, by hand."""

from dataclasses import replace

import pytest

from harness.errors import DataError
from harness.retrieval.recurrence import recurring_rows, value_recurs, value_stands
from harness.retrieval.rows import Row
from harness.retrieval.tasks import EDGAR_TASKS

CITY = Row("a", "headquarters_city", "It sits in Dayton.", "Dayton", "It grew. It has 1,200 shops.")
STAFF = Row("a", "employees_count_total", "It employs 1200 people.", "1200", "It grew.")


@pytest.mark.parametrize(
    ("row", "recurs"),
    [
        (CITY, False),
        (replace(CITY, haystack_text="The DAYTON-based firm grew."), True),
        (replace(CITY, haystack_text="The firm of Daytona grew."), False),
        (STAFF, False),
        (replace(STAFF, haystack_text="It has 1,200 shops."), True),
        (replace(STAFF, haystack_text="It has twelve hundred shops, or one thousand two hundred."), True),
        (replace(STAFF, haystack_text="It has 1,2005 shops."), False),
        (replace(CITY, placement="in_place", haystack_text="It grew. It sits in Dayton. It shrank."), False),
        (replace(CITY, placement="in_place", haystack_text="It sits in Dayton. Dayton grew."), True),
    ],
)
def test_by_hand(row: Row, recurs: bool) -> None:
    assert value_recurs(row, EDGAR_TASKS[row.task]) is recurs


def test_ids_in_the_rows_order() -> None:
    again = replace(CITY, filename="b", haystack_text="Dayton grew.")
    swept = replace(again, depth=0.5)
    assert recurring_rows([swept, CITY, again], EDGAR_TASKS) == (swept.id, again.id)


def test_a_value_without_anything_to_compare() -> None:
    with pytest.raises(DataError, match=r"needle_value: got '\.\.\.'; expected something to compare"):
        value_stands("...", "Text.", "text")

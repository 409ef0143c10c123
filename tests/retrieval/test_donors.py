"""Which row's outputs another one's heads are given."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.retrieval.donors import donor_of
from harness.retrieval.rows import Row
from harness.retrieval.tasks import EDGAR_TASKS

TASKS = ("ceo_lastname", "headquarters_state")


def row(filing: int, task: str, value: str) -> Row:
    return Row(f"f{filing}", task, f"It is {value}.", value, "Text.")


rows = st.lists(
    st.builds(row, st.integers(0, 5), st.sampled_from(TASKS), st.sampled_from(["Ohio", "Maine", "Lee", "Smith"])),
    min_size=1,
    max_size=12,
    unique_by=lambda each: each.id,
)


@settings(derandomize=True, deadline=None)
@given(rows=rows, seed=st.integers(0, 3), data=st.data())
def test_the_same_task_another_filing_another_value(rows: list[Row], seed: int, data: st.DataObject) -> None:
    """It depends on seed and rows alone, not on their order, nor on those that cannot be donors."""
    asked = rows[0]
    fitting = [
        each
        for each in rows
        if each.task == asked.task and each.filename != asked.filename and each.needle_value != asked.needle_value
    ]
    task = EDGAR_TASKS[asked.task]
    if not fitting:
        with pytest.raises(DataError, match=f"{asked.id}: no row to take heads' outputs from; expected one of the"):
            donor_of(asked, rows, task, seed=seed)
        return
    donor = donor_of(asked, rows, task, seed=seed)
    assert donor in fitting
    assert donor_of(asked, data.draw(st.permutations(fitting)), task, seed=seed) == donor
    assert donor_of(replace(asked, depth=0.3), rows, task, seed=seed) == donor
    assert donor_of(asked, [*rows, row(9, "headquarters_city", "Lee")], task, seed=seed) == donor


def test_a_value_in_other_words_is_the_same_value() -> None:
    asked = row(0, "employees_count_total", "1,234")
    others = [row(1, "employees_count_total", "1234"), row(2, "employees_count_total", "12")]
    for seed in range(5):
        assert donor_of(asked, others, EDGAR_TASKS[asked.task], seed=seed) == others[1]


def test_donors_differ_from_row_to_row_and_seed_to_seed() -> None:
    all_rows = [row(filing, "ceo_lastname", f"Name{chr(65 + filing)}") for filing in range(20)]
    task = EDGAR_TASKS["ceo_lastname"]
    assert len({donor_of(each, all_rows, task, seed=0).filename for each in all_rows}) > 5
    assert len({donor_of(all_rows[0], all_rows, task, seed=seed).filename for seed in range(20)}) > 5

"""Rows: what comes out of a file, and the one line that each bad row gives.

Split: by filing, stable, four fifths to identification.

Which row's outputs another one's heads are given.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.retrieval.rows import (
    Excluded,
    Placement,
    Row,
    RowTable,
    SplitName,
    check_rows,
    donor_of,
    filing_hash,
    occurrences,
    read_rows,
    split_of,
    split_rows,
    write_rows,
)
from harness.retrieval.tasks import EDGAR_TASKS

CEO = Row("a.txt", "ceo_lastname", "The CEO is Mr. Smith.", "Smith", "It grew. It shrank.")
STAFF = Row("a.txt", "employees_count_total", "It has seven hundred people.", "700", "It grew. It shrank.")
OTHER = replace(CEO, filename="b.txt", haystack_text='Two\r\nlines, "quoted", é.')
FULL = Row(
    "c.txt",
    "ceo_lastname",
    "Mr. Lee leads.",
    "Lee",
    "Before. Mr. Lee leads. After.",
    12,
    "evaluation",
    0.25,
    "in_place",
    "320193",
)


def check(rows: Sequence[Row], *, strict: bool = False) -> RowTable:
    return check_rows(rows, EDGAR_TASKS, source="rows", strict=strict)


def test_a_year_after_a_comma_stands_in_its_sentence() -> None:
    row = Row("a.txt", "incorporation_year", "It was formed on March 5,1988 in Ohio.", "1988", "It grew. It shrank.")
    assert check([row]).rows == (row,)


def test_row_ids() -> None:
    assert CEO.id == "a.txt/ceo_lastname"
    assert FULL.id == "c.txt/ceo_lastname@0.25"


def test_occurrences() -> None:
    assert [occurrences("aa", text) for text in ("", "aa", "aaa", "aa aa")] == [0, 1, 2, 2]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("rows", [(CEO, STAFF, OTHER), (STAFF, FULL, CEO)])
def test_rows_come_back_as_they_were_written(tmp_path: Path, ending: str, rows: tuple[Row, ...]) -> None:
    path = tmp_path / f"rows{ending}"
    write_rows(rows, path)
    assert read_rows(path, EDGAR_TASKS) == RowTable(rows, ())


def test_only_used_columns_are_written(tmp_path: Path) -> None:
    write_rows([CEO, FULL], tmp_path / "all.csv")
    write_rows([CEO], tmp_path / "five.csv")
    five = "filename,task,needle_sentence,needle_value,haystack_text"
    assert (tmp_path / "five.csv").read_text().splitlines()[0] == five
    header = (tmp_path / "all.csv").read_text().splitlines()[0]
    assert header == f"{five},haystack_token_length,split,depth,placement,cluster"


def test_cells_as_other_programs_write_them(tmp_path: Path) -> None:
    """Numbers in JSON, `12.0` for a count beside empty cells, spaces around a depth, a negative zero."""
    line = {
        "filename": "a.txt",
        "task": "incorporation_year",
        "needle_sentence": "Founded in 1985.",
        "needle_value": 1985,
        "haystack_text": "Text.",
        "haystack_token_length": "12.0",
        "split": None,
        "depth": -0.0,
        "placement": "",
    }
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(line) + "\n" + json.dumps({**line, "depth": " 1e-1 "}), encoding="utf-8")
    first, second = read_rows(path, EDGAR_TASKS).rows
    assert (first.needle_value, first.haystack_token_length, first.placement) == ("1985", 12, "insert")
    assert first.id == "a.txt/incorporation_year@0.0"
    assert second.depth == 0.1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (replace(CEO, filename=" "), "filename: got ' '; expected text; fill it in"),
        (replace(CEO, needle_value=""), "needle_value: got ''; expected text; fill it in"),
        (replace(CEO, needle_sentence=""), "needle_sentence: got ''; expected text"),
        (replace(CEO, haystack_text="\n"), "haystack_text: got '\\n'; expected text"),
        (replace(CEO, haystack_text="\ud800"), "haystack_text: got half a character pair; expected UTF-8"),
        (replace(CEO, task="ceo"), "task: got 'ceo'; expected one of registrant_name, headquarters_city"),
        (replace(CEO, depth=1.5), "depth: got 1.5; expected a number from 0 to 1"),
        (replace(CEO, depth=float("nan")), "depth: got nan; expected a number from 0 to 1"),
        (
            replace(CEO, split=cast(SplitName, "test")),
            "split: got 'test'; expected identification or evaluation",
        ),
        (
            replace(CEO, placement=cast(Placement, "in place")),
            "placement: got 'in place'; expected insert or in_place",
        ),
        (replace(CEO, needle_value="Smit"), "needle_value: got 'Smit'; expected a value that stands"),
        (
            replace(STAFF, needle_value="7"),
            "needle_value: got '7'; expected a number that is said exactly (700 is read) in its needle_sentence",
        ),
        (replace(STAFF, needle_value="many"), "needle_value: got 'many'; expected a number in it"),
        (replace(CEO, needle_value="..."), "needle_value: got '...'; expected a letter or a digit in it"),
        (CEO, "filename, task, depth: got a.txt/ceo_lastname, as in row 1; expected each once"),
        (replace(STAFF, split="evaluation"), "split: got evaluation, but a.txt has none in row 1"),
        (replace(STAFF, cluster="320193"), "cluster: got 320193, but a.txt has none in row 1"),
        (replace(OTHER, placement="in_place"), "haystack_text: the needle stands 0 times in the haystack"),
        (
            replace(FULL, haystack_text=f"{FULL.haystack_text} Mr.\nLee leads."),
            "haystack_text: the needle stands 2 times in the haystack",
        ),
        (
            replace(FULL, haystack_text="Mr.\nLee leads."),
            "haystack_text: the needle stands once, with other line breaks or spaces, in the haystack",
        ),
    ],
)
def test_a_bad_row_gives_one_line(bad: Row, message: str) -> None:
    with pytest.raises(DataError) as caught:
        check([CEO, bad, replace(bad, task="never reached")])
    assert str(caught.value).startswith(f"rows: row 2: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("depth", "half", "depth: got 'half'; expected a number from 0 to 1"),
        ("depth", True, "depth: got True; expected a number from 0 to 1"),
        ("depth", 10**19, "depth: got 1e+19; expected a number from 0 to 1"),
        ("depth", 10**400, "a whole number of 401 digits; expected at most 20"),
        (
            "haystack_token_length",
            "12.5",
            "haystack_token_length: got '12.5'; expected a whole number of tokens",
        ),
        ("haystack_token_length", -1, "haystack_token_length: got -1; expected a whole number of tokens"),
        (
            "haystack_token_length",
            "inf",
            "haystack_token_length: got 'inf'; expected a whole number of tokens",
        ),
        ("needle_value", 700.0, "needle_value: got 700.0 (float); expected text; save it as text"),
        ("needle_value", None, "needle_value: got ''; expected text; fill it in"),
        ("filename", ["a"], "filename: got ['a'] (list); expected text; save it as text"),
        ("split", "both", "split: got 'both'; expected identification or evaluation"),
    ],
)
def test_a_bad_cell_names_file_row_and_column(tmp_path: Path, column: str, cell: object, message: str) -> None:
    names = ("filename", "task", "needle_sentence", "needle_value", "haystack_text")
    good = {name: getattr(CEO, name) for name in names}
    path = tmp_path / "rows.jsonl"
    bad = {**good, "filename": "b.txt", column: cell}
    path.write_text("\n".join(json.dumps(line) for line in (good, bad)), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_rows(path, EDGAR_TASKS)
    assert str(caught.value).startswith(f"{path}: row 2: {message}")


def test_the_first_fault_is_reported(tmp_path: Path) -> None:
    """A row's meaning is checked before a later row's cells are read."""
    path = tmp_path / "rows.csv"
    write_rows([CEO, replace(CEO, filename="b.txt", task="ceo")], path)
    path.write_text(path.read_text() + "c,d\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 2: task: got 'ceo'"):
        read_rows(path, EDGAR_TASKS)


@pytest.mark.parametrize("haystack", [f"Before. {CEO.needle_sentence} After.", "Before. The CEO is\n  Mr. Smith."])
def test_a_needle_in_its_haystack_excludes_the_row(tmp_path: Path, haystack: str) -> None:
    known = replace(CEO, filename="b.txt", haystack_text=haystack)
    reason = "the needle already stands in the haystack (1 x)"
    assert check([CEO, known, STAFF]) == RowTable((CEO, STAFF), (Excluded("b.txt/ceo_lastname", reason),))
    with pytest.raises(
        DataError, match=re.escape(f"rows: row 2: haystack_text: {reason}; expected it without the needle")
    ):
        check([CEO, known, STAFF], strict=True)
    path = tmp_path / "rows.csv"
    write_rows([known], path)
    with pytest.raises(DataError, match="all 1 rows are excluded: the needle already stands"):
        read_rows(path, EDGAR_TASKS)


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rows: got no rows"):
        check([])
    write_rows([], tmp_path / "rows.csv")
    with pytest.raises(DataError, match=r"rows\.csv: got no rows"):
        read_rows(tmp_path / "rows.csv", EDGAR_TASKS)


def test_the_same_needle_at_several_depths_is_several_rows() -> None:
    sweep = tuple(replace(CEO, depth=depth) for depth in (None, 0.0, 0.5, 1.0))
    assert check(sweep).rows == sweep


def row(filename: str, task: str = "ceo_lastname", split: SplitName | None = None) -> Row:
    return Row(filename, task, "The CEO is Smith.", "Smith", "Text.", split=split)


def test_the_hash_is_sha256_of_seed_and_filing() -> None:
    assert filing_hash("a.txt", 7) == hashlib.sha256(b"7\x00a.txt").hexdigest()
    assert filing_hash("a.txt", 7) != filing_hash("a.txt", 8)
    assert filing_hash("1\0a", 7) != filing_hash("a", 71)


def test_the_lowest_eighty_percent_of_hashes_identify() -> None:
    """Against a slow exact reference: the hash as a fraction of all hashes."""
    for number in range(500):
        fraction = int(filing_hash(f"{number}.txt", 3), 16) / 2**256
        expected = "identification" if fraction < 0.8 else "evaluation"
        assert split_of(row(f"{number}.txt"), 3) == expected


def test_about_four_fifths_of_many_filings() -> None:
    split = split_rows([row(f"{number}.txt") for number in range(5000)], seed=0)
    assert 0.78 < len(split.identification) / 5000 < 0.82  # four standard errors are 0.023


def test_a_split_column_overrides_the_hash() -> None:
    for name in ("a.txt", "b.txt", "c.txt", "d.txt"):
        assert split_of(row(name, split="evaluation"), 0) == "evaluation"
        assert split_of(row(name, split="identification"), 0) == "identification"


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text(max_size=5), max_size=30), st.integers(-5, 5))
def test_filings_stay_on_their_side_when_others_go(filenames: list[str], seed: int) -> None:
    rows = [row(name, task) for name in filenames for task in ("ceo_lastname", "registrant_name")]
    whole, half = split_rows(rows, seed=seed), split_rows(rows[::2], seed=seed)
    assert [r for r in whole.identification if r in rows[::2]] == list(half.identification)
    assert [r for r in whole.evaluation if r in rows[::2]] == list(half.evaluation)
    assert not {r.filename for r in whole.identification} & {r.filename for r in whole.evaluation}
    assert len(whole.identification) + len(whole.evaluation) == len(rows)


TASKS = ("ceo_lastname", "headquarters_state")


def donors_row(filing: int, task: str, value: str) -> Row:
    return Row(f"f{filing}", task, f"It is {value}.", value, "Text.")


rows = st.lists(
    st.builds(
        donors_row, st.integers(0, 5), st.sampled_from(TASKS), st.sampled_from(["Ohio", "Maine", "Lee", "Smith"])
    ),
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
    assert donor_of(asked, [*rows, donors_row(9, "headquarters_city", "Lee")], task, seed=seed) == donor


def test_a_value_in_other_words_is_the_same_value() -> None:
    asked = donors_row(0, "employees_count_total", "1,234")
    others = [donors_row(1, "employees_count_total", "1234"), donors_row(2, "employees_count_total", "12")]
    for seed in range(5):
        assert donor_of(asked, others, EDGAR_TASKS[asked.task], seed=seed) == others[1]


def test_donors_differ_from_row_to_row_and_seed_to_seed() -> None:
    all_rows = [donors_row(filing, "ceo_lastname", f"Name{chr(65 + filing)}") for filing in range(20)]
    task = EDGAR_TASKS["ceo_lastname"]
    assert len({donor_of(each, all_rows, task, seed=0).filename for each in all_rows}) > 5
    assert len({donor_of(all_rows[0], all_rows, task, seed=seed).filename for seed in range(20)}) > 5

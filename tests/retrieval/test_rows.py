"""Rows: what comes out of a file, and the one line that each bad row gives."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from harness.errors import DataError
from harness.retrieval.rows import (
    Excluded,
    Placement,
    Row,
    RowTable,
    SplitName,
    check_rows,
    occurrences,
    read_rows,
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
        (replace(STAFF, needle_value="7"), "needle_value: got '7'; expected a value that stands"),
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
        ("depth", 10**400, "depth: got 1000"),
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

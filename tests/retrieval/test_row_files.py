"""Row files: three formats in and out, and one clear line for each way in which a file can be broken."""

import io
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.retrieval.row_files import Cell, read_parquet, read_records, write_records

ENDINGS = (".csv", ".jsonl", ".parquet")


def read(path: Path) -> list[dict[str, object]]:
    return [dict(record) for record in read_records(path, ["name", "text"], ["depth"])]


def fails(path: Path, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("ending", ENDINGS)
@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    texts=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), min_size=1),
            st.text(st.characters(codec="utf-8"), min_size=1),
        ),
        min_size=1,
        max_size=4,
    )
)
@example(texts=[("a", "\r"), ("\rb", "c\r\nd")])
def test_text_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, ending: str, texts: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / f"rows{ending}"
    write_records(path, ["name", "text"], texts)
    assert read(path) == [{"name": name, "text": text} for name, text in texts]


@pytest.mark.parametrize("ending", ENDINGS)
def test_unknown_columns_are_left_out_and_long_cells_are_kept(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    write_records(path, ["extra", "text", "name", "depth"], [["e", "x" * 200_000, "n", None]])
    assert read(path) == [{"text": "x" * 200_000, "name": "n", "depth": None}]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_missing_column(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    write_records(path, ["name", "sentence"], [["a", "b"]])
    where = "row 1: " if ending == ".jsonl" else ""
    fails(path, f"{where}got columns name, sentence; expected text too; add or rename it")


@pytest.mark.parametrize("ending", ENDINGS)
def test_all_missing_columns_are_named_at_once(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    write_records(path, ["sentence"], [["b"]])
    where = "row 1: " if ending == ".jsonl" else ""
    fails(path, f"{where}got columns sentence; expected name, text too; add or rename them")


def test_tabs_and_lists_in_json_are_read_too(tmp_path: Path) -> None:
    expected: list[dict[str, object]] = [
        {"name": "a", "text": "one, two\tthree\n4", "depth": None},
        {"name": "ü", "text": "b", "depth": "0.5"},
    ]
    tabs = tmp_path / "rows.tsv"
    tabs.write_text('name\ttext\tother\tdepth\na\t"one, two\tthree\n4"\tx\t\nü\tb\ty\t0.5\n', encoding="utf-8")
    assert read(tabs) == expected
    listed = tmp_path / "rows.json"
    listed.write_text(json.dumps([{**each, "other": 1} for each in expected]), encoding="utf-8")
    assert read(listed) == expected


def test_faults_of_tabs_and_of_lists_in_json(tmp_path: Path) -> None:
    tabs, listed = tmp_path / "rows.tsv", tmp_path / "rows.json"
    tabs.write_text("name\ttext\na\tb\tc\n")
    fails(
        tabs,
        "row 1: got 3 cells; expected 2, as in the header; put text with tabs or line breaks in double quotes",
    )
    tabs.write_text("name,text\na,b\n")
    fails(tabs, "got columns name,text; expected name, text too; add or rename them")
    listed.write_text('{"rows": []}')
    fails(
        listed,
        "got dict; expected a list of JSON objects, one a row; write them as a list, or one a line into a .jsonl file",
    )
    listed.write_text('{"name": "a"}\n{"name": "b"}\n')
    with pytest.raises(DataError, match=r"rows.json: Extra data.*; expected a list of JSON objects; .* a .jsonl file"):
        read(listed)
    listed.write_text('[{"name": "a", "text": "b"}, 5]')
    fails(listed, "row 2: got int; expected a JSON object; correct it")
    listed.write_text('[{"name": "a"}]')
    fails(listed, "row 1: got columns name; expected text too; add or rename it")
    listed.write_bytes(b'[{"name": "\xff"}]')
    fails(listed, "got byte 0xff, broken UTF-8; expected UTF-8; save the file as UTF-8")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_empty_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    for data in (b"", b"\n \n"):
        path.write_bytes(data)
        fails(path, "got an empty file; expected rows; check how it was made")


def test_paths(tmp_path: Path) -> None:
    fails(tmp_path / "rows.csv", "No such file or directory; expected a readable file; check the path")
    for bad in ("rows.txt", "rows", "rows.xlsx"):
        with pytest.raises(
            DataError, match=r"got ending .*; expected \.csv, \.tsv, \.parquet, \.jsonl or \.json; save"
        ):
            read(tmp_path / bad)
    for bad in ("rows.tsv", "rows.json"):
        with pytest.raises(DataError, match=r"got ending .*; expected \.csv, \.parquet or \.jsonl; save"):
            write_records(tmp_path / bad, ["name"], [["a"]])
    with pytest.raises(DataError, match="expected a folder that can be written"):
        write_records(tmp_path / "none" / "rows.csv", ["name"], [["a"]])


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_records(path, ["name"], [["old"]])
    with pytest.raises(UnicodeEncodeError):
        write_records(path, ["name"], [["\ud800"]])
    assert path.read_text() == '{"name": "old"}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.CSV"
    path.write_bytes(b'\xef\xbb\xbfname,text,depth\r\n"a, ""b""","line\r\nline ",\r\n\r\nNULL, x,0.5\r\n')
    assert read(path) == [
        {"name": 'a, "b"', "text": "line\r\nline ", "depth": None},
        {"name": "NULL", "text": " x", "depth": "0.5"},
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xef\xbb\xbf", "got columns none; expected name, text too; add or rename them"),
        (b"name,text,name\na,b,c\n", "column name: got it twice; expected it once; rename one"),
        (
            b"name,text\na,b\nc\n",
            "row 2: got 1 cells; expected 2, as in the header; put text with commas or line breaks in double quotes",
        ),
        (
            b'name,text\na,b\nc,"d\n',
            "row 2: unexpected end of data; expected CSV with double quotes; correct it there",
        ),
        (
            b'name,text\n"a\nb",c\nd,"e\n\xff"\n',
            "row 2: got byte 0xff, broken UTF-8; expected UTF-8; save the file as UTF-8",
        ),
        (
            b"name,text\na,b\n\xe9,d\n",
            "row 2: got byte 0xe9, broken UTF-8; expected UTF-8; save the file as UTF-8",
        ),
        (b"n\xff,text\n", "header: got byte 0xff, broken UTF-8; expected UTF-8; save the file as UTF-8"),
    ],
)
def test_broken_csv(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    fails(path, message)


HALF = r"half of a surrogate pair, as \ud800, which is no character"
WITHOUT = "expected one JSON object a line without it; correct it there"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[1]\n", "row 1: got list; expected a JSON object; correct it"),
        (
            b'{"name": "a", "text": "b"}\n\n{"name": }\n',
            "row 2: Expecting value at character 10; expected one JSON object a line; correct it there",
        ),
        (
            b'{"name": "a", "text": "b\xff"}\n',
            "row 1: got byte 0xff, broken UTF-8; expected UTF-8; save the file as UTF-8",
        ),
        (b"\xff\n", "row 1: got byte 0xff, broken UTF-8; expected UTF-8; save the file as UTF-8"),
        (b'{"name": "a", "text": "b", "text": "c"}\n', "row 1: the key 'text' twice in one object; " + WITHOUT),
        (
            b'{"name": "a", "text": "\\ud800"}\n',
            "row 1: half of a surrogate pair, as \\ud800, which is no character; " + WITHOUT,
        ),
        (b"[" * 100_000 + b"\n", "row 1: nested too deeply; " + WITHOUT),
        (b'{"text": ' + b"9" * 5000 + b"}\n", "row 1: a whole number of 5000 digits; expected at most 20; " + WITHOUT),
        (b'{"name": "a"}\n', "row 1: got columns name; expected text too; add or rename it"),
    ],
)
def test_broken_json_lines(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    fails(path, message)


def test_broken_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"no parquet at all")
    with pytest.raises(DataError, match="expected a Parquet file; check how it was made") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_parquet_with_broken_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    broken = pa.array([b"ok", b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"name": ["a", "b"], "text": broken}), path)
    fails(path, "row 2: text: got byte 0xe9, broken UTF-8; expected UTF-8; save the file as UTF-8")


def test_formats_are_what_other_tools_read(tmp_path: Path) -> None:
    columns = ["name", "text", "depth"]
    records: list[list[Cell]] = [["a", "é", 0.5], ["b", "x", None]]
    for ending in ENDINGS:
        write_records(tmp_path / f"rows{ending}", columns, records)
    assert (tmp_path / "rows.csv").read_bytes().decode() == "name,text,depth\r\na,é,0.5\r\nb,x,\r\n"
    lines = io.StringIO((tmp_path / "rows.jsonl").read_text(encoding="utf-8"))
    assert [json.loads(line) for line in lines][1] == {"name": "b", "text": "x", "depth": None}
    assert pq.read_table(tmp_path / "rows.parquet").to_pydict()["depth"] == [0.5, None]


def written(table: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def everything(names: Sequence[str]) -> Sequence[str]:
    return names


def parquet(data: bytes) -> list[object]:
    return list(read_parquet("rows.parquet", data, everything, batch_size=2))


def test_records_come_in_order_over_batches() -> None:
    records = [{"a": number, "b": str(number)} for number in range(5)]
    assert parquet(written(pa.Table.from_pylist(records))) == records


def test_a_column_that_stands_twice_is_named() -> None:
    """It once ended in a KeyError."""
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match=r"^rows\.parquet: column a: got it twice; expected it once; rename one$"):
        parquet(written(table))


def test_a_time_that_python_has_not_is_named() -> None:
    """It once ended in an OverflowError."""
    now = datetime(2026, 1, 2, tzinfo=UTC).replace(tzinfo=None)
    assert parquet(written(pa.table({"a": pa.array([now], pa.timestamp("us"))}))) == [{"a": now}]
    table = pa.table({"a": pa.array([2**62], pa.timestamp("us"))})
    with pytest.raises(DataError, match=r"^rows\.parquet: row 1: a: .*; expected a value that can be read; save it as"):
        parquet(written(table))


def test_damage_is_one_error() -> None:
    """Two hundred flipped and cut files: what can still be read is, and all else is one kind of error."""
    sound = written(pa.Table.from_pylist([{"a": "word " * 40, "b": n, "c": n / 3} for n in range(50)]))
    generator = random.Random(5)
    refused = 0
    for _ in range(200):
        damaged = bytearray(sound)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        try:
            parquet(bytes(damaged[: generator.choice([None, generator.randrange(len(damaged))])]))
        except DataError:
            refused += 1
    assert refused > 100

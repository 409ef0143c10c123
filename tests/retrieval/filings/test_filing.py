"""What a filing says about itself, and how it is read."""

import json
import zipfile
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from made_up_filing import filing

from harness.errors import DataError
from harness.retrieval.filings.filing import Filing, Section, read_filings


def test_numbers() -> None:
    assert (filing().cik, filing().accession) == ("12345", "0000012345-01-000001")
    bare = Filing("a", (), {"cik": "n/a", "complete_text_filing_link": "https://x/0000012345-01-000002.txt"})
    assert (bare.cik, bare.accession) == (None, "0000012345-01-000002")
    assert Filing("a", (), {}).accession is None


def test_sections() -> None:
    assert filing().section("2") == filing().sections[1]
    assert filing().section("3") is None


def test_the_hash_is_of_the_text_under_any_name() -> None:
    assert filing("a").text_hash() == filing("b", facts={}).text_hash()
    one, other = Filing("a", (Section("1", "ab"), Section("2", "c")), {}), Filing("a", (Section("1", "abc"),), {})
    assert one.text_hash() != other.text_hash() != filing().text_hash()


CRAWLED = {
    "cik": "12",
    "company": "ACME INC",
    "htm_filing_link": None,
    "filename": "12_10K_2001_0000012345-01-000001.htm",
    "item_1": "Business.",
    "item_1A": "",
    "item_10": "Directors.",
    "item_2": "Properties.",
}
CORPUS = {"filename": "12_2001.txt", "cik": "12", "year": "2001", "section_2": "Land.\n", "section_1": "Work."}


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def refused(source: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_filings(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_both_formats_of_a_folder_and_sections_in_the_forms_order(tmp_path: Path) -> None:
    write(tmp_path, "a.json", CRAWLED)
    write(tmp_path, "below/b.json", CORPUS)
    (tmp_path / "README.md").write_text("not a filing")
    crawled, corpus = read_filings(tmp_path)
    assert crawled.name == CRAWLED["filename"]
    assert crawled.sections == (Section("1", "Business."), Section("2", "Properties."), Section("10", "Directors."))
    assert crawled.facts == {"cik": "12", "company": "ACME INC", "filename": CRAWLED["filename"]}
    assert (crawled.cik, crawled.accession) == ("12", "0000012345-01-000001")
    assert corpus.sections == (Section("1", "Work."), Section("2", "Land.\n"))
    assert (corpus.name, corpus.accession) == ("12_2001.txt", None)


def test_a_zip_and_a_parquet_file_hold_the_same(tmp_path: Path) -> None:
    write(tmp_path / "folder", "b.json", CORPUS)
    with zipfile.ZipFile(tmp_path / "filings.zip", "w") as archive:
        archive.writestr("10-K/b.json", json.dumps(CORPUS))
        archive.writestr("__MACOSX/10-K/b.json", b"\x00")
    pq.write_table(pa.Table.from_pylist([CORPUS]), tmp_path / "filings.parquet")
    expected = read_filings(tmp_path / "folder")
    assert read_filings(tmp_path / "filings.zip") == expected
    assert read_filings(tmp_path / "filings.parquet") == expected


def test_a_filing_without_a_name_has_its_files(tmp_path: Path) -> None:
    write(tmp_path, "7_2003.json", {"section_1": "Work."})
    assert read_filings(tmp_path) == (Filing("7_2003", (Section("1", "Work."),), {}),)


def test_no_such_folder(tmp_path: Path) -> None:
    assert "no such file or folder; expected a folder, .zip or .parquet file" in refused(tmp_path / "none")


def test_nothing_in_it(tmp_path: Path) -> None:
    assert "got no filings; expected .json files" in refused(tmp_path)
    with zipfile.ZipFile(tmp_path / "filings.zip", "w") as archive:
        archive.writestr("README.md", "none")
    assert "filings.zip: got no filings" in refused(tmp_path / "filings.zip")


def test_another_ending(tmp_path: Path) -> None:
    assert "got ending '.json'; expected a folder" in refused(write(tmp_path, "a.json", CRAWLED))


def test_broken_files(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK no")
    assert "a.zip: File is not a zip file; expected a ZIP archive" in refused(tmp_path / "a.zip")
    (tmp_path / "a.parquet").write_bytes(b"PAR no")
    assert "expected a Parquet file" in refused(tmp_path / "a.parquet")


def test_a_parquet_file_of_something_else(tmp_path: Path) -> None:
    pq.write_table(pa.table({"filename": ["a"], "text": ["b"]}), tmp_path / "a.parquet")
    assert "got columns filename, text; expected filename, and section_1, ..." in refused(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "a.json: Expecting property name enclosed in double quotes"),
        (b'{"section_1": "\xff"}', "a.json: byte 15: broken UTF-8"),
        (b"[1]", "a.json: got a JSON list; expected a filing with fields section_1"),
        (b'{"name": "x", "text": "y"}', "a.json: got name, text; expected a filing with fields section_1"),
        (b'{"item_1": "", "item_2": "  "}', "a.json: got no text in any section; expected a filing's text"),
        (b'{"item_1": ["a"]}', "a.json: item_1: got list; expected text"),
        (b'{"item_1": "\\ud800"}', "a.json: half of a surrogate pair"),
    ],
)
def test_a_json_that_is_no_filing(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert message in refused(tmp_path)


def test_two_filings_of_one_name(tmp_path: Path) -> None:
    write(tmp_path, "a.json", CORPUS)
    write(tmp_path, "b.json", CORPUS)
    assert "b.json: got the filing 12_2001.txt again, as in " in refused(tmp_path)

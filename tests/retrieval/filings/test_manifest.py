"""Rows made again from a manifest, and how one that does not fit is told."""

import hashlib
import json
from pathlib import Path

import pytest
from made_up_filing import BUSINESS, filing

from harness.errors import DataError
from harness.retrieval.filings.building import build_rows
from harness.retrieval.filings.manifest import row_hash, rows_of_manifest, write_manifest
from harness.retrieval.rows import Row
from harness.retrieval.tasks import EDGAR_TASKS

OTHER = filing("other.htm", facts={}, item_1="Text. We had 12 employees. More text.")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    built = build_rows([filing(), OTHER], EDGAR_TASKS)
    write_manifest(tmp_path / "manifest.json", built.recipes, [filing(), OTHER], made_by="a test")
    return tmp_path / "manifest.json"


def refused(path: Path, *filings: object) -> str:
    with pytest.raises(DataError) as caught:
        rows_of_manifest(path, filings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("in_place", [False, True])
def test_the_same_rows_again_without_any_text_of_the_filings(tmp_path: Path, in_place: bool) -> None:
    built = build_rows([filing(), OTHER], EDGAR_TASKS, in_place=in_place)
    path = tmp_path / "manifest.json"
    write_manifest(path, built.recipes, [filing(), OTHER], made_by="a test")
    assert rows_of_manifest(path, [OTHER, filing(), filing("unused.htm")]) == built.rows
    assert "widgets" not in path.read_text()
    first = path.read_bytes()
    write_manifest(path, built.recipes, [filing(), OTHER], made_by="a test")
    assert path.read_bytes() == first


def test_a_filing_that_is_missing(manifest: Path) -> None:
    assert "other.htm: no such filing among the 1 given" in refused(manifest, filing())


def test_a_filing_with_another_text_names_the_row(manifest: Path) -> None:
    changed = filing(
        item_1=BUSINESS.replace("\nwhom", " whom").replace("40 states", "41 states"), item_2="x" * 200, item_5="y" * 200
    )
    message = refused(manifest, changed, OTHER)
    assert f"{filing().name}/registrant_name: got a row of hash" in message
    assert "its filing has another text; get the one that the manifest was made of" in message


def test_a_filing_that_is_shorter(manifest: Path) -> None:
    shorter = filing("other.htm", facts={}, item_1="Text.")
    assert "other.htm: no characters" in refused(manifest, filing(), shorter)


def test_a_changed_manifest_names_the_row(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace('"Doe"', '"Roe"'))
    message = refused(manifest, filing(), OTHER)
    assert f"{filing().name}/ceo_lastname: got a row of hash" in message
    assert "the manifest was changed" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version: Input should be 1"),
        ({"schema_version": True}, "schema_version: True; expected a whole number"),
        ({"schema_version": 1.0}, "schema_version: 1.0; expected a whole number"),
        ({"placement": "elsewhere"}, "placement: Input should be 'insert' or 'in_place'"),
        ({"filings": [{}]}, "filings.0.filing: Field required"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_a_file_that_is_no_manifest(manifest: Path, change: dict[str, object], message: str) -> None:
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    assert message in refused(manifest, filing(), OTHER)


def test_a_manifest_with_a_key_twice(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace('"made_by"', '"made_by": "another", "made_by"', 1))
    assert "the key 'made_by' twice in one object; expected a manifest without it" in refused(manifest, filing(), OTHER)


def test_a_manifest_without_filings_and_with_one_twice(manifest: Path) -> None:
    content = json.loads(manifest.read_text())
    filings = content["filings"]
    manifest.write_text(json.dumps(content | {"filings": []}))
    assert "got no filings; expected at least one" in refused(manifest, filing(), OTHER)
    manifest.write_text(json.dumps(content | {"filings": [*filings, filings[1]]}))
    assert "got the filing other.htm again; expected every filing once" in refused(manifest, filing(), OTHER)


def test_a_row_without_a_haystack(manifest: Path) -> None:
    content = json.loads(manifest.read_text())
    del content["filings"][0]["haystack"]
    manifest.write_text(json.dumps(content))
    assert "got no haystack; expected runs of it" in refused(manifest, filing(), OTHER)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    assert "No such file or directory; expected a manifest" in refused(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("{")
    assert "the file: Invalid JSON" in refused(tmp_path / "a.json")


def test_a_rows_hash_is_of_what_it_says() -> None:
    row = Row("a", "ceo_lastname", "Doe leads.", "Doe", "Text.")
    said = (
        '{"filename": "a", "haystack_text": "Text.", "needle_sentence": "Doe leads.", "needle_value": "Doe", '
        '"task": "ceo_lastname"}'
    )
    assert row_hash(row) == hashlib.sha256(said.encode()).hexdigest()

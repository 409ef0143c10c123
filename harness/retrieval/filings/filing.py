"""Filings: annual reports, each its sections in a fixed order and what its source says about it, and how they are read.

Read is a folder or ZIP of JSON files, one filing each, or a Parquet file, one filing a row; in two formats, told apart
by their fields: EDGAR-CORPUS (`section_1`, `section_1A`, ...;
https://huggingface.co/datasets/eloukas/edgar-corpus) and edgar-crawler (`item_1`, `item_1A`, ...;
https://github.com/lefterisloukas/edgar-crawler). Texts stay as they are. Knows nothing about what they say.
"""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError
from harness.files import read_bytes, strict_json
from harness.retrieval.row_files import read_parquet

SECTIONS = (
    *("1", "1A", "1B", "1C", "2", "3", "4", "5", "6", "7", "7A", "8"),
    *("9", "9A", "9B", "9C", "10", "11", "12", "13", "14", "15", "16"),
)
"""The items of a 10-K, in the form's order: the order of a filing's text."""

_ACCESSION = re.compile(r"(?<!\d)\d{10}-\d{2}-\d{6}(?!\d)")


@dataclass(frozen=True, slots=True)
class Section:
    """An item of a filing that has text; `name` is one of SECTIONS."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Filing:
    """One annual report.

    `facts` are the fields beside the sections that hold text, under their own names: what a crawler wrote down about
    the filing, which need not be true of it.
    """

    name: str
    sections: tuple[Section, ...]
    facts: Mapping[str, str]

    @property
    def cik(self) -> str | None:
        """The registrant's number at the SEC, without leading zeros, where it is known."""
        given = self.facts.get("cik", "").lstrip("0")
        return given if given.isdigit() else None

    @property
    def accession(self) -> str | None:
        """The number under which the SEC received the filing; it may stand under several registrants."""
        for field in ("accession_number", "filename", "complete_text_filing_link"):
            if found := _ACCESSION.search(self.facts.get(field, "")):
                return found[0]
        return None

    def section(self, name: str) -> Section | None:
        """The section of this name, if the filing has it."""
        return next((section for section in self.sections if section.name == name), None)

    def text_hash(self) -> str:
        """SHA-256 in hex of the sections, names and texts, in their order: what the filing says, under any name."""
        content = hashlib.sha256()
        for section in self.sections:
            content.update(f"{section.name}\0{section.text}\0".encode())
        return content.hexdigest()


_PREFIXES = ("section_", "item_")
_FORMAT = "expected a filing with fields section_1, section_1A, ... (EDGAR-CORPUS) or item_1, ... (edgar-crawler)"


def read_filings(source: Path) -> tuple[Filing, ...]:
    """The filings of a folder (with all folders in it), a .zip or a .parquet file, by name.

    Raises:
        DataError: there is no such source, it cannot be read, holds no filings, or two of one name; a file is no
            filing, or a filing has no text. The first fault is named.
    """
    filings: dict[str, Filing] = {}
    places: dict[str, str] = {}
    for where, stem, fields in _records(source):
        filing = _filing_of(where, stem, fields)
        if filing.name in filings:
            raise DataError(
                f"{where}: got the filing {filing.name} again, as in {places[filing.name]}; expected every filename "
                "once; remove one of the two"
            )
        filings[filing.name], places[filing.name] = filing, where
    if not filings:
        raise DataError(f"{source}: got no filings; expected .json files of 10-K filings in it; check the path")
    return tuple(filings[name] for name in sorted(filings))


def _records(source: Path) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    """Each filing's place, in words, the name of its file, and its fields."""
    if source.is_dir():
        for path in sorted(source.rglob("*.json")):
            yield str(path), path.stem, _json_fields(str(path), _bytes_of(path))
    elif not source.exists():
        raise DataError(f"{source}: no such file or folder; expected a folder, .zip or .parquet file; check the path")
    elif source.suffix.lower() == ".zip":
        yield from _zip_records(source)
    elif source.suffix.lower() == ".parquet":
        yield from _parquet_records(source)
    else:
        raise DataError(
            f"{source}: got ending {source.suffix!r}; expected a folder, a .zip or a .parquet file; "
            "put .json files into a folder"
        )


def _zip_records(source: Path) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    try:
        with zipfile.ZipFile(source) as archive:
            # an archive made on a Mac holds a shadow of every file
            names = [name for name in archive.namelist() if name.endswith(".json") and not name.startswith("__MACOSX/")]
            for name in sorted(names):
                where = f"{source}: {name}"
                yield where, Path(name).stem, _json_fields(where, archive.read(name))
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, zlib.error, EOFError) as error:
        raise DataError(f"{source}: {error}; expected a ZIP archive; check how it was made") from None


def _parquet_records(source: Path) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    def wanted(names: Sequence[str]) -> Sequence[str]:
        if "filename" not in names or not any(_section_name(name) for name in names):
            raise DataError(
                f"{source}: got columns {', '.join(names)}; expected filename, and section_1, ... or item_1, ...; "
                "check how it was made"
            )
        return names

    records = read_parquet(str(source), source, wanted, batch_size=16)
    for number, fields in enumerate(records, start=1):
        yield f"{source}: row {number}", "", fields


def _bytes_of(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; expected a readable file; check the path") from None


def _json_fields(where: str, data: bytes) -> Mapping[str, object]:
    try:
        fields = strict_json(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start}: broken UTF-8; {_FORMAT}; save it as UTF-8") from None
    except ValueError as error:
        raise DataError(f"{where}: {error}; {_FORMAT}; correct it or take it away") from None
    if not isinstance(fields, dict):
        raise DataError(f"{where}: got a JSON {type(fields).__name__}; {_FORMAT}; take it away")
    return fields


def _section_name(field: str) -> str | None:
    for prefix in _PREFIXES:
        if field.startswith(prefix) and field.removeprefix(prefix) in SECTIONS:
            return field.removeprefix(prefix)
    return None


def _filing_of(where: str, stem: str, fields: Mapping[str, object]) -> Filing:
    texts: dict[str, str] = {}
    facts: dict[str, str] = {}
    for field, value in fields.items():
        section = _section_name(field)
        if section is None:
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                facts[field] = str(value)
        elif value is not None and not isinstance(value, str):
            raise DataError(f"{where}: {field}: got {type(value).__name__}; expected text; correct it")
        elif value and value.strip():
            texts[section] = value
    if not any(_section_name(field) for field in fields):
        got = ", ".join(map(str, list(fields)[:5])) or "no fields"
        raise DataError(f"{where}: got {got}; {_FORMAT}; take it away")
    if not texts:
        raise DataError(f"{where}: got no text in any section; expected a filing's text; take it away")
    name = facts.get("filename") or stem
    if not name:
        raise DataError(f"{where}: filename: got none; expected the filing's name; fill it in")
    return Filing(name, tuple(Section(name, texts[name]) for name in SECTIONS if name in texts), facts)

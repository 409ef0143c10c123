"""Filings: one annual report, its sections in a fixed order and what its source says about it.

Knows nothing about files, sentences or tasks.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

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

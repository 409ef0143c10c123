"""Split: which filings are for finding the heads, and which for testing them.

By a hash of seed and filing, so that all rows of a filing fall on the same side, and each filing stays on its
side when others come, go, or are filtered.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from harness.retrieval.rows import Row, SplitName


@dataclass(frozen=True, slots=True)
class Split:
    """Rows by side, each in the order in which they came."""

    identification: tuple[Row, ...]
    evaluation: tuple[Row, ...]


def filing_hash(filename: str, seed: int) -> str:
    """SHA-256 of seed and filing, in hex: what a ranking file keeps of the filings that it was made from."""
    return hashlib.sha256(f"{seed}\0{filename}".encode()).hexdigest()


def split_of(row: Row, seed: int) -> SplitName:
    """The row's own `split`; without one, identification for the lowest 80 % of filing hashes."""
    if row.split is not None:
        return row.split
    return "identification" if int(filing_hash(row.filename, seed), 16) * 5 < 4 * 2**256 else "evaluation"


def split_rows(rows: Iterable[Row], *, seed: int) -> Split:
    """Every row on its side (`split_of`)."""
    sides: dict[SplitName, list[Row]] = {"identification": [], "evaluation": []}
    for row in rows:
        sides[split_of(row, seed)].append(row)
    return Split(tuple(sides["identification"]), tuple(sides["evaluation"]))

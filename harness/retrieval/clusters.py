"""Clusters: filings that are not independent of each other, because their text is the same.

A table's `cluster` column says which filings belong together (a company's). Filings without one are independent only
where their texts differ: one document under two names is one cluster. Knows nothing of near-duplicates
(`harness.retrieval.traces` sees those).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from harness.retrieval.rows import Row


def text_hash(text: str) -> str:
    """64 bits of the text's SHA-256, in hex; spaces and line breaks aside."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16]


def join_equal_texts(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The same rows; filings of equal haystacks that name no cluster get one, called by the first of their names.

    A filing's cluster of its own choice is left as it is, whatever its text: where all needles stand in one document,
    such a column says what is independent.
    """
    table = tuple(rows)
    parent: dict[str, str] = {}

    def root(filing: str) -> str:
        while parent[filing] != filing:
            filing = parent[filing]
        return filing

    first_with: dict[str, str] = {}
    hashes: dict[str, str] = {}  # a filing's rows mostly share one text
    for row in table:
        if row.cluster is not None:
            continue
        parent.setdefault(row.filename, row.filename)
        if row.haystack_text not in hashes:
            hashes[row.haystack_text] = text_hash(row.haystack_text)
        other = first_with.setdefault(hashes[row.haystack_text], row.filename)
        low, high = sorted((root(other), root(row.filename)))
        parent[high] = low
    joined = {root(filing) for filing in parent if root(filing) != filing}
    return tuple(
        replace(row, cluster=root(row.filename)) if row.cluster is None and root(row.filename) in joined else row
        for row in table
    )

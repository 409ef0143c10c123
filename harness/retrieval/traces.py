"""Traces: which filings are one and the same, or nearly, and what is kept of them so that they are known again.

A table's `cluster` column says which filings belong together (a company's). Filings without one are independent only
where their texts differ: one document under two names is one cluster.

Of each text and of each needle a hash is kept, of each cluster a hash of its name, and of each filing a signature of
its runs of five words: the part of equal places of two signatures estimates the part of all runs that two filings have
in common (Jaccard). Signatures are min-wise hashes (A. Broder 1997, On the resemblance and containment of documents,
Proceedings of Compression and Complexity of Sequences, 21-29) of which the lowest byte is kept (P. Li and A. C. Koenig
2010, b-bit minwise hashing, WWW, 671-680).

Heads that are ranked on prompts of 700 tokens need not be the best at 7,000, and those ranked with the needle in the
middle need not be the best with the needle at the end. So the extent of prompts is kept as well: how long they are, and
where in them needles stand.

Knows nothing of heads, models or files. What a signature is never changes: files hold them.
"""

import hashlib
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import TYPE_CHECKING, Literal

from harness.retrieval.rows import Row, filing_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def text_hash(text: str) -> str:
    """64 bits of the text's SHA-256, in hex; spaces and line breaks aside."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16]


def joined(marks: Sequence[Iterable[Hashable]]) -> list[int]:
    """For each thing the number of the first that it belongs with, by a mark that both have or through others."""
    parent = list(range(len(marks)))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    first_with: dict[Hashable, int] = {}
    for index, of_thing in enumerate(marks):
        for mark in of_thing:
            low, high = sorted((root(first_with.setdefault(mark, index)), root(index)))
            parent[high] = low
    return [root(index) for index in range(len(marks))]


def join_equal_texts(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The same rows; filings of equal haystacks that name no cluster get one, called by the first of their names.

    A filing's cluster of its own choice is left as it is, whatever its text: where all needles stand in one document,
    such a column says what is independent.
    """
    table = tuple(rows)
    texts: dict[str, set[str]] = {}
    hashes: dict[str, str] = {}  # a filing's rows mostly share one text
    for row in table:
        if row.cluster is None:
            if row.haystack_text not in hashes:
                hashes[row.haystack_text] = text_hash(row.haystack_text)
            texts.setdefault(row.filename, set()).add(hashes[row.haystack_text])
    filings = sorted(texts)
    first = dict(zip(filings, (filings[index] for index in joined([texts[name] for name in filings])), strict=True))
    several = {name for filing, name in first.items() if filing != name}
    return tuple(
        replace(row, cluster=first[row.filename]) if row.cluster is None and first[row.filename] in several else row
        for row in table
    )


Seen = Literal["name", "cluster", "text", "likeness"]
"""By what a filing was known again: its own name, its cluster's, an equal text, or one half of whose runs it has."""

RUN = 5
"""Words of a run."""
PLACES = 64
"""Of a signature: the standard error of a likeness of 0.5 is 0.06."""
ALIKE = 0.5
"""The likeness from which a filing counts as another one altered. Annual reports of different companies reach 0.01,
those of one company in different years 0.04 to 0.8: whether these are independent a `cluster` column says."""


@dataclass(frozen=True, slots=True)
class Traces:
    """Hashes, in hex, of clusters' names, of haystacks and of needles; and a signature for each filing."""

    clusters: frozenset[str]
    haystacks: frozenset[str]
    needles: frozenset[str]
    signatures: frozenset[bytes]


def traces_of(rows: Iterable[Row], seed: int) -> Traces:
    """What is kept of these rows; clusters' names are hashed with the split's seed."""
    table = tuple(rows)
    return Traces(
        clusters=frozenset(filing_hash(name, seed) for name in {row.cluster_name for row in table}),
        haystacks=frozenset(text_hash(text) for text in {row.haystack_text for row in table}),
        needles=frozenset(text_hash(text) for text in {row.needle_sentence for row in table}),
        signatures=frozenset(signature(texts) for texts in _texts(table).values()),
    )


def seen_again(rows: Iterable[Row], traces: Traces, seed: int) -> Mapping[str, Seen]:
    """The filings among these rows that the traces hold, and by what each was known.

    A row of equal haystack and needle is known whatever its filing's name and cluster. Where the haystack alone is
    equal, or alike, it is known unless the row names a cluster of its own: then that says what is independent.
    """
    table = tuple(rows)
    found: dict[str, Seen] = {}
    for row in table:
        if row.filename in found:
            continue
        if filing_hash(row.cluster_name, seed) in traces.clusters:
            found[row.filename] = "cluster"
        elif text_hash(row.haystack_text) in traces.haystacks and (
            row.cluster is None or text_hash(row.needle_sentence) in traces.needles
        ):
            found[row.filename] = "text"
    others = _texts(row for row in table if row.filename not in found and row.cluster is None)
    for filing, texts in others.items():
        own = signature(texts)
        if any(likeness(own, other) >= ALIKE for other in traces.signatures):
            found[filing] = "likeness"
    return found


def seen_words(counts: Mapping[Seen, int]) -> str:
    """By what so many filings were known again, other than by their names: `, 2 by an equal text`; nothing for none."""
    words: Mapping[Seen, str] = {
        "cluster": "by their cluster",
        "text": "by an equal text",
        "likeness": "by a text that is half the same",
    }
    return "".join(f", {counts[how]} {said}" for how, said in words.items() if counts.get(how))


def signature(texts: Sequence[str]) -> bytes:
    """`PLACES` bytes: of each of as many hashes the lowest byte of its least value over all runs of words."""
    import numpy as np

    runs = np.unique(np.concatenate([_runs(text) for text in texts]))
    least = [(runs * multiplier >> np.uint64(32)).min() for multiplier in _odd_numbers("place", PLACES)]
    return bytes(int(value) & 0xFF for value in least)


def likeness(first: bytes, second: bytes) -> float:
    """An estimate of the part of all runs of words that both have; equal bytes by chance are taken off."""
    equal = sum(a == b for a, b in zip(first, second, strict=True)) / PLACES
    return max(0.0, (equal - 1 / 256) / (1 - 1 / 256))


def _runs(text: str) -> "NDArray[np.uint64]":
    """A 64-bit hash of each run of `RUN` words; of a shorter text, of all its words."""
    import numpy as np

    words = re.findall(r"\w+", text.casefold()) or [""]
    known = {word: _hash(word) for word in set(words)}
    hashes = np.array([known[word] for word in words], dtype=np.uint64)
    n_runs = max(1, len(words) - RUN + 1)
    mixed = np.zeros(n_runs, dtype=np.uint64)
    for place, multiplier in enumerate(_odd_numbers("word", min(RUN, len(words)))):
        mixed += hashes[place : place + n_runs] * multiplier
    return mixed ^ (mixed >> np.uint64(29))


def _odd_numbers(name: str, n: int) -> "NDArray[np.uint64]":
    """The same numbers in every version of numpy: (n,)."""
    import numpy as np

    return np.array([_hash(f"{name} {i}") | 1 for i in range(n)], dtype=np.uint64)


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())


def _texts(rows: Iterable[Row]) -> dict[str, list[str]]:
    """The different haystacks of each filing."""
    texts: dict[str, dict[str, None]] = {}
    for row in rows:
        texts.setdefault(row.filename, {})[row.haystack_text] = None
    return {filing: list(of_filing) for filing, of_filing in texts.items()}


LENGTHS_APART = 1.5
"""How many times as long the one median must be as the other to be plainly another length. A convention, as is the
next one."""
DEPTHS_APART = 0.35
"""By how much one of the three quartiles of depth must differ to be plainly other depths: needles anywhere and needles
all in the middle, whose quartiles differ by about 0.25, are not."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Of some prompts: the median number of tokens, and the quartiles of the needle's depth, from 0 to 1."""

    tokens: float
    depths: tuple[float, float, float]


def extent_of(prompts: Iterable[tuple[int, float]]) -> Extent | None:
    """The extent of prompts, given as tokens and needle's depth, each of which counts once; `None` of none."""
    lengths, depths = [], []
    for n_tokens, depth in prompts:
        lengths.append(n_tokens)
        depths.append(depth)
    if not lengths:
        return None
    low, middle, high = quantiles(depths, n=4, method="inclusive") if len(depths) > 1 else depths * 3
    return Extent(float(median(lengths)), (low, middle, high))


def apart(ranked: Extent | None, evaluated: Extent | None) -> Iterator[str]:
    """In words, how the evaluated prompts plainly differ from a ranking's; nothing where either is unknown."""
    if ranked is None or evaluated is None:
        return
    short, long = sorted((ranked.tokens, evaluated.tokens))
    if long >= LENGTHS_APART * short:
        yield (
            f"the ranking was made on prompts of {ranked.tokens:,.0f} tokens (median), and those evaluated have "
            f"{evaluated.tokens:,.0f}: other heads may be the best at this length"
        )
    if max(abs(a - b) for a, b in zip(ranked.depths, evaluated.depths, strict=True)) > DEPTHS_APART:
        yield (
            f"the ranking was made with needles at depths of {_quartiles(ranked)} (quartiles), and those evaluated "
            f"stand at {_quartiles(evaluated)}: other heads may be the best there"
        )


def _quartiles(extent: Extent) -> str:
    low, middle, high = (f"{depth:.2f}" for depth in extent.depths)
    return low if low == high else f"{low}, {middle} and {high}"

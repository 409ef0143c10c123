"""Split: by filing, stable, four fifths to identification."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.retrieval.rows import Row, SplitName
from harness.retrieval.split import filing_hash, split_of, split_rows


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

"""The 62 real 10-Ks that the committed list and manifests are of; skipped where they are not at hand."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from harness.retrieval.filings.building import Built, Length, build_rows, clusters_of, draw
from harness.retrieval.filings.filing import Filing, read_filings
from harness.retrieval.filings.manifest import rows_of_manifest
from harness.retrieval.placement import recurring_rows
from harness.retrieval.rows import check_rows
from harness.retrieval.tasks import EDGAR_TASKS

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "reports" / "smollm2"
ARCHIVE = ROOT.parent / "shared" / "reference" / "filings" / "10-K.zip"

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason=f"no real filings at {ARCHIVE}")


@pytest.fixture(scope="module")
def filings() -> tuple[Filing, ...]:
    return read_filings(ARCHIVE)


@pytest.fixture(scope="module")
def built(filings: tuple[Filing, ...]) -> Built:
    """With 4,000 words a haystack: more than the manifests' prompts hold, less than the filings."""
    return build_rows(filings, EDGAR_TASKS, length=Length(4000, lambda row: len(row.haystack_text.split())))


def test_companies(filings: tuple[Filing, ...]) -> None:
    """31 numbers of companies, of which two filed one report together."""
    clusters = clusters_of(filings)
    assert len(filings) == 62
    assert len({filing.cik for filing in filings}) == 31
    assert len(set(clusters.values())) == 30
    assert Counter(clusters.values()).most_common(1) == [("1002517", 9)]


def test_rows_by_task(built: Built) -> None:
    """As in the table of `reports/filings/README.md`."""
    assert Counter(row.task for row in built.rows) == {
        **{"registrant_name": 35, "headquarters_city": 23, "headquarters_state": 23},
        **{"incorporation_state": 12, "incorporation_year": 16, "ceo_lastname": 36},
        **{"employees_count_total": 27, "employees_count_full_time": 23, "holder_record_amount": 38},
    }


def test_every_row_is_sound_and_its_haystack_without_its_value(filings: tuple[Filing, ...]) -> None:
    """Of the rows of the manifest: the whole filings hold half a million characters each."""
    rows = rows_of_manifest(MANIFESTS / "manifest-2500.json", filings)
    assert check_rows(rows, EDGAR_TASKS, source="built", strict=True).rows == rows
    assert recurring_rows(rows, EDGAR_TASKS) == ()


def test_what_a_crude_script_took_is_rejected(built: Built) -> None:
    """Subsidiaries, "He", full-time staff for all, another company's chief executive, a state that was left."""
    taken = {(row.filename.split("_")[0], row.task, row.needle_value) for row in built.rows}
    for value in ("282", "248", "245,000", "43,000"):
        assert not any(got == value for _, task, got in taken if task.startswith("employees"))
    assert not any(
        value in ("He", "She", "Rutledge", "Adams", "Farley") for _, task, value in taken if task == "ceo_lastname"
    )
    assert ("1003932", "incorporation_state", "Texas") not in taken


def test_the_judged_list_is_what_its_seed_draws(built: Built) -> None:
    with (ROOT / "reports" / "filings" / "judged.csv").open(encoding="utf-8", newline="") as file:
        judged = list(csv.DictReader(file))
    drawn = draw(built.recipes, 60, seed=3)
    assert [(row["task"], row["filing"], row["section"], int(row["start"]), row["value"]) for row in judged] == [
        (each.task, each.filing, each.needle.section, each.needle.start, each.value) for each in drawn
    ]
    assert sum(row["right"] == "yes" for row in judged) >= 57
    assert all(row["reason"] for row in judged)


@pytest.mark.parametrize("n_tokens", [700, 2500])
def test_the_manifests_give_their_rows(n_tokens: int, filings: tuple[Filing, ...], built: Built) -> None:
    rows = rows_of_manifest(MANIFESTS / f"manifest-{n_tokens}.json", filings)
    assert {row.id for row in rows} == {row.id for row in built.rows}
    shorter = {row.id: row for row in rows}
    for row in built.rows:
        assert row.haystack_text.startswith(shorter[row.id].haystack_text)
        assert row.needle_sentence == shorter[row.id].needle_sentence


def test_in_place_every_needle_stands_once(filings: tuple[Filing, ...]) -> None:
    rows = build_rows(filings[:8], EDGAR_TASKS, in_place=True).rows
    assert check_rows(rows, EDGAR_TASKS, source="built", strict=True).rows == rows

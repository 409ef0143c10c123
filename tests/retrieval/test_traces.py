"""Filings of one text belong together, and are known again."""

import itertools
import json
import random
import re
import zipfile
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.demo.filings import demo_rows
from harness.retrieval.rows import Row, filing_hash, split_of, split_rows
from harness.retrieval.traces import (
    PLACES,
    Extent,
    apart,
    extent_of,
    join_equal_texts,
    likeness,
    seen_again,
    seen_words,
    signature,
    text_hash,
    traces_of,
)

TASKS = ("ceo_lastname", "incorporation_year")


def row(filing: str, text: str, task: str = "ceo_lastname", cluster: str | None = None) -> Row:
    return Row(filing, task, "Mr. Smith leads.", "Smith", text, cluster=cluster)


def test_filings_of_equal_text_are_one_cluster() -> None:
    rows = (row("c", "It  grew.\n"), row("b", "It grew."), row("d", "It shrank."))
    assert [each.cluster for each in join_equal_texts(rows)] == ["b", "b", None]
    assert [each.cluster_name for each in join_equal_texts(rows)] == ["b", "b", "d"]


def test_a_text_in_common_joins_what_each_is_joined_with() -> None:
    """b has one text of a's and one of c's."""
    rows = (row("a", "1."), row("b", "1."), row("b", "2.", TASKS[1]), row("c", "2."), row("d", "3."))
    assert [each.cluster for each in join_equal_texts(rows)] == ["a", "a", "a", "a", None]


def test_a_cluster_that_is_named_is_kept() -> None:
    rows = (row("a", "1.", cluster="x"), row("b", "1.", cluster="y"), row("c", "1."))
    assert join_equal_texts(rows) == rows


def test_two_documents_under_eleven_names_each() -> None:
    rows = [row(f"{text}{number}", text, task) for text in ("One.", "Two.") for number in range(11) for task in TASKS]
    joined = join_equal_texts(rows)
    assert {each.cluster_name for each in joined} == {"One.0", "Two.0"}
    assert [replace(each, cluster=None) for each in joined] == rows


def test_a_cluster_falls_on_one_side() -> None:
    rows = [row(f"{number}.txt", f"{number}", cluster=f"company {number % 40}") for number in range(400)]
    split = split_rows(rows, seed=3)
    found, tested = ({each.cluster for each in side} for side in (split.identification, split.evaluation))
    assert found
    assert tested
    assert not found & tested


def test_a_larger_share_holds_all_that_a_smaller_one_does() -> None:
    rows = [row(f"{number}.txt", str(number)) for number in range(300)]
    sides = [split_rows(rows, seed=1, share=share).identification for share in (0.0, 0.2, 0.5, 0.8, 1.0)]
    assert not sides[0]
    assert sides[-1] == tuple(rows)
    for small, large in pairwise(sides):
        assert set(small) < set(large)
    assert 0.4 < len(sides[2]) / 300 < 0.6
    assert [split_of(each, 1) for each in rows] == [split_of(each, 1, 0.8) for each in rows]


def test_a_texts_hash_is_its_words() -> None:
    assert text_hash("a b\n c") == text_hash(" a  b c ") != text_hash("ab c")
    assert len(text_hash("")) == 16


ROWS = demo_rows(12)
TRACES = traces_of(ROWS, 5)
FILINGS = Path(__file__).parents[2] / "../shared/reference/filings/10-K.zip"


def renamed(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(replace(row, filename=f"other-{row.filename}") for row in rows)


def runs(text: str) -> set[tuple[str, ...]]:
    """The slow reference: all runs of five words."""
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))}


def jaccard(first: str, second: str) -> float:
    return len(runs(first) & runs(second)) / len(runs(first) | runs(second))


def test_what_is_kept() -> None:
    assert TRACES.clusters == {filing_hash(name, 5) for name in {row.filename for row in ROWS}}
    assert len(TRACES.haystacks) == len({row.haystack_text for row in ROWS})
    assert len(TRACES.needles) == len({row.needle_sentence for row in ROWS})
    assert {len(each) for each in TRACES.signatures} == {PLACES}


def test_renamed_filings_are_known_by_their_text() -> None:
    again = renamed(ROWS)
    assert set(seen_again(again, TRACES, 5).values()) == {"text"}
    assert seen_again(again, TRACES, 5).keys() == {row.filename for row in again}
    assert seen_words(Counter(seen_again(again, TRACES, 5).values())) == ", 12 by an equal text"


def test_other_filings_are_not_known() -> None:
    assert seen_again(demo_rows(40, seed=9), TRACES, 5) == {}
    assert seen_words({}) == seen_words({"name": 3}) == ""


def test_a_filing_of_a_cluster_that_made_the_ranking() -> None:
    traces = traces_of([replace(row, cluster="Acme") for row in ROWS[:9]], 5)
    other = replace(ROWS[-1], cluster="Acme")
    assert seen_again([other], traces, 5) == {other.filename: "cluster"}
    assert seen_again([other], traces, 6) == {}, "clusters are hashed with the seed of the split"


def test_where_a_table_names_clusters_one_document_may_hold_all_needles() -> None:
    """Of one essay for all rows: another needle is another row, the same needle the same one."""
    first = replace(ROWS[0], cluster="1")
    other = replace(first, filename="2", cluster="2", needle_sentence="It was incorporated in Ohio.")
    traces = traces_of([first], 0)
    assert seen_again([other], traces, 0) == {}
    assert seen_again([replace(other, needle_sentence=first.needle_sentence)], traces, 0) == {"2": "text"}
    assert seen_again([replace(other, cluster=None)], traces, 0) == {"2": "text"}


def test_a_filing_a_little_altered_is_known() -> None:
    """Every thirtieth word another: of the runs of five 0.72 are left in common."""
    rng = random.Random(1)
    altered = []
    for row in ROWS:
        words = row.haystack_text.split()
        words[::30] = [f"word{rng.random()}" for _ in words[::30]]
        altered.append(replace(row, filename=f"other-{row.filename}", haystack_text=" ".join(words)))
    found = seen_again(altered, TRACES, 5)
    assert found == dict.fromkeys({row.filename for row in altered}, "likeness")


def test_likeness_is_the_part_of_runs_in_common() -> None:
    """Against all runs, counted: within four standard errors of 64 places."""
    texts = [" ".join(row.haystack_text for row in ROWS[:n]) for n in range(1, 9)]
    for first, second in itertools.combinations(texts, 2):
        exact = jaccard(first, second)
        assert likeness(signature([first]), signature([second])) == pytest.approx(exact, abs=0.25)
    assert likeness(signature(texts[:1]), signature(texts[:1])) == 1.0


def test_a_signature_never_changes() -> None:
    """Files hold signatures: another way to make them would know nothing again."""
    found = signature(["The company was founded in Ohio in 1984 by two brothers."]).hex()
    assert found[:64] == "53f8c48cc0f4f30241e20b290fc0cad93535cff44064b08da2e1b9f85a19cd22"
    assert found[64:] == "f872ed664a15fbf328f13bae10dc4b941032e35ecfff6c85ab45eb4d7e082c2f"
    assert signature([""]) != signature(["one"])


@pytest.mark.skipif(not FILINGS.exists(), reason="the real filings are not here")
def test_real_filings_of_other_companies_are_not_alike() -> None:
    """One of 62 was filed by two companies; of all other pairs none is near."""
    signatures: dict[str, bytes] = {}
    with zipfile.ZipFile(FILINGS) as archive:
        for name in archive.namelist():
            text = json.loads(archive.read(name))["item_1"] if name.endswith(".json") else ""
            if len(text) > 2000:
                signatures[Path(name).name] = signature([text])
    alike = {
        (first, second): likeness(signatures[first], signatures[second])
        for first, second in itertools.combinations(sorted(signatures), 2)
        if first.split("_")[0] != second.split("_")[0]
    }
    twins = [pair for pair, part in alike.items() if part == 1.0]
    assert [tuple(name.split("_")[0] for name in pair) for pair in twins] == [("1000564", "1000654")]
    assert max(part for pair, part in alike.items() if pair not in twins) < 0.1


MIDDLE = Extent(700.0, (0.25, 0.5, 0.75))


def test_medians_and_quartiles_by_hand() -> None:
    found = extent_of(((300, 0.0), (100, 1.0), (200, 0.5), (900, 0.25), (201, 0.75)))
    assert found == Extent(201.0, (0.25, 0.5, 0.75))
    assert extent_of([(7, 0.1)]) == Extent(7.0, (0.1, 0.1, 0.1))
    assert extent_of([]) is None


@pytest.mark.parametrize(
    ("evaluated", "said"),
    [
        (MIDDLE, []),
        (None, []),
        (Extent(1_040.0, (0.25, 0.5, 0.75)), []),
        (Extent(470.0, (0.5, 0.5, 0.5)), []),  # all in the middle, where the ranking's are too
        (Extent(700.0, (0.58, 0.58, 0.58)), []),
        (
            Extent(2_500.0, (0.25, 0.5, 0.75)),
            [
                "the ranking was made on prompts of 700 tokens (median), and those evaluated have 2,500: other heads "
                "may be the best at this length"
            ],
        ),
        (
            Extent(700.0, (1.0, 1.0, 1.0)),
            [
                "the ranking was made with needles at depths of 0.25, 0.50 and 0.75 (quartiles), and those evaluated "
                "stand at 1.00: other heads may be the best there"
            ],
        ),
    ],
)
def test_what_is_plainly_different_is_said(evaluated: Extent | None, said: list[str]) -> None:
    assert list(apart(MIDDLE, evaluated)) == said
    assert list(apart(None, evaluated)) == [], "a file that does not say"


def test_both_differences_are_said_whichever_is_longer() -> None:
    assert len(list(apart(Extent(7_000.0, (0.0, 0.0, 0.1)), MIDDLE))) == 2

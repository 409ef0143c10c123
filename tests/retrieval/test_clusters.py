"""Clusters: filings of one text are one, unless a table says what is independent."""

from dataclasses import replace
from itertools import pairwise

from harness.retrieval.clusters import join_equal_texts, text_hash
from harness.retrieval.rows import Row, split_of, split_rows

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

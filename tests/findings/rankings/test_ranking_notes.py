"""Notes on rankings that are cut, tied or contradict themselves, and none on one that is sound."""

from dataclasses import replace

from harness.experiment.heads import Head
from harness.experiment.rankings import EVERY_TASK, HeadRanking, ScoredHead, SharedHead, rank
from harness.findings.rankings.ranking_notes import ranking_notes

# 2 layers x 3 heads, two tasks
CITY = ((0.1, 0.6, 0.0), (0.5, 0.3, 0.2))
YEAR = ((0.2, 0.4, 0.9), (0.5, 0.1, 0.2))
UNKNOWN = "split unknown: no hashes of the filings that made the ranking, so their rows cannot be told from others"


def listed(*heads: tuple[int, int, float]) -> tuple[ScoredHead, ...]:
    return tuple(ScoredHead(Head(layer, head), score) for layer, head, score in heads)


def test_lists_that_are_cut() -> None:
    ranking = HeadRanking("cut.json", {"city": listed((0, 1, 0.6)), "year": listed((0, 2, 0.9))}, top_k=1)
    cut, samples, split = ranking_notes(ranking)
    assert cut.endswith("a head missing from a task's list counts with that list's lowest score")
    assert samples == "samples unknown: every task weighs the same in the global heads"
    assert split == UNKNOWN
    trusted = replace(ranking, listed_global=listed((1, 1, 0.4)))
    assert ranking_notes(trusted)[1] == ("global heads as the file lists them: its cut lists cannot give them exactly")


def test_one_list_for_every_task() -> None:
    ranking = HeadRanking("flat.json", {EVERY_TASK: listed((0, 1, 0.6))}, top_k=1, every_task=True)
    assert ranking_notes(ranking) == ("one list of heads serves every task", UNKNOWN)


def test_notes_say_where_a_file_disagrees_with_its_own_scores() -> None:
    ranking = rank({"city": CITY, "year": YEAR}, top_k=3, samples={"city": 1, "year": 1})
    agreeing = replace(ranking, listed_shared=ranking.shared(), filing_hashes=frozenset({"ab"}))
    assert ranking_notes(agreeing) == ()
    swapped = replace(agreeing, listed_shared=ranking.shared()[::-1])
    assert "in another order" in ranking_notes(swapped)[0]
    assert "place 1: L1H0, recomputed L0H1" in ranking_notes(swapped)[0]
    wrong = replace(agreeing, listed_shared=(SharedHead(Head(1, 2), 2, 0.5), *ranking.shared()[1:]))
    assert ranking_notes(wrong) == (
        "the file lists 2 shared heads, and 2 follow from its scores; only listed: L1H2; not listed: L0H1; the "
        "recomputed ones are used",
    )
    strange = replace(agreeing, listed_global=listed((1, 2, 0.5)))
    assert "1 global head," in ranking_notes(strange)[0]
    assert any(note.startswith("split unknown") for note in ranking_notes(ranking))


def test_candidates_chosen_by_place_are_told() -> None:
    """Three heads of city have score 0, and one of them is a candidate; the two of year both are."""
    grids = {"city": [[0.5, 0.0], [0.0, 0.0]], "year": [[0.5, 0.25], [0.0, 0.0]]}
    (note, *_) = ranking_notes(rank(grids, top_k=2, samples={"city": 1, "year": 1}))
    assert note == "the last candidates tie with heads left out, chosen by layer and head: city (1 of 3 with score 0)"
    assert not any("tie" in note for note in ranking_notes(rank(grids, top_k=1)))
    assert not any("tie" in note for note in ranking_notes(rank(grids, top_k=4)))

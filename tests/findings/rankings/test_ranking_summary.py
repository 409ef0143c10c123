"""A ranking in a few lines: hand-made rankings, every line.

Notes on rankings that are cut, tied or contradict themselves, and none on one that is sound.
"""

from dataclasses import replace

from harness.experiment.heads import Head, ModelShape
from harness.experiment.rankings import EVERY_TASK, HeadRanking, ScoredHead, SharedHead, rank
from harness.experiment.stability import ListStability, Stability
from harness.findings.rankings.ranking_summary import ranking_lines, ranking_notes, unsettled
from harness.retrieval.traces import Traces

SCORES = {"city": [[0.5, 0.25], [0.125, 0.0]], "year": [[0.5, 0.0], [0.0, 0.25]]}
FULL = replace(
    rank(
        SCORES,
        top_k=1,
        samples={"city": 12, "year": 7},
        method="summed_attention",
        model=ModelShape(2, 2, head_dim=8, id="tiny"),
    ),
    source="heads.json",
    filing_hashes=frozenset({"ab", "cd"}),
    traces=Traces(frozenset(), frozenset(), frozenset(), frozenset()),
    split_seed=5,
    split_half={"city": 0.98765},
)


def listed(*heads: tuple[int, int, float]) -> tuple[ScoredHead, ...]:
    return tuple(ScoredHead(Head(layer, head), score) for layer, head, score in heads)


def test_every_line_of_a_full_ranking() -> None:
    assert list(ranking_lines(FULL)) == [
        "heads.json: 2 tasks x 1 heads, 1 shared",
        "model: tiny, 2 layers of 2 heads of width 8",
        "method: summed_attention",
        "made from: 2 filings, split seed 5",
        "task  rows  heads  halves  best heads",
        "city    12      1   0.988  L0H0 0.5",
        "year     7      1       -  L0H0 0.5",
        "shared heads: 1: L0H0",
        "global heads: 1: L0H0",
        "control pool: 3 of 4 heads at top-k 1: enough for random controls up to k = 1",
    ]


def found(kept: int, **parts: float) -> ListStability:
    return ListStability({Head.parse(head): (part,) for head, part in parts.items()}, (kept,))


def test_how_far_a_ranking_rests_on_its_filings_and_chance() -> None:
    """City's head scores hardly more than one that looks everywhere alike."""
    stability = Stability(
        5, 1000, {"city": found(0, L0H0=0.55, L1H1=0.45)}, found(1, L0H0=1.0), found(1, L0H0=0.9, L0H1=0.1)
    )
    lines = list(ranking_lines(replace(FULL, chance={"city": 0.3, "year": 0.01}, stability=stability)))
    assert lines[4:11] == [
        "task  rows  heads  halves  again  kept  chance  best heads",
        "city    12      1   0.988    55%     0     0.3  L0H0 0.5",
        "year     7      1       -      -     -    0.01  L0H0 0.5",
        "again: the part of the heads that other filings are expected to name too; kept: how many stay, at least, "
        "without one filing (5 independent filings)",
        "chance: what a head scores that attends to every token alike",
        "shared heads: 1: L0H0; first 1: 100% again, 1 kept",
        "global heads: 1: L0H0; first 1: 90% again, 1 kept",
    ]
    assert lines[12:] == [
        "note: under 80% of the heads are expected to be named by other filings too: city (55% of 1; without one "
        "filing as few as 0 stay)",
        "note: from fewer than 3 independent filings, so nothing is known of others: year",
        "note: candidates at chance (they score less than 2 times it): city: L0H0",
    ]


def test_a_cut_ranking_says_what_is_unknown() -> None:
    cut = HeadRanking(
        "old.json",
        {"city": listed((0, 0, 0.5), (1, 1, 0.25)), "year": listed((1, 0, 3.0))},
        top_k=2,
    )
    lines = list(ranking_lines(cut))
    assert lines[:6] == [
        "old.json: 2 tasks x 1-2 heads, 0 shared",
        "task  rows  heads  halves  best heads",
        "city     -      2       -  L0H0 0.5  L1H1 0.25",
        "year     -      1       -  L1H0 3",
        "shared heads: 0",
        "global heads: 2: L0H0 L1H0",
    ]
    assert [line.partition(":")[0] for line in lines[6:]] == ["note"] * len(ranking_notes(cut))
    assert "control pool: 1 of 4 heads at top-k 2" in list(ranking_lines(cut, ModelShape(2, 2)))[6]


def test_one_list_for_every_task() -> None:
    flat = HeadRanking("flat.json", {EVERY_TASK: listed((0, 1, 2.0), (0, 0, 1.0))}, top_k=2, every_task=True)
    assert list(ranking_lines(flat, ModelShape(1, 4)))[:4] == [
        "flat.json: one list of 2 heads for every task",
        "task        rows  heads  halves  best heads",
        "every task     -      2       -  L0H1 2  L0H0 1",
        "control pool: 2 of 4 heads at top-k 2: enough for random controls up to k = 1",
    ]


def test_long_lists_are_cut_short() -> None:
    heads = listed(*((0, head, 1.0 / (1 + head)) for head in range(12)))
    many = HeadRanking("many.json", dict.fromkeys(("city", "year"), heads), top_k=12)
    lines = list(ranking_lines(many))
    assert lines[2] == "city     -     12       -  L0H0 1  L0H1 0.5  L0H2 0.333  L0H3 0.25"
    assert lines[4] == "shared heads: 12: L0H0 L0H1 L0H2 L0H3 L0H4 L0H5 L0H6 L0H7 L0H8 L0H9 ..."


def test_a_variant_is_named() -> None:
    assert "method: summed_attention, variant mine" in list(ranking_lines(replace(FULL, variant="mine")))


# 2 layers x 3 heads, two tasks
CITY = ((0.1, 0.6, 0.0), (0.5, 0.3, 0.2))
YEAR = ((0.2, 0.4, 0.9), (0.5, 0.1, 0.2))
UNKNOWN = "split unknown: no hashes of the filings that made the ranking, so their rows cannot be told from others"


def ranking_notes_listed(*heads: tuple[int, int, float]) -> tuple[ScoredHead, ...]:
    return tuple(ScoredHead(Head(layer, head), score) for layer, head, score in heads)


def test_lists_that_are_cut() -> None:
    ranking = HeadRanking(
        "cut.json", {"city": ranking_notes_listed((0, 1, 0.6)), "year": ranking_notes_listed((0, 2, 0.9))}, top_k=1
    )
    cut, samples, split = ranking_notes(ranking)
    assert cut.endswith("a head missing from a task's list counts with that list's lowest score")
    assert samples == "samples unknown: every task weighs the same in the global heads"
    assert split == UNKNOWN
    trusted = replace(ranking, listed_global=ranking_notes_listed((1, 1, 0.4)))
    assert ranking_notes(trusted)[1] == ("global heads as the file lists them: its cut lists cannot give them exactly")


def test_one_list_for_every_task_of_ranking_notes() -> None:
    ranking = HeadRanking("flat.json", {EVERY_TASK: ranking_notes_listed((0, 1, 0.6))}, top_k=1, every_task=True)
    assert ranking_notes(ranking) == ("one list of heads serves every task", UNKNOWN)


def test_notes_say_where_a_file_disagrees_with_its_own_scores() -> None:
    ranking = rank({"city": CITY, "year": YEAR}, top_k=3, samples={"city": 1, "year": 1})
    known = replace(ranking, filing_hashes=frozenset({"ab"}), traces=FULL.traces)
    agreeing = replace(known, listed_shared=ranking.shared())
    assert ranking_notes(agreeing) == ()
    assert ranking_notes(replace(agreeing, traces=None)) == (
        "filings that made the ranking are known by their names alone: under other names they are not seen",
    )
    swapped = replace(agreeing, listed_shared=ranking.shared()[::-1])
    assert "in another order" in ranking_notes(swapped)[0]
    doubled = replace(agreeing, listed_shared=(*ranking.shared(), ranking.shared()[0]))
    assert ranking_notes(doubled)[0].startswith("the file lists ")
    assert "place 1: L1H0, recomputed L0H1" in ranking_notes(swapped)[0]
    wrong = replace(agreeing, listed_shared=(SharedHead(Head(1, 2), 2, 0.5), *ranking.shared()[1:]))
    assert ranking_notes(wrong) == (
        "the file lists 2 shared heads, and 2 follow from its scores; only listed: L1H2; not listed: L0H1; the "
        "recomputed ones are used",
    )
    strange = replace(agreeing, listed_global=ranking_notes_listed((1, 2, 0.5)))
    assert "1 global head," in ranking_notes(strange)[0]
    assert any(note.startswith("split unknown") for note in ranking_notes(ranking))


def test_candidates_chosen_by_place_are_told() -> None:
    """Three heads of city have score 0, and one of them is a candidate; the two of year both are."""
    grids = {"city": [[0.5, 0.0], [0.0, 0.0]], "year": [[0.5, 0.25], [0.0, 0.0]]}
    (note, *_) = ranking_notes(rank(grids, top_k=2, samples={"city": 1, "year": 1}))
    assert note == "the last candidates tie with heads left out, chosen by layer and head: city (1 of 3 with score 0)"
    assert not any("tie" in note for note in ranking_notes(rank(grids, top_k=1)))
    assert not any("tie" in note for note in ranking_notes(rank(grids, top_k=4)))


FIRST, SECOND = Head(0, 0), Head(0, 1)
HEADS = (FIRST, SECOND)
RANKING = rank({"city": [[0.5, 0.25]], "year": [[0.5, 0.25]]}, top_k=2)


def of(first: float, second: float, kept: int) -> ListStability:
    """At k = 2; the first head alone is sure."""
    return ListStability({FIRST: (1.0, first), SECOND: (0.0, second)}, (1, kept))


def stable(**lists: ListStability) -> Stability:
    tasks = {name: found for name, found in lists.items() if name in ("city", "year")}
    return Stability(5, 1000, tasks, lists.get("shared"), lists.get("everywhere"))


def test_the_mean_over_tasks_and_the_least_of_them() -> None:
    ranking = replace(RANKING, stability=stable(city=of(1.0, 0.9, 2), year=of(0.7, 0.3, 1)))
    assert list(unsettled(ranking, {"city": HEADS, "year": HEADS}, "own")) == [
        "the ranking is not settled: other filings are expected to name 72% of these heads; least of year, 50%; "
        "without one filing as few as 1 of 2 stay; rank on more filings"
    ]
    assert list(unsettled(ranking, {"city": HEADS}, "own")) == []
    assert list(unsettled(ranking, {"city": (FIRST,), "year": (FIRST,)}, "own")) == [], "at k = 1 both are sure"


def test_shared_and_global_heads_have_lists_of_their_own() -> None:
    ranking = replace(RANKING, stability=stable(shared=of(0.9, 0.4, 0), everywhere=of(1.0, 1.0, 2)))
    assert list(unsettled(ranking, {None: HEADS}, "shared")) == [
        "the ranking is not settled: other filings are expected to name 65% of these heads; without one filing as few "
        "as 0 of 2 stay; rank on more filings"
    ]
    assert list(unsettled(ranking, {None: HEADS}, "global")) == []


def test_what_is_unknown_is_not_said() -> None:
    assert list(unsettled(RANKING, {"city": HEADS}, "own")) == []
    assert list(unsettled(replace(RANKING, stability=stable()), {"city": HEADS, None: HEADS}, "own")) == []

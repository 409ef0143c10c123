"""A gate's note on a ranking that other filings would make another, by hand."""

from dataclasses import replace

from harness.experiment.heads import Head
from harness.experiment.rankings import rank
from harness.experiment.stability import ListStability, Stability
from harness.findings.rankings.named_again import unsettled

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

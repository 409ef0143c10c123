"""Correlations and common heads of hand-made rankings, and which cannot be compared."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HeadsError, SettingsError
from harness.experiment.heads import Head, ModelShape
from harness.experiment.rankings import EVERY_TASK, HeadRanking, ScoredHead, rank
from harness.experiment.stability import ListStability, Stability
from harness.findings.rankings.ranking_comparison import (
    ALL_ROWS,
    MethodAreas,
    agreement,
    agreement_lines,
    area_lines,
    method_areas,
)


def ranking(source: str, *, top_k: int = 2, samples: dict[str, int] | None = None, **tasks: list[float]) -> HeadRanking:
    """Of 2 layers of 3 heads; scores layer by layer."""
    grids = {task: [scores[:3], scores[3:]] for task, scores in tasks.items()}
    return replace(rank(grids, top_k=top_k, samples=samples, method=source), source=f"{source}.json")


ONE = ranking("one", city=[6, 5, 4, 3, 2, 1], year=[1, 2, 3, 4, 5, 6], samples={"city": 3, "year": 1})
TWO = ranking("two", top_k=3, city=[5, 6, 4, 3, 2, 1], year=[6, 5, 4, 3, 2, 1])


def test_by_hand() -> None:
    """Over all rows, ONE's mean is 4.75, 4.25, 3.75 ...: its city counts thrice; TWO's tasks count once each."""
    found = agreement(ONE, TWO)
    assert [(each.task, each.common, each.top_k) for each in found] == [
        ("city", 2, 2),
        ("year", 0, 2),
        (ALL_ROWS, 2, 2),
    ]
    correlations = [each.correlation for each in found]
    # all rows: ranks 1 to 6 against 1.5 1.5 3 4 5 6
    assert correlations == pytest.approx([1 - 6 * 2 / 210, -1, math.sqrt(17 / 17.5)])


def test_top_k_may_be_any_that_the_full_scores_hold() -> None:
    assert [found.common for found in agreement(ONE, TWO, top_k=4)] == [4, 2, 4]
    assert [found.common for found in agreement(ONE, TWO, top_k=6)] == [6, 6, 6]
    with pytest.raises(HeadsError, match=r"one\.json: city: 6 heads; expected 7; compare fewer with --top-k"):
        agreement(ONE, TWO, top_k=7)


def test_cut_lists_have_common_heads_but_no_correlation() -> None:
    listed = tuple(ScoredHead(Head(0, head), 9.0 - head) for head in range(3))
    cut = HeadRanking("cut.json", {"year": listed, "city": listed}, top_k=3)
    found = agreement(ONE, cut, top_k=2)
    assert [each.correlation for each in found] == [None] * 3
    assert [each.common for each in found] == [2, 0, 2]
    with pytest.raises(HeadsError, match=r"cut\.json: city: 3 heads; expected 4"):
        agreement(ONE, cut, top_k=4)


def test_equal_scores_have_no_correlation() -> None:
    flat = ranking("flat", city=[0.5] * 6, year=[1, 2, 3, 4, 5, 6])
    city, year, _ = agreement(ONE, flat)
    assert city.correlation is None
    assert year.correlation == pytest.approx(1)


def test_what_cannot_be_compared() -> None:
    other = ranking("other", ceo=[6, 5, 4, 3, 2, 1])
    with pytest.raises(HeadsError, match=r"one\.json, other\.json: no task in common"):
        agreement(ONE, other)
    square = rank({"city": [[1.0, 2.0], [3.0, 4.0]]}, top_k=2)
    for pair in ((ONE, square), (square, ONE)):
        with pytest.raises(HeadsError, match="expected a ranking of this model's heads"):
            agreement(*pair)
    with pytest.raises(HeadsError, match="but the model has 2 layers"):
        agreement(replace(TWO, model=None, mean_scores=None, tasks={"city": (ScoredHead(Head(2, 0), 1.0),)}), ONE)


def test_the_table_of_three() -> None:
    third = ranking("third", ceo=[1, 2, 3, 4, 5, 6], year=[1, 2, 3, 4, 5, 6])
    assert list(agreement_lines([ONE, TWO, replace(third, variant="mine")])) == [
        "1: one.json: one",
        "2: two.json: two",
        "3: third.json: third, variant mine",
        "not in all of them, left out: city, ceo",
        "Spearman's rank correlation over all heads, and how many of the top 2 are common",
        "task              1-2         1-3          2-3",
        "year      -1.000  0/2  1.000  2/2  -1.000  0/2",
        "all rows  -1.000  0/2  1.000  2/2  -1.000  0/2",
    ]
    with pytest.raises(HeadsError, match="no task in common"):
        list(agreement_lines([ONE, ranking("other", ceo=[6, 5, 4, 3, 2, 1])]))


def one_list(source: str, *heads: tuple[int, float]) -> HeadRanking:
    """A published list that serves every task, of heads of layer 0."""
    listed = tuple(ScoredHead(Head(0, head), score) for head, score in heads)
    return HeadRanking(f"{source}.json", {EVERY_TASK: listed}, top_k=len(listed), every_task=True)


def test_a_list_that_serves_every_task() -> None:
    """It stands beside each task; another such list is met once, where no ranking has tasks."""
    flat, other = one_list("flat", (1, 3.0), (2, 2.0), (0, 1.0)), one_list("other", (2, 0.9), (0, 0.5))
    assert [(each.task, each.common, each.correlation) for each in agreement(ONE, flat)] == [
        ("city", 1, None),
        ("year", 0, None),
        (ALL_ROWS, 1, None),
    ]
    assert [(each.task, each.common, each.top_k) for each in agreement(flat, other)] == [(EVERY_TASK, 1, 2)]
    assert list(agreement_lines([flat, other]))[-2:] == ["task           1-2", "every task  -  1/2"]
    assert list(agreement_lines([ONE, flat, other]))[-4:] == [
        "task         1-2     1-3     2-3",
        "city      -  1/2  -  1/2  -  1/2",
        "year      -  0/2  -  0/2  -  1/2",
        "all rows  -  1/2  -  1/2  -  1/2",
    ]
    with pytest.raises(HeadsError, match=r"flat\.json: every task: 3 heads; expected 4; compare fewer"):
        agreement(flat, flat, top_k=4)


def test_a_list_of_all_heads_has_a_correlation() -> None:
    """As of the scores of trials, head by head."""
    whole = HeadRanking(
        "whole.json", {EVERY_TASK: rank({"": [[6.0, 5.0, 4.0], [3.0, 2.0, 1.0]]}, top_k=6).tasks[""]}, 6
    )
    found = agreement(ONE, replace(whole, every_task=True), top_k=2)
    assert [each.correlation for each in found] == pytest.approx([1, -1, 1])


scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=6, max_size=6)


@settings(derandomize=True, deadline=None)
@given(first=scores, second=scores, top_k=st.integers(1, 6))
def test_symmetric_and_perfect_with_itself(first: list[float], second: list[float], top_k: int) -> None:
    one, two = ranking("one", city=first, top_k=top_k), ranking("two", city=second, top_k=top_k)
    for there, back in zip(agreement(one, two), agreement(two, one), strict=True):
        assert (there.task, there.common) == (back.task, back.common)
        assert there.correlation == (None if back.correlation is None else pytest.approx(back.correlation))
    for same in agreement(one, one):
        assert same.common == top_k
        assert same.correlation == (None if len(set(first)) == 1 else pytest.approx(1))


def test_the_shape_is_the_models() -> None:
    assert ONE.model == ModelShape(2, 3)


ROWS = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}


def answers(right: str) -> dict[str, bool]:
    """One letter a row: `1` is right."""
    return dict(zip(ROWS, (letter == "1" for letter in right), strict=True))


DRAWS = [{1: answers("1111"), 3: answers("1111")}, {1: answers("1111"), 3: answers("0111")}]
METHODS = {"mild": {1: answers("1111"), 3: answers("0110")}, "harsh": {1: answers("0111"), 3: answers("0000")}}


def listed(*heads: Head, again: float | None = None) -> HeadRanking:
    """Without `again` a list for every task, of which nothing more is known."""
    scored = tuple(ScoredHead(head, 1.0 - i) for i, head in enumerate(heads))
    if again is None:
        return HeadRanking("r", {EVERY_TASK: scored}, 3, every_task=True)
    of_task = ListStability({heads[0]: (1.0, again, again)}, (1, 1, 1))
    return HeadRanking("r", {"t": scored}, 3, stability=Stability(3, 10, {"t": of_task}, None, None))


RANKINGS = {
    "mild": listed(Head(0, 0), Head(0, 1), Head(0, 2), again=0.75),
    "harsh": listed(Head(0, 0), Head(1, 1), Head(0, 2)),
}


def found() -> MethodAreas:
    return method_areas(ROWS, answers("1111"), METHODS, DRAWS, RANKINGS, ("t",))


def test_areas_by_hand() -> None:
    """By trapezoids from 0 the gap at 1 counts (3 - 0) / 2 / 3 = 1/2, that at 3 (3 - 1) / 2 / 3 = 1/3.

    Random heads are right at 3 in 7/8. Harsh: gaps 1/4 and 7/8; mild: 0 and 3/8.
    """
    areas = found()
    assert (areas.n, areas.clusters, areas.k, areas.baseline) == (4, 2, 3, 1.0)
    assert areas.random == {1: (1.0, 1.0), 3: (0.75, 1.0)}
    harsh, mild = areas.methods
    assert (harsh.name, mild.name) == ("harsh", "mild")
    assert harsh.area == pytest.approx(1 / 4 / 2 + 7 / 8 / 3)
    assert mild.area == pytest.approx(3 / 8 / 3)
    assert harsh.accuracies == {1: 0.75, 3: 0.0}
    assert (harsh.behind, harsh.again) == (None, None)
    assert mild.again == pytest.approx(0.25)
    assert mild.behind == pytest.approx(1 / 4 / 2 + 1 / 2 / 3)
    assert areas.common == (("harsh", "mild", 2.0),)


def test_intervals_hold_for_other_clusters_and_draws() -> None:
    """Differences of the two methods are 1/2, 1/3, 1/3, 0 a row: sums 5/6 and 1/3 of clusters, mean 7/24.

    CR1: 2 x 2 x (1/4)^2 / 16; one degree of freedom. A draw's own area bears on a method's interval.
    """
    harsh, mild = found().methods
    assert mild.behind_interval is not None
    reach = 12.7062 * (2 * 2 * (1 / 4) ** 2 / 16) ** 0.5
    assert mild.behind_interval == pytest.approx((7 / 24 - reach, 7 / 24 + reach), abs=1e-4)
    same = method_areas(ROWS, answers("1111"), METHODS, [DRAWS[0], DRAWS[0]], RANKINGS, ("t",)).methods[0]
    assert harsh.interval is not None
    assert same.interval is not None
    assert harsh.interval[1] - harsh.interval[0] != same.interval[1] - same.interval[0]


def test_lines_and_json() -> None:
    lines = list(area_lines(found()))
    assert lines[0].startswith("4 rows of 2 clusters, 100.0% right untouched")
    assert lines[3].split()[:4] == ["harsh", "75.0%", "0.0%", "+41.7"]
    assert lines[5].split() == ["random", "heads", "100.0%", "87.5%"]
    assert lines[-1] == "in common of 3: harsh and mild: 2.0"
    document = json.loads(json.dumps(found().document()))
    assert document["methods"][0]["accuracies"] == {"1": 0.75, "3": 0.0}


def test_a_single_draw_is_refused() -> None:
    with pytest.raises(SettingsError, match="random draws: 1; expected at least two"):
        method_areas(ROWS, answers("1111"), METHODS, DRAWS[:1], RANKINGS, ("t",))

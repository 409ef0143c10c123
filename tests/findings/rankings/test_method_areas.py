"""Areas between curves by hand: four rows of two clusters, two methods, two draws, k = 1 and 3."""

import json

import pytest

from harness.errors import SettingsError
from harness.experiment.heads import Head
from harness.experiment.rankings import EVERY_TASK, HeadRanking, ScoredHead
from harness.experiment.stability import ListStability, Stability
from harness.findings.rankings.method_areas import MethodAreas, area_lines, method_areas

ROWS = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}


def answers(right: str) -> dict[str, bool]:
    """One letter a row: `1` is right."""
    return dict(zip(ROWS, (letter == "1" for letter in right), strict=True))


DRAWS = [{1: answers("1111"), 3: answers("1111")}, {1: answers("1111"), 3: answers("0111")}]
METHODS = {"mild": {1: answers("1111"), 3: answers("0110")}, "harsh": {1: answers("0111"), 3: answers("0000")}}


def ranking(*heads: Head, again: float | None = None) -> HeadRanking:
    """Without `again` a list for every task, of which nothing more is known."""
    scored = tuple(ScoredHead(head, 1.0 - i) for i, head in enumerate(heads))
    if again is None:
        return HeadRanking("r", {EVERY_TASK: scored}, 3, every_task=True)
    of_task = ListStability({heads[0]: (1.0, again, again)}, (1, 1, 1))
    return HeadRanking("r", {"t": scored}, 3, stability=Stability(3, 10, {"t": of_task}, None, None))


RANKINGS = {
    "mild": ranking(Head(0, 0), Head(0, 1), Head(0, 2), again=0.75),
    "harsh": ranking(Head(0, 0), Head(1, 1), Head(0, 2)),
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

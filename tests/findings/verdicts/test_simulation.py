"""Made-up experiments: as true as they say, the same with the same seed however many processes make them."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.findings.verdicts.rule import KINDS
from harness.findings.verdicts.simulation import STIR, Planned, Setting, decide_as_before, make_sums, plan, simulate
from harness.findings.verdicts.worlds import SET_COST, Draws

COMMITTED = Path(__file__).parents[3] / "reports" / "gate_simulation" / "simulation.json"


@pytest.mark.parametrize("clustering", [0.0, 0.2, 0.8])
@pytest.mark.parametrize("accuracy", [0.2, 0.7, 0.95])
def test_costs_are_the_true_ones_in_the_mean(accuracy: float, clustering: float) -> None:
    setting = Setting(50, "even", accuracy, clustering)
    costs = np.full((300, 39, 1), SET_COST)
    costs[:, 0] = 0.4
    sums = make_sums(costs, setting, np.random.default_rng(1))
    right = sums.untouched.sum()
    assert right / 300 / 450 == pytest.approx(accuracy, abs=0.02)
    assert 1 - sums.judged.sum() / right == pytest.approx(0.4, abs=0.02)
    assert 1 - sums.controls.sum() / 19 / right == pytest.approx(SET_COST, abs=0.01)
    stirred = (
        STIR * (1 - accuracy) / accuracy
    )  # as many right answers as wrong ones become right, and these are no rows
    assert 1 - sums.kept.sum() / right == pytest.approx(0.4 + stirred, abs=0.02)
    assert 1 - sums.permutations.sum() / 19 / right == pytest.approx(SET_COST + stirred, abs=0.01)


def test_a_set_that_helps_has_a_cost_below_nothing() -> None:
    sums = make_sums(np.full((300, 39, 1), -0.05), Setting(50, "even", 0.7, 0.0), np.random.default_rng(2))
    assert 1 - sums.judged.sum() / sums.untouched.sum() == pytest.approx(-0.05, abs=0.005)


@pytest.mark.parametrize("clustering", [0.0, 0.2, 0.8])
def test_clustering_is_the_intraclass_correlation(clustering: float) -> None:
    """Of nine rows' matches in a cluster: variance of the sum = 9 p (1 - p) (1 + 8 rho)."""
    sums = make_sums(np.zeros((1, 39, 1)), Setting(20_000, "even", 0.7, clustering), np.random.default_rng(3))
    assert sums.untouched.var() == pytest.approx(9 * 0.7 * 0.3 * (1 + 8 * clustering), rel=0.04)


def test_uneven_clusters_hold_thirty_rows_and_down_to_two() -> None:
    sizes = Setting(20, "uneven", 0.7, 0.0).sizes
    assert sizes[:3].tolist() == [30, 14, 9]
    assert sizes.min() == 2


def test_the_cells_with_an_effect_are_those_of_the_whole() -> None:
    """Their numbers seed their generators, so that they come out the same."""
    found = plan(only_effects=True)
    assert len(found) == 504
    assert {cell.world.kind for cell in found} == {"effect"}
    assert set(found) < set(plan())


def test_rows_of_each_task_lose_what_its_own_heads_cost() -> None:
    costs = np.zeros((200, 39, 9))
    costs[:, 0, 4] = 0.9  # the fifth row of each cluster
    sums = make_sums(costs, Setting(10, "even", 0.95, 0.0), np.random.default_rng(4))
    assert 1 - sums.judged.sum() / sums.untouched.sum() == pytest.approx(0.1, abs=0.01)


CELLS = tuple(
    Planned(number, Draws("effect", "gamma", 0.05, effect=0.15), Setting(n, "even", 0.7, 0.2))
    for number, n in enumerate((9, 10, 20))
)


def test_the_same_seed_gives_the_same_verdicts_on_any_number_of_processes() -> None:
    once = simulate(CELLS, experiments=60, seed=4)
    assert simulate(CELLS, experiments=60, seed=4, processes=2) == once
    assert simulate(CELLS[1:2], experiments=60, seed=4)["cells"] == once["cells"][1:2]
    assert simulate(CELLS, experiments=60, seed=5) != once
    assert all(sum(cell["verdicts"].values()) == sum(cell["earlier"].values()) == 60 for cell in once["cells"])
    assert once["cells"][0]["verdicts"]["pass"] == 0


def committed() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(COMMITTED.read_text())
    return loaded


def passes(simulation: dict[str, Any], rule: str = "verdicts", **wanted: Any) -> list[float]:
    """The shares of passes in cells with this truth and setting."""
    return [
        cell[rule]["pass"] / simulation["experiments"]
        for cell in simulation["cells"]
        if wanted.items() <= (cell["truth"] | cell["setting"] | {"world": cell["world"]}).items()
    ]


LEVELS = {"no effect": 0.025, "at the margin": 0.025, "exchangeable": 0.05}


def beyond(cell: dict[str, Any]) -> bool:
    """Worlds in which the controls' mean says too little of what they cost: the guide names them with figures."""
    truth = cell["truth"]
    return truth["kind"] == "at the margin" and (truth["law"] == "rare" or truth.get("one_in") is not None)


def test_the_committed_simulation_keeps_what_the_gates_promise() -> None:
    """False passes: no cell above its level by four standard errors, no truth and number of clusters by two."""
    simulation = committed()
    n = simulation["experiments"]
    assert len(simulation["cells"]) == len(plan())
    pooled: dict[tuple[float, str], list[float]] = defaultdict(list)
    for cell in simulation["cells"]:
        assert sum(cell["verdicts"][kind] for kind in KINDS) == n
        if (level := LEVELS.get(cell["truth"]["kind"])) is None or beyond(cell):
            continue
        share = cell["verdicts"]["pass"] / n
        assert share <= level + 4 * (level * (1 - level) / n) ** 0.5, cell
        pooled[level, f"{cell['truth']} {cell['setting']['clusters']}"].append(share)
    for (level, what), shares in pooled.items():
        assert sum(shares) / len(shares) <= level + 2 * (level * (1 - level) / n / len(shares)) ** 0.5, what


@pytest.mark.parametrize("accuracy", [0.7, 0.95])
def test_three_in_ten_right_answers_lost_are_found_with_twenty_clusters(accuracy: float) -> None:
    found = passes(committed(), kind="effect", effect=0.3, law="normal", clusters=20, clustering=0.0, accuracy=accuracy)
    assert len(found) == 6  # shapes and lists
    assert min(found) >= 0.9


@pytest.mark.parametrize("one_in", [60, 100, 120])
def test_any_heads_pass_no_oftener_than_allowed_where_one_head_in_so_many_matters(one_in: int) -> None:
    """8 x 16 heads, k = 20, layer by layer. By the rule of 0.1.0: up to 28 %."""
    wanted: dict[str, Any] = {"kind": "exchangeable", "one_in": one_in, "layers": 8}
    assert max(passes(committed(), **wanted)) <= 0.06
    assert max(passes(committed(), "earlier", **wanted)) > 0.15


def test_more_draws_of_which_few_cost_much_do_not_make_it_worse() -> None:
    """Rare-costly sets, exchangeable: by 0.1.0 10 to 15 % with few draws or many."""
    assert max(passes(committed(), kind="exchangeable", law="rare")) <= 0.05


@pytest.mark.parametrize("lists", ["identical", "disjoint"])
def test_lists_that_all_tasks_share_are_no_worse_than_others(lists: str) -> None:
    """Once identical lists passed falsely in 6 to 8 %, with draws independent from task to task."""
    assert max(passes(committed(), kind="exchangeable", lists=lists)) <= 0.06


@pytest.mark.parametrize("clusters", [20, 50])
def test_half_of_the_right_answers_are_found_where_other_heads_cost_something_too(clusters: int) -> None:
    """Skewed costs, 3 % in the mean with SD 5 %. Once: at most 74 % whatever the filings, blocked by a flat control."""
    wanted: dict[str, Any] = {"kind": "effect", "law": "gamma", "effect": 0.5, "clusters": clusters, "clustering": 0.0}
    for accuracy in (0.7, 0.95):
        assert min(passes(committed(), **wanted, accuracy=accuracy)) >= 0.9


def test_what_is_beyond_the_promise_is_no_worse_than_the_guide_says() -> None:
    """Five controls in a hundred cost 60 %: 11.2 % with 100 clusters. By 0.1.0: 42 %."""
    found = passes(committed(), kind="at the margin", law="rare")
    assert 0.025 < max(found) <= 0.12
    assert max(passes(committed(), "earlier", kind="at the margin", law="rare")) > 0.4


def test_where_one_head_carries_all_no_number_of_clusters_helps() -> None:
    for clusters in (20, 50):
        found = passes(committed(), by_one_head=True, layers=8, lists="identical", clusters=clusters)
        assert min(found) > 0.1
        assert max(found) < 0.2


@pytest.mark.parametrize(
    ("clusters", "untouched", "judged", "controls", "expected"),
    [
        (20, 8, 2, (8, 8, 8, 8, 8), "pass"),
        (9, 8, 2, (8, 8, 8, 8, 8), "inconclusive"),
        (20, 8, 8, (8, 8, 8, 8, 8), "fail"),
        (19, 8, 8, (8, 8, 8, 8, 8), "inconclusive"),
        (20, 4, 1, (4, 4, 4, 4, 4), "invalid"),  # 44 % right
        (20, 8, 1, (6, 6, 6, 6, 6), "invalid"),  # controls cost 22 points
        (20, 8, 2, (8, 8, 8, 8, 6), "inconclusive"),  # their upper end is above ten points
        (20, 8, 6.5, (8, 8, 8, 8, 7), "inconclusive"),  # draws differ by as much
    ],
)
def test_verdicts_by_the_rule_of_the_version_before(
    clusters: int, untouched: int, judged: float, controls: tuple[int, ...], expected: str
) -> None:
    """Every cluster alike; of more than five controls the others are left out."""
    of_all = np.broadcast_to(np.array([*controls, 0, 0], dtype=float), (clusters, 7))
    rows, before, after = (np.full(clusters, float(each)) for each in (9, untouched, judged))
    assert KINDS[int(decide_as_before(rows, before, after, of_all))] == expected

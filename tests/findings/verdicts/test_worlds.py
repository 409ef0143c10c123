"""Made-up worlds cost what they say, and draw their sets as a study does."""

import numpy as np
import pytest

from harness.findings.verdicts.simulation import Setting, make_sums
from harness.findings.verdicts.worlds import (
    LISTS,
    MARGIN,
    N_DRAWS,
    RARE,
    RARE_COST,
    SET_COST,
    Draws,
    Heads,
    K,
    Law,
    Lists,
    World,
)

SETS = 1 + 2 * N_DRAWS


@pytest.mark.parametrize(("law", "sd"), [("equal", 0.0), ("normal", 0.05), ("gamma", 0.05), ("left-skewed", 0.05)])
def test_draws_have_the_mean_and_spread_that_they_say(law: Law, sd: float) -> None:
    costs = Draws("exchangeable", law, sd).costs(20_000, np.random.default_rng(1))
    assert costs.shape == (20_000, SETS, 1)
    assert costs.mean(axis=0) == pytest.approx(SET_COST, abs=0.005)
    assert costs.std(axis=0) == pytest.approx(sd, rel=0.05, abs=1e-9)


def test_rare_draws_cost_much_and_the_others_nothing() -> None:
    costs = Draws("exchangeable", "rare").costs(20_000, np.random.default_rng(2))
    assert set(np.unique(costs)) == {0.0, RARE_COST}
    assert (costs > 0).mean() == pytest.approx(RARE, abs=0.002)


def test_judged_draws_cost_as_much_more_as_they_say() -> None:
    costs = Draws("effect", "gamma", 0.02, effect=0.3).costs(100, np.random.default_rng(3))
    assert costs[:, 0] == pytest.approx(SET_COST + 0.3)


@pytest.mark.parametrize("lists", ["identical", "disjoint"])
def test_judged_heads_at_the_margin_cost_the_margin_more_than_controls_do(lists: Lists) -> None:
    costs = Heads("at the margin", 8, 16, lists, "normal", 0.02).costs(4000, np.random.default_rng(4))
    more = costs[:, 0] - costs[:, 1 : 1 + N_DRAWS].mean(axis=1)
    assert more.mean() == pytest.approx(MARGIN, abs=0.002)


def test_permutations_hold_some_of_the_judged_heads_and_controls_none() -> None:
    """Heads that cost nothing but for the judged ones: what a set costs is the share of them that it holds."""
    world = Heads("effect", 30, 9, "disjoint", effect=1.0)
    costs = world.costs(LISTS, np.random.default_rng(5)) - SET_COST
    assert costs.shape == (LISTS, SETS, 4)
    assert costs[:, 1 : 1 + N_DRAWS] == pytest.approx(0, abs=1e-9)
    held = costs[:, 1 + N_DRAWS :]
    assert 0.1 < held.mean() < 0.4
    assert held * K == pytest.approx(np.round(held * K), abs=1e-9)


@pytest.mark.parametrize(
    "world", [Draws("exchangeable", "gamma", 0.05), Heads("effect", 8, 16, "identical", effect=0.3)]
)
def test_there_may_be_more_draws(world: World) -> None:
    costs = world.costs(7, np.random.default_rng(6), 40)
    assert costs.shape == (7, 1 + 2 * 40, 1)
    sums = make_sums(costs, Setting(10, "even", 0.95, 0.0), np.random.default_rng(7))
    assert sums.controls.shape == sums.permutations.shape == (7, 10, 40)


def test_an_effect_of_one_head_is_all_or_nothing() -> None:
    world = Heads("effect", 8, 16, "identical", effect=0.5, by_one_head=True)
    costs = world.costs(500, np.random.default_rng(6)) - SET_COST
    assert costs[:, 0] == pytest.approx(0.5)
    assert set(np.round(costs[:, 1 + N_DRAWS :], 6).ravel()) == {0.0, 0.5}


def test_exchangeable_heads_are_as_costly_in_the_mean_as_their_permutations() -> None:
    costs = Heads("exchangeable", 8, 16, "identical", one_in=60).costs(20_000, np.random.default_rng(7))
    judged, permuted = costs[:, 0], costs[:, 1 + N_DRAWS :]
    assert judged.mean() == pytest.approx(permuted.mean(), abs=0.01)
    assert judged.std() == pytest.approx(permuted.std(), rel=0.05)

"""What the figures of curves are made of: series, and names that stand clear of each other."""

from itertools import pairwise

import pytest
from fake_study import KS, whole_report
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.findings.figures.curve_drawing import series, spread


def test_draws_are_one_series_with_their_envelope() -> None:
    found = {one.experiment: one for one in series(whole_report())}
    random = found["random_control"]
    accuracies = [[c.accuracy or 0.0 for c in whole_report().conditions if c.seed is not None and c.k == k] for k in KS]
    assert random.label == "random_control, mean of 5"
    assert random.ks == KS
    assert random.low == tuple(min(draws) for draws in accuracies)
    assert random.high == tuple(max(draws) for draws in accuracies)
    assert random.values == pytest.approx([sum(draws) / 5 for draws in accuracies])
    assert found["global"].label == "global"


def test_neighbours_are_moved_apart_around_the_middle() -> None:
    shifts = [one.shift for one in series(whole_report(), dodge=0.05)]
    assert shifts == pytest.approx([-0.125, -0.075, -0.025, 0.025, 0.075, 0.125])


def test_many_neighbours_stay_near_their_k() -> None:
    """Six series, moved by half a k each, would stand among the next k's."""
    shifts = [one.shift for one in series(whole_report(), dodge=0.5)]
    assert (min(shifts), max(shifts)) == pytest.approx((-0.2, 0.2))


def test_spread_by_hand() -> None:
    assert spread([0.1, 0.5], 0.1, 1.0) == [0.1, 0.5]
    assert spread([0.5, 0.5, 0.5], 0.1, 1.0) == pytest.approx([0.5, 0.6, 0.7])
    assert spread([0.95, 0.98, 1.0], 0.1, 1.0) == pytest.approx([0.8, 0.9, 1.0])
    assert spread([], 0.1, 1.0) == []


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.lists(st.floats(0, 1), max_size=9).map(sorted))
def test_spread_keeps_order_distance_and_bound(wanted: list[float]) -> None:
    heights = spread(wanted, 0.06, 1.0)
    assert all(above - below >= 0.06 - 1e-9 for below, above in pairwise(heights))
    assert all(height <= 1.0 for height in heights)

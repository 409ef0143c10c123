"""Filings as clusters: by hand, against statsmodels, and what must hold of any interval."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from harness.findings.clusters import FilingSums, bca_of_sums, cluster_mean, holm
from harness.findings.stats import Interval

repeatable = settings(derandomize=True, deadline=None, max_examples=40)
VALUES = (1.0, 0.0, 1.0, 1.0, 0.0, -1.0, 1.0)
FILINGS = ("a", "a", "b", "b", "b", "c", "c")


def bca_of_rows(values: Sequence[float], filings: Sequence[str], *, seed: int) -> Interval | None:
    """Of rows that are not gathered by filing yet."""
    own = {filing: [v for v, f in zip(values, filings, strict=True) if f == filing] for filing in filings}
    sums = FilingSums(tuple(sum(each) for each in own.values()), tuple(len(each) for each in own.values()))
    return bca_of_sums(sums, seed=seed)


def test_cluster_mean_by_hand() -> None:
    """Mean 3/7; filings' sums 1, 2, 0 of 2, 3, 2 rows; residuals 1/7, 5/7, -6/7."""
    found = cluster_mean(VALUES, FILINGS)
    assert found is not None
    assert found.estimate == pytest.approx(3 / 7)
    assert found.standard_error == pytest.approx(math.sqrt(3 / 2 * (1 + 25 + 36) / 49 / 49))
    assert (found.df, found.n_rows, found.n_filings) == (2, 7, 3)
    interval = found.interval()
    assert interval.high - interval.low == pytest.approx(2 * 4.302653 * found.standard_error)


def test_cluster_mean_agrees_with_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    generator = np.random.default_rng(3)
    filings = [f"f{i}" for i in range(12) for _ in range(int(generator.integers(1, 9)))]
    values = generator.normal(size=len(filings))
    fit = api.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": [int(f[1:]) for f in filings]}, use_t=True
    )
    found = cluster_mean(list(values), filings)
    assert found is not None
    assert found.estimate == pytest.approx(fit.params[0])
    assert found.standard_error == pytest.approx(fit.bse[0])
    assert (found.interval().low, found.interval().high) == pytest.approx(tuple(fit.conf_int()[0]))
    assert found.p_above(0.0) == pytest.approx(float(t.sf(fit.tvalues[0], 11)))


def test_draws_widen_by_their_own_spread() -> None:
    """Satterthwaite by hand: V = v + s^2/D, df = V^2 / (v^2/(G-1) + (s^2/D)^2/(D-1))."""
    alone, drawn = cluster_mean(VALUES, FILINGS), cluster_mean(VALUES, FILINGS, draws=(0.0, 0.1, 0.2))
    assert alone is not None
    assert drawn is not None
    v, w = alone.standard_error**2, 0.01 / 3
    assert drawn.standard_error**2 == pytest.approx(v + w)
    assert drawn.df == pytest.approx((v + w) ** 2 / (v**2 / 2 + w**2 / 2))


def test_undefined_is_none() -> None:
    assert cluster_mean([], []) is None
    assert cluster_mean([1.0, 0.0], ["a", "a"]) is None
    assert cluster_mean(VALUES, FILINGS, draws=(0.1,)) is None
    assert bca_of_rows([], [], seed=0) is None
    assert bca_of_rows([1.0, 1.0, 1.0], ["a", "b", "c"], seed=0) is None


def test_certainty_is_judged_by_its_side_of_the_margin() -> None:
    found = cluster_mean([0.5] * 4, ["a", "b", "c", "d"])
    assert found is not None
    assert (found.p_above(0.4), found.p_above(0.5), found.p_above(0.6)) == (0.0, 1.0, 1.0)


def test_bca_resamples_filings_with_all_their_rows() -> None:
    """Twenty rows of a filing that always agree are worth one: the interval is that of 30 filings."""
    generator = np.random.default_rng(5)
    filings = [f"f{i}" for i in range(30)]
    values = [float(v) for v in generator.integers(0, 2, 30)]
    once = bca_of_rows(values, filings, seed=1)
    many = bca_of_rows([v for v in values for _ in range(20)], [f for f in filings for _ in range(20)], seed=1)
    assert once is not None
    assert many is not None
    assert (many.low, many.high) == pytest.approx((once.low, once.high))
    assert once.low < sum(values) / 30 < once.high


def test_bca_is_near_the_cluster_t_for_many_filings_and_repeats_with_its_seed() -> None:
    generator = np.random.default_rng(6)
    filings = [f"f{i}" for i in range(100) for _ in range(9)]
    values = list(generator.normal(size=900) + np.repeat(generator.normal(size=100), 9))
    mean, bca = cluster_mean(values, filings), bca_of_rows(values, filings, seed=2)
    assert mean is not None
    assert bca is not None
    assert (bca.low, bca.high) == pytest.approx((mean.interval().low, mean.interval().high), abs=0.05)
    assert bca == bca_of_rows(values, filings, seed=2)
    assert bca != bca_of_rows(values, filings, seed=3)


@repeatable
@given(st.permutations(range(len(VALUES))))
def test_the_order_of_rows_is_nothing(order: list[int]) -> None:
    shuffled = cluster_mean([VALUES[i] for i in order], [FILINGS[i] for i in order])
    plain = cluster_mean(VALUES, FILINGS)
    assert shuffled is not None
    assert plain is not None
    assert shuffled.standard_error == pytest.approx(plain.standard_error)
    assert shuffled.estimate == pytest.approx(plain.estimate)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


@repeatable
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """Slow reference: the largest Bonferroni p among all sets of hypotheses that hold this one."""
    subsets = [chosen for size in range(1, len(p_values) + 1) for chosen in combinations(range(len(p_values)), size)]
    bonferroni = {chosen: min(1.0, len(chosen) * min(p_values[i] for i in chosen)) for chosen in subsets}
    slow = [max(p for chosen, p in bonferroni.items() if i in chosen) for i in range(len(p_values))]
    assert holm(p_values) == pytest.approx(slow)

"""Each statistic against a published table or a hand computation, and against a second implementation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from harness.findings.stats import (
    mcnemar_p,
    newcombe,
    paired_mean_change,
    rank_correlation,
    sign_permutation_p,
    wilson,
)

repeatable = settings(derandomize=True, deadline=None, max_examples=60)
trials = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("matches", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_table(matches: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3."""
    interval = wilson(matches, n)
    assert interval is not None
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@repeatable
@given(trials)
def test_wilson_solves_its_own_equation(pair: tuple[int, int]) -> None:
    """Its ends are the proportions from which the estimate is 1.96 standard errors away."""
    matches, n = pair
    interval = wilson(matches, n)
    assert interval is not None
    assert 0 <= interval.low <= matches / n <= interval.high <= 1
    for end in (interval.low, interval.high):
        if 0 < end < 1:
            assert abs(matches / n - end) == pytest.approx(
                1.959963985 * math.sqrt(end * (1 - end) / n), rel=1e-6, abs=1e-12
            )


@repeatable
@given(trials)
def test_wilson_shrinks_with_n_and_is_symmetric(pair: tuple[int, int]) -> None:
    matches, n = pair
    once, four_times, mirrored = wilson(matches, n), wilson(4 * matches, 4 * n), wilson(n - matches, n)
    assert once is not None
    assert four_times is not None
    assert mirrored is not None
    assert four_times.high - four_times.low < once.high - once.low
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((once.low, once.high), abs=1e-12)


def test_wilson_of_nothing_is_undefined_and_of_nonsense_an_error() -> None:
    assert wilson(0, 0) is None
    with pytest.raises(ValueError, match="3 matches of 2"):
        wilson(3, 2)


@pytest.mark.parametrize(
    ("before", "after", "low", "high"),
    [((48, 80), (56, 70), 0.0524, 0.3339), ((3, 10), (9, 10), 0.1705, 0.8090), ((0, 20), (10, 10), 0.6791, 1.0)],
)
def test_newcombe_gives_the_published_table(
    before: tuple[int, int], after: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe (1998), Statistics in Medicine 17, 873-890, table II, method 10."""
    interval = newcombe(before, after)
    assert interval is not None
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@repeatable
@given(trials, trials)
def test_newcombe_agrees_with_statsmodels_and_mirrors(before: tuple[int, int], after: tuple[int, int]) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    interval, mirrored = newcombe(before, after), newcombe(after, before)
    assert interval is not None
    assert mirrored is not None
    assert (-mirrored.high, -mirrored.low) == pytest.approx((interval.low, interval.high), abs=1e-12)
    low, high = proportion.confint_proportions_2indep(*after, *before, method="newcomb", compare="diff")
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-9)


def test_newcombe_without_rows() -> None:
    assert newcombe((0, 0), (1, 2)) is newcombe((1, 2), (0, 0)) is None


def test_mcnemar_by_hand() -> None:
    assert mcnemar_p(5, 1) == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar_p(4, 0) == pytest.approx(2 / 2**4)
    assert mcnemar_p(3, 3) == 1.0
    assert mcnemar_p(0, 0) == 1.0


@repeatable
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_symmetric_and_the_binomial_tail(lost: int, gained: int) -> None:
    n, fewer = lost + gained, min(lost, gained)
    tail = sum(math.comb(n, i) for i in range(fewer + 1)) / 2**n
    assert mcnemar_p(lost, gained) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar_p(lost, gained) == pytest.approx(mcnemar_p(gained, lost))


def test_mcnemar_agrees_with_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    assert mcnemar_p(13, 4) == pytest.approx(tables.mcnemar([[50, 13], [4, 33]], exact=True).pvalue)


def test_sign_permutation_gives_fishers_own_count() -> None:
    """Fisher (1935), section 21: in 863 of 32,768 sign patterns Darwin's maize sums to 314 or more."""
    darwin = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sum(darwin) == 314
    assert sign_permutation_p(darwin) == 2 * 863 / 2**15


@repeatable
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=9))
def test_sign_permutation_agrees_with_scipy(sums: list[int]) -> None:
    slow = permutation_test(
        (np.array(sums),), np.sum, permutation_type="samples", n_resamples=2 ** len(sums) + 1, vectorized=True
    )
    assert sign_permutation_p(sums) == pytest.approx(slow.pvalue, abs=1e-12)


def test_sign_permutation_at_its_ends() -> None:
    assert sign_permutation_p([]) is None
    assert sign_permutation_p([0, 0, 0]) == 1.0
    assert sign_permutation_p([9] * 24) == pytest.approx(2 / 2**24)
    assert sign_permutation_p([9] * 1000) == pytest.approx(2 / 2**1000)


def test_paired_mean_change_uses_only_whole_pairs() -> None:
    assert paired_mean_change([-1.0, -2.0, None], [-2.0, -5.0, -9.0]) == -2.0
    assert paired_mean_change([1.0, 2.0], [None, 4.0]) == 2.0
    assert paired_mean_change([], []) is None
    assert paired_mean_change([None], [1.0]) is None
    assert paired_mean_change([-1.0, -1.0], [-math.inf, -1.0]) is None
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        paired_mean_change([1.0, 2.0], [1.0])


def test_rank_correlation_by_hand() -> None:
    """Of ranks 1 to 5 and 1 3 2 5 4: 1 - 6 x (1 + 1 + 1 + 1) / (5 x 24); ties count at their mean rank."""
    assert rank_correlation([1, 2, 3, 4, 5], [10, 30, 20, 50, 40]) == pytest.approx(1 - 6 * 4 / 120)
    assert rank_correlation([1, 2, 3], [9, 5, -1]) == pytest.approx(-1)
    # ranks 1.5 1.5 3 against 1 2 3: covariance 1.5, variances 1.5 and 2
    assert rank_correlation([0, 0, 7], [1, 2, 3]) == pytest.approx(1.5 / (1.5 * 2) ** 0.5)


def test_rank_correlation_that_is_undefined() -> None:
    assert rank_correlation([], []) is None
    assert rank_correlation([1], [2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    with pytest.raises(ValueError, match="2 and 3 values"):
        rank_correlation([1, 2], [1, 2, 3])

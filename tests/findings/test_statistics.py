"""Each statistic against a published table or a hand computation, and against a second implementation.

Filings as clusters: by hand, against statsmodels, and what must hold of any interval.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test, t

from harness.findings.statistics import (
    FilingSums,
    Interval,
    bca_of_sums,
    cluster_mean,
    holm,
    mcnemar_p,
    newcombe,
    paired_mean_change,
    rank_correlation,
    ratio_of_means,
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


def test_wilson_is_that_of_scipy_to_the_last_bit() -> None:
    for n in (1, 2, 27, 189):
        for matches in range(n + 1):
            theirs = binomtest(matches, n).proportion_ci(confidence_level=0.95, method="wilson")
            assert wilson(matches, n) == Interval(theirs.low, theirs.high)


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


clusters_repeatable = settings(derandomize=True, deadline=None, max_examples=40)
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


@clusters_repeatable
@given(st.permutations(range(len(VALUES))))
def test_the_order_of_rows_is_nothing(order: list[int]) -> None:
    shuffled = cluster_mean([VALUES[i] for i in order], [FILINGS[i] for i in order])
    plain = cluster_mean(VALUES, FILINGS)
    assert shuffled is not None
    assert plain is not None
    assert shuffled.standard_error == pytest.approx(plain.standard_error)
    assert shuffled.estimate == pytest.approx(plain.estimate)


def test_a_ratio_of_means_by_hand() -> None:
    """Fieller (1954) for a numerator without error: the ends are its ratio to the ends of the lower mean's interval."""
    filings = list("abcdef")
    above, below = [1.0] * 6, [3.0, 5.0, 4.0, 4.5, 3.5, 4.0]
    found, lower = ratio_of_means(above, below, filings), cluster_mean(below, filings)
    assert found is not None
    assert lower is not None
    assert found.estimate == pytest.approx(1 / 4)
    low, high = lower.interval().ends
    assert found.interval.ends == pytest.approx((1 / high, 1 / low))


@clusters_repeatable
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.floats(-3, 3), st.floats(-1, 5)), min_size=4, max_size=20))
def test_a_ratios_interval_holds_what_a_cluster_t_does_not_refuse(rows: list[tuple[str, float, float]]) -> None:
    """Slow reference: the test at each ratio. `None` exactly where the lower mean's own interval holds 0."""
    filings, above, below = ([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    found, lower = ratio_of_means(above, below, filings), cluster_mean(below, filings)
    if lower is None:
        assert found is None
        return
    low, high = lower.interval().ends
    if found is None:
        assert low <= 1e-9
        assert high >= -1e-9
        return
    assert low > 0 or high < 0
    for end, out in ((found.interval.low, -1), (found.interval.high, 1)):
        for step, held in ((-1e-3, True), (1e-3, False)):
            ratio = end + out * step * max(1.0, abs(end))
            rest = cluster_mean([a - ratio * b for a, b in zip(above, below, strict=True)], filings)
            assert rest is not None
            if found.interval.high - found.interval.low > 0.01:
                assert (rest.interval().low <= 0 <= rest.interval().high) == held


def test_a_mean_of_ratios_is_another_thing() -> None:
    """One row that loses next to nothing would make it anything."""
    filings = [f"f{i}" for i in range(8)]
    below = [2.0, 2.2, 1.8, 2.1, 1.9, 2.0, 2.0, -0.01]
    found = ratio_of_means([0.2] * 8, below, filings)
    assert found is not None
    assert found.estimate == pytest.approx(0.2 * 8 / sum(below))
    assert sum(0.2 / each for each in below) / 8 < -2


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


@clusters_repeatable
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """Slow reference: the largest Bonferroni p among all sets of hypotheses that hold this one."""
    subsets = [chosen for size in range(1, len(p_values) + 1) for chosen in combinations(range(len(p_values)), size)]
    bonferroni = {chosen: min(1.0, len(chosen) * min(p_values[i] for i in chosen)) for chosen in subsets}
    slow = [max(p for chosen, p in bonferroni.items() if i in chosen) for i in range(len(p_values))]
    assert holm(p_values) == pytest.approx(slow)

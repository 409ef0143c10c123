"""Statistics of matches: intervals of a proportion, tests of paired changes, and means whose rows come in filings.

Rows of one filing rise and fall together: what is drawn anew in thought is whole filings, so that each filing's sum and
number of rows are all that counts. Thin and typed over scipy; every function names its source. Knows nothing of
conditions, heads or reports. Undefined is `None`, never a number. scipy and numpy are imported inside the functions, so
that importing this module costs nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval, in the unit of what it belongs to."""

    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float]:
        """As a report says it."""
        return self.low, self.high


NORMAL_975 = 1.959963984540054
"""The normal distribution's 0.975 quantile, as `scipy.special.ndtri` has it."""


@cache
def wilson(matches: int, n: int) -> Interval | None:
    """Wilson's 95 % score interval of a proportion, without continuity correction; `None` where n is 0.

    It takes the n trials as independent. Where rows share a filing they are not quite, and the interval is
    then too narrow: differences are judged by filing (`harness.findings.statistics`), not by this.

    Raises ValueError unless 0 <= matches <= n.

    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference,
    Journal of the American Statistical Association 22, 209-212; as `scipy.stats.binomtest` has it, whose import takes
    half a second.
    """
    if not 0 <= matches <= n:
        raise ValueError(f"wilson: {matches} matches of {n}; expected 0 <= matches <= n")
    if n == 0:
        return None
    z, p = NORMAL_975, matches / n
    whole = 2 * (n + z**2)
    centre, reach = (2 * n * p + z**2) / whole, z / whole * math.sqrt(4 * n * p * (1 - p) + z**2)
    return Interval(0.0 if matches == 0 else centre - reach, 1.0 if matches == n else centre + reach)


def newcombe(before: tuple[int, int], after: tuple[int, int]) -> Interval | None:
    """95 % interval of the difference of two proportions, after less before; `None` where either n is 0.

    before, after: (matches, n). It takes the two as independent samples, as is all that counts alone allow: of
    the same rows it is as a rule too wide, for they are right and wrong together.

    Source: R. G. Newcombe (1998), Interval estimation for the difference between independent proportions:
    comparison of eleven methods, Statistics in Medicine 17, 873-890, method 10: from Wilson's intervals of both.
    """
    of_before, of_after = wilson(*before), wilson(*after)
    if of_before is None or of_after is None:
        return None
    was, became = before[0] / before[1], after[0] / after[1]
    return Interval(
        became - was - math.hypot(became - of_after.low, of_before.high - was),
        became - was + math.hypot(of_after.high - became, was - of_before.low),
    )


def mcnemar_p(lost: int, gained: int) -> float:
    """Exact two-sided p of McNemar's test: are as many pairs lost as gained? 1 where no pair changed.

    Source: Q. McNemar (1947), Note on the sampling error of the difference between correlated proportions or
    percentages, Psychometrika 12, 153-157, with the binomial distribution of the discordant pairs
    instead of its chi-square approximation. It is symmetric, so both tails are twice the smaller.
    """
    if lost == gained:
        return 1.0
    n = lost + gained
    ways = tail = 1  # how often so many of n pairs change the rarer way, of 2^n patterns; and so many or fewer
    for changed in range(min(lost, gained)):
        ways = ways * (n - changed) // (changed + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << n))


def sign_permutation_p(sums: Sequence[int]) -> float | None:
    """Exact two-sided p of the sign-permutation test on one whole number a filing; `None` without filings.

    `sums[i]` is filing i's matches before less its matches after. If a condition changes nothing, each
    filing's sum is as likely to have the other sign; p is the probability that the sum over filings is then
    at least as far from 0 as it is. All 2^n sign patterns count: as the sums are whole numbers, their
    distribution is a convolution, and neither draws nor a seed are needed.

    Source: R. A. Fisher (1935), The design of experiments, section 21. The p is the limit of
    `scipy.stats.permutation_test(..., permutation_type="samples")`, which the tests compare it with.
    """
    if not sums:
        return None
    import numpy as np

    reach = sum(abs(value) for value in sums)
    chances = np.zeros(2 * reach + 1)  # (total + reach,)
    chances[reach] = 1.0
    for value in filter(None, sums):  # 0 has no other sign
        # No total is within |value| of the array's ends before its turn: nothing wraps round.
        chances = 0.5 * (np.roll(chances, value) + np.roll(chances, -value))
    totals = np.arange(-reach, reach + 1)
    return min(1.0, float(chances[abs(totals) >= abs(sum(sums))].sum()))


def paired_mean_change(before: Sequence[float | None], after: Sequence[float | None]) -> float | None:
    """The mean of `after[i] - before[i]` over the pairs where both are known.

    `None` where no pair is, or where a value is infinite or not a number: a mean would hide it.
    Raises ValueError where the two are of different length.
    """
    changes = [y - x for x, y in zip(before, after, strict=True) if x is not None and y is not None]
    if not changes or not all(math.isfinite(change) for change in changes):
        return None
    return math.fsum(changes) / len(changes)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; `None` for fewer than two, or where all are equal.

    Raises ValueError where the two are of different length.

    Source: C. Spearman (1904), The proof and measurement of association between two things, American Journal
    of Psychology 15, 72-101; through `scipy.stats.spearmanr`.
    """
    if len(first) != len(second):
        raise ValueError(f"rank_correlation: {len(first)} and {len(second)} values; expected as many of both")
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


N_RESAMPLES = 9_999
"""Of a bootstrap."""


@dataclass(frozen=True, slots=True)
class ClusterMean:
    """A mean over rows, the standard error that filings (and draws) leave it, and degrees of freedom.

    `draws_variance` is the draws' share of the standard error's square.
    """

    estimate: float
    standard_error: float
    df: float
    n_rows: int
    n_filings: int
    draws_variance: float = 0.0

    @property
    def filings_variance(self) -> float:
        """The filings' share of the standard error's square."""
        return max(0.0, self.standard_error**2 - self.draws_variance)

    def interval(self) -> Interval:
        """The two-sided 95 % t interval."""
        reach = t_quantile(0.975, self.df) * self.standard_error
        return Interval(self.estimate - reach, self.estimate + reach)

    def p_above(self, margin: float) -> float:
        """One-sided p of "the mean is at most `margin`": small where it lies above."""
        distance = self.estimate - margin
        if self.standard_error == 0.0:
            return 0.0 if distance > 0 else 1.0
        from scipy.special import stdtr

        return float(stdtr(self.df, -distance / self.standard_error))


@dataclass(frozen=True, slots=True)
class FilingSums:
    """For each filing the sum of its rows' values and their number (or weight), which is above 0."""

    sums: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over rows."""
        return math.fsum(self.sums) / sum(self.counts)


def t_quantile(p: float, df: float) -> float:
    """Student's t below which a part `p` lies; `scipy.stats.t.ppf` without its overhead."""
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def _gather(values: Sequence[float], filings: Sequence[str]) -> FilingSums:
    rows: dict[str, list[float]] = {}
    for value, filing in zip(values, filings, strict=True):
        rows.setdefault(filing, []).append(value)
    return FilingSums(
        sums=tuple(math.fsum(own) for own in rows.values()), counts=tuple(len(own) for own in rows.values())
    )


def cluster_mean(values: Sequence[float], filings: Sequence[str], *, draws: Sequence[float] = ()) -> ClusterMean | None:
    """The mean of `values` over rows, with the standard error of whole filings; `None` below two filings.

    values: one number a row; filings: each row's filing. SE^2 = G / (G - 1) x sum over the G filings of
    (sum of the filing's residuals)^2 / n_rows^2, with G - 1 degrees of freedom.

    draws: where the values are differences from the mean of D random draws, the D draws' own means. Another
    set of draws would give another mean: s^2(draws) / D is added to SE^2, and the degrees of freedom are
    Satterthwaite's. `None` for a single draw, whose spread is unknown.

    Sources: A. C. Cameron and D. L. Miller (2015), A practitioner's guide to cluster-robust inference,
    Journal of Human Resources 50, 317-372 (CR1, t with G - 1); F. E. Satterthwaite (1946), An approximate
    distribution of estimates of variance components, Biometrics Bulletin 2, 110-114.
    """
    return mean_of_sums(_gather(values, filings), draws=draws)


def mean_of_sums(filings: FilingSums, *, draws: Sequence[float] = ()) -> ClusterMean | None:
    """`cluster_mean` of rows that are gathered by filing already."""
    groups, n_rows = len(filings.counts), int(sum(filings.counts))
    if groups < 2 or len(draws) == 1:
        return None
    mean = filings.mean
    residuals = (total - n * mean for total, n in zip(filings.sums, filings.counts, strict=True))
    of_filings = groups / (groups - 1) * math.fsum(r * r for r in residuals) / n_rows**2
    of_draws = variance(draws) / len(draws) if draws else 0.0
    both = of_filings + of_draws
    df = float(groups - 1)
    if of_draws > 0.0:
        df = both**2 / (of_filings**2 / (groups - 1) + of_draws**2 / (len(draws) - 1))
    return ClusterMean(mean, math.sqrt(both), df, n_rows, n_filings=groups, draws_variance=of_draws)


@dataclass(frozen=True, slots=True)
class RatioOfMeans:
    """The mean of one number a row over the mean of another on the same rows, with its 95 % interval."""

    estimate: float
    interval: Interval


def ratio_of_means(above: Sequence[float], below: Sequence[float], filings: Sequence[str]) -> RatioOfMeans | None:
    """The ratio of two means over the same rows; `None` where the lower one's interval holds 0, or below two filings.

    The interval holds every ratio r for which the mean of `above - r x below` is not different from 0 by the
    cluster-robust t of `cluster_mean`: where the lower mean is clear of 0, it is finite, and is found in closed form.

    Source: E. C. Fieller (1954), Some problems in interval estimation, Journal of the Royal Statistical Society B 16,
    175-185, with the covariance of clusters in place of that of independent rows.
    """
    upper, lower = cluster_mean(above, filings), cluster_mean(below, filings)
    both = cluster_mean([a + b for a, b in zip(above, below, strict=True)], filings)
    if upper is None or lower is None or both is None:
        return None
    a, b, t2 = upper.estimate, lower.estimate, t_quantile(0.975, lower.df) ** 2
    var_a, var_b = upper.standard_error**2, lower.standard_error**2
    covariance = (both.standard_error**2 - var_a - var_b) / 2
    # r lies within where (a - r b)^2 <= t^2 (var_a - 2 r covariance + r^2 var_b)
    square, half, rest = b * b - t2 * var_b, a * b - t2 * covariance, a * a - t2 * var_a
    if square <= 0:
        return None
    reach = math.sqrt(max(0.0, half * half - square * rest))
    return RatioOfMeans(a / b, Interval((half - reach) / square, (half + reach) / square))


def variance(values: Sequence[float]) -> float:
    """The unbiased variance of at least two values."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def bca_of_sums(filings: FilingSums, *, seed: int) -> Interval | None:
    """95 % BCa bootstrap interval of the mean over rows, resampling whole filings with all their rows.

    `None` below two filings, and where every filing has the same mean: nothing varies, and neither the
    correction nor the acceleration exists.

    Source: B. Efron (1987), Better bootstrap confidence intervals, Journal of the American Statistical
    Association 82, 171-185; through `scipy.stats.bootstrap`.
    """
    means = {total / n for total, n in zip(filings.sums, filings.counts, strict=True)}
    if len(means) < 2:
        return None
    import numpy as np
    from scipy.stats import bootstrap

    def mean(
        sums: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
        counts: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
        axis: int = -1,
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.asarray(sums.sum(axis=axis) / counts.sum(axis=axis))

    result = bootstrap(
        (np.array(filings.sums), np.array(filings.counts, dtype=float)),
        mean,
        paired=True,
        vectorized=True,
        confidence_level=0.95,
        n_resamples=N_RESAMPLES,
        method="BCa",
        random_state=np.random.default_rng(seed),
    )
    low, high = (float(end) for end in result.confidence_interval)
    return Interval(low, high) if math.isfinite(low) and math.isfinite(high) else None


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p-values, in the order given: compare each with the level for all together.

    Source: S. Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 65-70.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)

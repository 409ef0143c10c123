"""Statistics in which filings are the clusters: rows of one filing rise and fall together.

An estimate here is a mean over rows; what is drawn anew in thought is whole filings, so that each filing's sum and
number of rows are all that counts. Knows nothing of conditions, heads or reports. scipy and numpy are imported
inside the functions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.findings.stats import Interval

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
    """For each filing the sum of its rows' values and their number; at least one row each."""

    sums: tuple[float, ...]
    counts: tuple[int, ...]

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
    groups, n_rows = len(filings.counts), sum(filings.counts)
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

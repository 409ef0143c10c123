"""Statistics of matches: intervals of a proportion and tests of paired changes.

Thin and typed over scipy; every function names its source. Knows nothing of conditions, heads or reports.
Undefined is `None`, never a number. `harness.findings.clusters` holds what rests on filings as clusters.

scipy is imported inside the functions, so that importing this module costs nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval, in the unit of what it belongs to."""

    low: float
    high: float


def wilson(matches: int, n: int) -> Interval | None:
    """Wilson's 95 % score interval of a proportion, without continuity correction; `None` where n is 0.

    It takes the n trials as independent. Where rows share a filing they are not quite, and the interval is
    then too narrow: differences are judged by filing (`harness.findings.clusters`), not by this.

    Raises ValueError unless 0 <= matches <= n.

    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference,
    Journal of the American Statistical Association 22, 209-212; through `scipy.stats.binomtest`.
    """
    if not 0 <= matches <= n:
        raise ValueError(f"wilson: {matches} matches of {n}; expected 0 <= matches <= n")
    if n == 0:
        return None
    from scipy.stats import binomtest

    interval = binomtest(matches, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Interval(float(interval.low), float(interval.high))


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
    (`scipy.stats.binomtest`) instead of its chi-square approximation.
    """
    if lost + gained == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5).pvalue)


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
    for value in sums:
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

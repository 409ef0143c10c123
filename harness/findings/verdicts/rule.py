"""The rule of a gate as arithmetic on arrays: from sums by cluster to a share, its interval, a rank, and a verdict.

Three questions decide. (a) Do the judged heads cost more than control heads do, by more than a margin? (b) Do they cost
more of the right answers than their permutations do? (c) Do the controls themselves cost next to nothing? All costs are
shares of what the untouched model gets right. What is summed by cluster may be matches, or any other number a row; it
is `judge`'s (`gates`) to see that the sums are sound.

Every function takes any number of leading axes, so that one call judges one gate or ten thousand made-up ones: what
`simulation` measures is this very code. Knows nothing of heads, conditions, reports or words.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.findings.verdicts.verdict_data import Kind, Margins

if TYPE_CHECKING:  # whoever imports the plugin reads this module, and must not load numpy
    from numpy import bool_, float64, int64
    from numpy.typing import NDArray

    Array = NDArray[float64]
    Flags = NDArray[bool_]
    Codes = NDArray[int64]

KINDS: tuple[Kind, ...] = ("pass", "fail", "inconclusive", "invalid")

LEVEL = 0.05
"""The rank p that a gate may have at most to pass."""
LEAST_CLUSTERS = 10
"""With fewer clusters than this nothing is decided."""
LEAST_CLUSTERS_TO_FAIL = 20
"""With fewer clusters than this a gate does not fail: too little power to find an effect that is there."""
LEAST_RIGHT = 20
"""Right answers that rest on the needle, in `LEAST_CLUSTERS` clusters (or all, where there are fewer): with less there
is too little to lose."""
TOLERANCE = 1e-9
"""Of sums: what differs by less is as much."""


@dataclass(frozen=True, slots=True)
class Sums:
    """The outcome judged, summed by cluster.

    On all rows: untouched and judged, (..., clusters); controls, (..., clusters, draws), of as many draws as there are.
    On the rows that the untouched model answers rightly: kept, the judged heads' (..., clusters), and permutations,
    (..., clusters, draws). right: (..., clusters), how many answers the untouched model gets right that rest on the
    needle.
    """

    untouched: "Array"
    judged: "Array"
    controls: "Array"
    kept: "Array"
    permutations: "Array"
    right: "Array"

    @property
    def n_clusters(self) -> int:
        """Clusters of each gate."""
        return int(self.untouched.shape[-1])


@dataclass(frozen=True, slots=True)
class Share:
    """A share of what the untouched model gets right, with its standard error: arrays of the leading axes' shape.

    `draws_variance` is the draws' part of the standard error's square.
    """

    estimate: "Array"
    standard_error: "Array"
    df: "Array"
    draws_variance: "Array"

    def bounds(self) -> "tuple[Array, Array]":
        """The two ends of the two-sided 95 % t interval."""
        from scipy.special import stdtrit

        reach = stdtrit(self.df, 0.975) * self.standard_error
        return self.estimate - reach, self.estimate + reach

    def p_above(self, margin: float) -> "Array":
        """One-sided p of "the share is at most `margin`": small where it lies above."""
        import numpy as np
        from scipy.special import stdtr

        distance = self.estimate - margin
        with np.errstate(divide="ignore", invalid="ignore"):
            p = stdtr(self.df, -distance / self.standard_error)
        certain = np.where(distance > 0, 0.0, 1.0)
        return np.where(self.standard_error == 0.0, certain, p)


@dataclass(frozen=True, slots=True)
class Estimates:
    """What (a), (b) and (c) rest on: the difference of judged and controls, the controls' cost, and the rank."""

    difference: Share
    control: Share
    rank_p: "Array"
    least_rank_p: float


def estimate(sums: Sums) -> Estimates:
    """The estimates of at least two clusters, two controls and one permutation; not a number where nothing is right."""
    mean_control = sums.controls.mean(axis=-1)
    return Estimates(
        difference=share(mean_control - sums.judged, sums.untouched, sums.controls),
        control=share(sums.untouched - mean_control, sums.untouched, sums.controls),
        rank_p=rank_p(sums.kept.sum(axis=-1), sums.permutations.sum(axis=-2)),
        least_rank_p=1 / (sums.permutations.shape[-1] + 1),
    )


def share(part: "Array", whole: "Array", draws: "Array") -> Share:
    """The sum of `part` by that of `whole`, both (..., clusters), with a standard error over clusters and draws.

    SE^2 = (G - 1) / G x sum over the G clusters of (share without the cluster - share)^2, which holds where clusters
    are as uneven as 30 rows and 2, + s^2 / D of the D draws' totals, (..., clusters, draws): another D draws would have
    another mean. Degrees of freedom are Satterthwaite's of G - 1 and D - 1. Where one cluster holds the whole, the
    standard error is infinite.

    Sources: R. G. Miller (1974), The jackknife - a review, Biometrika 61, 1-15; J. G. MacKinnon, M. O. Nielsen and
    M. D. Webb (2023), Fast and reliable jackknife and bootstrap methods for cluster-robust inference, Journal of
    Applied Econometrics 38, 671-694; F. E. Satterthwaite (1946), An approximate distribution of estimates of variance
    components, Biometrics Bulletin 2, 110-114.
    """
    import numpy as np

    groups, n_draws = whole.shape[-1], draws.shape[-1]
    of_part, of_whole = part.sum(axis=-1), whole.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = of_part / of_whole
        without = (of_part[..., None] - part) / (of_whole[..., None] - whole)
        off = np.where(np.isfinite(without), without - found[..., None], np.inf)
        clusters = (groups - 1) / groups * (off**2).sum(axis=-1)
        over_draws = draws.sum(axis=-2).var(axis=-1, ddof=1) / n_draws / of_whole**2
        both = clusters + over_draws
        df = both**2 / (clusters**2 / (groups - 1) + over_draws**2 / (n_draws - 1))
    df = np.where(np.isfinite(df), df, groups - 1.0)
    return Share(found, np.sqrt(both), df, over_draws)


def rank_p(kept: "Array", permutations: "Array") -> "Array":
    """(1 + permutations that leave as little) / (D + 1). kept: (...); permutations: (..., D); both totals.

    Source: B. Phipson and G. K. Smyth (2010), Permutation p-values should never be zero, Statistical Applications in
    Genetics and Molecular Biology 9, article 39.
    """
    import numpy as np

    reach = TOLERANCE * np.maximum(1.0, np.abs(kept))
    as_little = permutations <= (kept + reach)[..., None]
    return np.asarray((1 + as_little.sum(axis=-1)) / (permutations.shape[-1] + 1))


def holds(found: Estimates, margins: Margins) -> "tuple[Flags, Flags, Flags]":
    """The three conditions of `pass`.

    (a) the lower end of the difference's interval is above the margin; (b) the rank p is at most 0.05; (c) the controls
    cost at most `flat` in the mean.
    """
    low, _ = found.difference.bounds()
    above, unusual = low > margins.margin, found.rank_p <= LEVEL + TOLERANCE
    return above, unusual, found.control.estimate <= margins.flat


def too_little(right: "Array") -> "Flags":
    """Whether too few right answers rest on the needle, or in too few clusters. right: (..., clusters)."""
    import numpy as np

    with_any = (right > 0).sum(axis=-1)
    few = (right.sum(axis=-1) < LEAST_RIGHT) | (with_any < min(LEAST_CLUSTERS, right.shape[-1]))
    return np.asarray(few)


def decide(sums: Sums, found: Estimates, margins: Margins) -> "Codes":
    """The verdict that the figures alone give, as an index into `KINDS`.

    `invalid` where there is too little to lose, or where the controls surely cost more than `flat`. `pass` where (a),
    (b) and (c) hold. `fail` where the difference's interval lies below the margin, with 20 clusters at least. Else
    `inconclusive`, as with fewer than 10 clusters, or where no rank p of 0.05 can be reached.
    """
    import numpy as np

    groups = sums.n_clusters
    above, unusual, flat = holds(found, margins)
    _, high = found.difference.bounds()
    damaging, _ = found.control.bounds()
    enough = groups >= LEAST_CLUSTERS and found.least_rank_p <= LEVEL + TOLERANCE
    unsound = too_little(sums.right) | (damaging > margins.flat)
    passes = above & unusual & flat & enough
    fails = (high < margins.margin) & (enough and groups >= LEAST_CLUSTERS_TO_FAIL)
    return np.select([unsound, passes, fails], [KINDS.index("invalid"), 0, 1], default=KINDS.index("inconclusive"))

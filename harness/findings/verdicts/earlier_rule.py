"""The rule of version 0.1.0, to compare the present one with on the same made-up experiments.

`pass` needed (a) the t interval of the judged heads' drop less the mean of five controls' above ten points; (b) the
judged drop above the upper end of what one more draw would give, as if draws were normal; (c) the upper end of the
controls' mean drop at most ten points. Drops are points of all rows. Below an accuracy of one half, or with less than
twice the margin resting on the needle, it was `invalid`.
"""

from typing import TYPE_CHECKING

from harness.findings.verdicts.rule import KINDS, LEAST_CLUSTERS, LEAST_CLUSTERS_TO_FAIL

if TYPE_CHECKING:  # as in `rule`
    from harness.findings.verdicts.rule import Array, Codes

DRAWS = 5
MARGIN = FLAT = 0.1
FLOOR = 0.5


def decide_as_before(rows: "Array", untouched: "Array", judged: "Array", controls: "Array") -> "Codes":
    """The verdicts, as indices into `KINDS`.

    rows, untouched, judged: (..., clusters); controls: (..., clusters, draws), of which the first five are taken.
    Nothing is right without the needle.
    """
    import numpy as np
    from scipy.special import stdtrit

    controls = controls[..., :DRAWS]
    n, groups = rows.sum(axis=-1), untouched.shape[-1]
    accuracy = untouched.sum(axis=-1) / n
    drop = (untouched - judged).sum(axis=-1) / n
    drops = (untouched.sum(axis=-1)[..., None] - controls.sum(axis=-2)) / n[..., None]
    of_draws = drops.var(axis=-1, ddof=1)

    def interval(values: "Array") -> "tuple[Array, Array]":
        mean = values.sum(axis=-1) / n
        residuals = values - mean[..., None] * rows
        clusters = groups / (groups - 1) * (residuals**2).sum(axis=-1) / n**2
        both = clusters + of_draws / DRAWS
        with np.errstate(invalid="ignore"):
            df = both**2 / (clusters**2 / (groups - 1) + (of_draws / DRAWS) ** 2 / (DRAWS - 1))
        reach = stdtrit(np.where(np.isfinite(df), df, groups - 1.0), 0.975) * np.sqrt(both)
        return mean - reach, mean + reach

    low, high = interval(controls.mean(axis=-1) - judged)
    control_low, control_high = interval(untouched - controls.mean(axis=-1))
    next_draw = drops.mean(axis=-1) + stdtrit(DRAWS - 1.0, 0.95) * np.sqrt(of_draws * (1 + 1 / DRAWS))
    unsound = (accuracy < FLOOR) | (accuracy < 2 * MARGIN) | (control_low > FLAT)
    passes = (low > MARGIN) & (drop > next_draw) & (control_high <= FLAT) & (groups >= LEAST_CLUSTERS)
    fails = (high < MARGIN) & (groups >= LEAST_CLUSTERS_TO_FAIL)
    return np.select([unsound, passes, fails], [KINDS.index("invalid"), 0, 1], default=KINDS.index("inconclusive"))

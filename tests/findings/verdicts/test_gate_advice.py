"""What would decide: the formulas by hand, and when nothing would."""

import math

import pytest

from harness.findings.statistics import ClusterMean
from harness.findings.verdicts.gate_advice import Needed, what_would_decide


def advice(
    difference: ClusterMean | None,
    *,
    random: ClusterMean | None = None,
    draws: tuple[float, ...] = (0.0, 0.01, 0.02),
    drop: float = 0.9,
    n_filings: int = 25,
) -> Needed:
    control = random or ClusterMean(0.01, 0.001, 10, 100, 25)
    return what_would_decide(
        difference, control, draws, drop=drop, bounds=(0.1, 0.1), least_filings=(n_filings, 10, 20)
    )


def mean(estimate: float, se: float, draws_variance: float = 0.0, n_filings: int = 25) -> ClusterMean:
    return ClusterMean(estimate, se, 24, 100, n_filings, draws_variance)


def test_filings_by_hand() -> None:
    """SD of a filing = 0.05 x 5; (2.8 x 0.25 / 0.08)^2 = 76.6."""
    found = advice(mean(0.18, 0.05))
    assert (found.filings, found.draws) == (77, None)
    assert found.reasons == (
        "the interval of the difference holds the margin of 10 points: about 77 filings would decide, "
        "if estimate and spread stay",
    )


def test_draws_where_they_are_the_larger_share() -> None:
    """s^2 / D = 0.0016 of 0.0025 in all: s = 0.04 x sqrt(3); (2.8 x s / 0.08)^2 = 5.88."""
    found = advice(mean(0.18, 0.05, draws_variance=0.0016))
    assert (found.filings, found.draws) == (None, 6)


@pytest.mark.parametrize("estimate", [0.1, 0.105])
def test_too_close(estimate: float) -> None:
    found = advice(mean(estimate, 0.05))
    assert (found.filings, found.draws) == (None, None)
    assert found.reasons[0].endswith("too close to that, 10 times as many filings would not decide")


def test_too_few_to_fail_on() -> None:
    found = advice(mean(0.0, 0.01), n_filings=15)
    assert found.filings == 20


def test_draws_that_the_heads_are_not_outside_of() -> None:
    """Mean 0, s 0.1: n draws do where 0.25 > t(.95, n - 1) x 0.1 x sqrt(1 + 1 / n); t(.95, 3) = 2.353, 4: 2.132."""
    assert 2.353 * 0.1 * math.sqrt(1 + 1 / 4) > 0.25 > 2.132 * 0.1 * math.sqrt(1 + 1 / 5)
    found = advice(mean(0.25, 0.05), drop=0.25, draws=(-0.1, 0.0, 0.1))
    assert found.draws == 5
    far = advice(mean(0.25, 0.05), drop=0.15, draws=(-0.1, 0.0, 0.1))
    assert far.draws is None
    assert far.reasons == (
        "the drop lies within what one more random draw would give, and would with 10 times the draws",
    )


def test_a_control_that_is_not_flat() -> None:
    bad = advice(mean(0.5, 0.05), random=mean(0.12, 0.02))
    assert bad.reasons == ("random heads may cost more than 10 points, 12.0 by the estimate: the control is not flat",)
    wide = advice(mean(0.5, 0.05), random=mean(0.05, 0.03))
    assert wide.filings == math.ceil((2.8 * 0.15 / 0.05) ** 2)


def test_several_needs_are_the_largest_of_each() -> None:
    found = advice(None, draws=(0.1,), n_filings=4)
    assert (found.filings, found.draws) == (10, 5)
    assert found.reasons == (
        "1 random draw: how far draws differ is unknown; ask for 5 or more with --ablation-random-draws",
        "4 filings: fewer than 10 decide nothing; give 10 or more",
    )
    assert advice(None, n_filings=1).reasons == ("1 filing: fewer than 10 decide nothing; give 10 or more",)

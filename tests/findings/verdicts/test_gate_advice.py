"""What would decide: the formulas by hand, and when nothing would."""

import math
from typing import Any

import numpy as np
import pytest

from harness.findings.verdicts.gate_advice import Needed, what_would_decide
from harness.findings.verdicts.gate_samples import ClusterSums, GateData, Premises
from harness.findings.verdicts.rule import Estimates, Share
from harness.findings.verdicts.verdict_data import Margins


def share(estimate: float, se: float, draws_variance: float = 0.0) -> Share:
    of: Any = np.asarray
    return Share(of(estimate), of(se), of(24.0), of(draws_variance))


FLAT = share(0.01, 0.001)


def advice(
    difference: Share,
    *,
    control: Share = FLAT,
    rank_p: float = 0.05,
    n_clusters: int = 25,
    premises: Premises | None = None,
    draws: int = 19,
) -> Needed:
    cluster = ClusterSums(9, 9, 0, 9, 1, (9,) * draws, 9, 1, (9,) * draws)
    data = GateData(draws, draws, (cluster,) * n_clusters)
    found = Estimates(difference, control, np.asarray(rank_p), 1 / (draws + 1))
    return what_would_decide(data, found, Margins(), premises or Premises())


def test_clusters_by_hand() -> None:
    """SD of a cluster = 0.05 x 5; (2.8 x 0.25 / 0.08)^2 = 76.6."""
    found = advice(share(0.18, 0.05))
    assert (found.clusters, found.draws) == (77, None)
    assert found.reasons == (
        "the interval of the difference holds the margin of 10%: about 77 clusters would decide, "
        "if estimate and spread stay",
    )


def test_draws_where_they_are_the_larger_share() -> None:
    """s^2 / 19 = 0.0016 of 0.0025 in all: s = 0.04 x sqrt(19); (2.8 x s / 0.08)^2 = 37.2."""
    found = advice(share(0.18, 0.05, 0.0016))
    assert (found.clusters, found.draws) == (None, 38)
    assert "about 38 draws (--ablation-gate-draws) would decide" in found.reasons[0]


@pytest.mark.parametrize("estimate", [0.1, 0.11])
def test_an_estimate_at_the_margin_is_not_decided_by_ten_times_as_much(estimate: float) -> None:
    found = advice(share(estimate, 0.05))
    assert (found.clusters, found.draws) == (None, None)
    assert found.reasons[0].endswith("the estimate is too close to that, 10 times as many clusters would not decide")


def test_an_unknown_error_is_no_number() -> None:
    assert advice(share(0.5, math.inf)).clusters is None


def test_few_clusters_and_few_draws_are_both_said() -> None:
    found = advice(share(0.5, 0.05), n_clusters=9, draws=5, rank_p=1 / 6)
    assert (found.clusters, found.draws) == (10, 19)
    assert [reason.partition(":")[0] for reason in found.reasons] == [
        "9 clusters",
        "5 permutations give no rank p below 0.17; ask for 19 or more with --ablation-gate-draws",
    ]


def test_a_difference_below_the_margin_needs_twenty_clusters_to_fail_on() -> None:
    found = advice(share(0.0, 0.01), n_clusters=12)
    assert (found.clusters, found.reasons) == (
        20,
        ("the difference is below the margin, but 12 clusters are too few to fail on",),
    )


def test_permutations_that_cost_as_much_and_what_they_hold() -> None:
    found = advice(share(0.5, 0.05), rank_p=0.2, premises=Premises(held=0.45, n_sets=1000))
    assert found.reasons == (
        "3 of 19 permutations cost as much (rank p 0.20, asked for: 0.05 at most): these heads are not unusual among "
        "heads of their layers; a permutation holds 45% of them, fewer in wider strata (--ablation-gate-strata), and a "
        "few of them may carry all",
    )
    few = advice(share(0.5, 0.05), rank_p=0.2, premises=Premises(held=0.02, n_sets=1000))
    assert few.reasons[0].endswith("among heads of their layers")


@pytest.mark.parametrize(
    ("premises", "end"),
    [
        (
            Premises(n_sets=1),
            "there is one such set in these strata, so no rank p below 1.00; no k or stratum gives enough",
        ),
        (
            Premises(n_sets=9, enough_layers=3),
            "there are 9 such sets in these strata, so no rank p below 0.11; --ablation-gate-strata 3 would give "
            "enough",
        ),
    ],
)
def test_too_few_sets(premises: Premises, end: str) -> None:
    assert advice(share(0.5, 0.05), premises=premises, draws=8, rank_p=1 / 9).reasons == (end,)


def test_a_control_that_is_not_flat() -> None:
    found = advice(share(0.5, 0.05), control=share(0.12, 0.05))
    assert found.reasons[0].startswith("other heads of the same layers cost 12.0% of the right answers, more than 10%")

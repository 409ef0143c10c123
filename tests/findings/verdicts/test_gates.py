"""Verdicts: the figures by hand, every way to a verdict, and what no verdict may depend on."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.findings.verdicts.gate_samples import ClusterSums, GateData, Premises
from harness.findings.verdicts.gates import Needed, judge, what_would_decide
from harness.findings.verdicts.rule import Estimates, Share
from harness.findings.verdicts.verdict_data import Margins, Verdict

repeatable = settings(derandomize=True, deadline=None, max_examples=60)
MARGINS, SOUND = Margins(), Premises(leaked_filings=0)
DRAWS = 19


def verdict_of(data: GateData, margins: Margins = MARGINS, premises: Premises = SOUND) -> Verdict:
    return judge(data, margins, premises, bootstrap=False)


def gate(n: int, *clusters: tuple[float, float, Sequence[float], Sequence[float]], absent: float = 0) -> GateData:
    """Clusters of n rows, as (matches untouched, under the judged heads, under each control, each permutation).

    No answer that is wrong untouched becomes right.
    """
    made = tuple(
        ClusterSums(
            n,
            before,
            absent,
            round(max(0, before - absent)),
            judged,
            tuple(controls),
            answered=round(before),
            kept=judged,
            permutations=tuple(permutations),
        )
        for before, judged, controls, permutations in clusters
    )
    first = made[0] if made else None
    return GateData(*((0, 0) if first is None else (len(first.controls), len(first.permutations))), made)


def drawn(
    n_clusters: int, *, judged: float, controls: float = 0.98, permuted: float = 0.9, draws: int = DRAWS, seed: int = 0
) -> GateData:
    """Nine rows a cluster, all answered untouched; under heads with these chances."""
    generator = random.Random(seed)

    def kept(chance: float) -> int:
        return sum(generator.random() < chance for _ in range(9))

    return gate(
        9,
        *(
            (9, kept(judged), [kept(controls) for _ in range(draws)], [kept(permuted) for _ in range(draws)])
            for _ in range(n_clusters)
        ),
    )


PASSING = drawn(20, judged=0.2)


def test_figures_by_hand() -> None:
    """Four clusters of two rows, all answered untouched; two controls that cost 1 and 3 of 8 rows."""
    data = gate(2, (2, 0, (2, 1), (2,)), (2, 1, (2, 1), (2,)), (2, 0, (1, 2), (0,)), (2, 1, (2, 1), (2,)))
    found = verdict_of(data)
    assert (found.n, found.clusters, found.right, found.baseline, found.needle_absent) == (8, 4, 8, 1.0, 0.0)
    assert (found.drop, found.control_drops, found.control_drop) == (0.75, (0.125, 0.375), 0.25)
    assert (found.permutation_drops, found.rank_p, found.least_rank_p) == ((0.25,), 0.5, 0.5)
    assert (found.difference, found.share) == (0.5, 0.5)
    # mean control less judged: 1.5, 0.5, 1.5, 0.5 of 2; without one cluster 2.5 / 6 or 3.5 / 6
    clusters, draws = 3 / 4 * 4 * (1 / 12) ** 2, 2 / 2 / 64
    assert found.standard_error == pytest.approx((clusters + draws) ** 0.5)
    assert found.df == pytest.approx((clusters + draws) ** 2 / (clusters**2 / 3 + draws**2 / 1))
    assert found.control_share == 0.25


def test_of_a_model_that_knows_half_shares_are_twice_the_points() -> None:
    data = gate(2, *[(1, 0.25, (1, 1), (1,) * DRAWS)] * 30)
    found = verdict_of(data)
    assert (found.baseline, found.difference, found.share, found.verdict) == (0.5, 0.375, 0.75, "pass")


def test_pass() -> None:
    found = judge(PASSING, MARGINS, SOUND)
    assert (found.verdict, found.reasons) == ("pass", ())
    assert found.above_margin.holds
    assert found.unusual.holds
    assert found.flat_control.holds
    assert found.interval is not None
    assert found.bca is not None
    assert found.bca[0] == pytest.approx(found.interval[0], abs=0.05)


def test_fail_and_its_two_ways_to_say_it() -> None:
    none = verdict_of(drawn(30, judged=0.97, controls=0.97))
    said = "these heads do not cost 10% of the right answers more than other heads of the same layers"
    assert (none.verdict, none.reasons) == ("fail", (said,))
    little = verdict_of(drawn(200, judged=0.94))
    assert little.verdict == "fail"
    assert little.reasons == ("these heads matter, but by less than the margin of 10% of the right answers",)


def test_fewer_than_twenty_clusters_do_not_fail_and_fewer_than_ten_decide_nothing() -> None:
    no_effect = drawn(30, judged=0.97, controls=0.97)
    few = verdict_of(replace(no_effect, clusters=no_effect.clusters[:19]))
    assert (few.verdict, few.needed_clusters) == ("inconclusive", 20)
    nine = verdict_of(replace(PASSING, clusters=PASSING.clusters[:9]))
    assert (nine.verdict, nine.needed_clusters) == ("inconclusive", 10)
    assert nine.reasons[0] == "9 clusters: fewer than 10 decide nothing; give 10 or more"
    assert verdict_of(replace(PASSING, clusters=PASSING.clusters[:10])).verdict == "pass"


@pytest.mark.parametrize("draws", [1, 5, 18])
def test_with_fewer_than_nineteen_draws_no_rank_is_low_enough(draws: int) -> None:
    found = verdict_of(drawn(30, judged=0.0, draws=draws))
    assert (found.verdict, found.needed_draws) == ("inconclusive", 19)
    assert f"no rank p below {1 / (draws + 1):.2f}; ask for 19 or more with --ablation-gate-draws" in found.reasons[0]
    if draws == 1:
        assert (found.share, found.interval, found.rank_p) == (None, None, None)


def test_where_there_are_few_sets_the_k_and_the_stratum_that_could_are_named() -> None:
    few = replace(SOUND, n_sets=9, enough_heads=2, enough_layers=3)
    found = verdict_of(drawn(30, judged=0.0, draws=8), premises=few)
    assert (found.verdict, found.needed_draws) == ("inconclusive", None)
    assert found.reasons == (
        "there are 9 such sets in these strata, so no rank p below 0.11; --ablation-gate-k 2 or "
        "--ablation-gate-strata 3 would give enough",
    )


def test_heads_that_are_not_unusual_do_not_pass() -> None:
    """Six of forty draws cost exactly as much in every cluster. Once: `pass`, with a rank p of 0.17."""
    data = gate(9, *[(9, 5, [9] * 34 + [5] * 6, [9] * 34 + [5] * 6)] * 30)
    found = verdict_of(data, Margins(flat=0.2))
    assert (found.verdict, found.above_margin.holds, found.unusual.holds) == ("inconclusive", True, False)
    assert found.rank_p == pytest.approx(7 / 41)
    assert found.reasons[0].startswith("6 of 40 permutations cost as much (rank p 0.17, asked for: 0.05 at most)")


def test_a_set_that_costs_rarely_is_one_of_many() -> None:
    """Forty permutations, two of which cost more: within the 5 % that chance gives."""
    data = gate(9, *[(9, 2, [9] * 40, [9] * 39 + [0])] * 30)
    assert verdict_of(data).verdict == "pass"
    data = gate(9, *[(9, 2, [9] * 40, [9] * 38 + [0] * 2)] * 30)
    assert verdict_of(data).verdict == "inconclusive"


def test_a_control_that_is_not_flat_in_the_mean_is_not_passed() -> None:
    """Controls cost 2 to 20 %, 11 % in the mean: more than 10 %, but perhaps by chance."""
    controls = [9 - 0.18 * (1 + i * 9 / 18) for i in range(19)]
    data = gate(9, *[(9, 1, controls, [8] * 19)] * 30)
    found = verdict_of(data)
    assert (found.verdict, found.above_margin.holds, found.unusual.holds) == ("inconclusive", True, True)
    assert found.reasons == (
        "other heads of the same layers cost 11.0% of the right answers, more than 10%: the control is not flat; judge "
        "fewer heads",
    )


@pytest.mark.parametrize(
    ("data", "premises", "said"),
    [
        (PASSING, Premises(missing=("general[k20]: 3 of 189 rows",)), "general[k20]: 3 of 189 rows"),
        (PASSING, Premises(leaked_filings=2), "2 of the evaluated filings also made the ranking"),
        (PASSING, Premises(candidates=("L1H2",)), "retrieval candidates themselves: L1H2"),
        (PASSING, Premises(broken="plain text -1.90 nats a token"), "break the model (plain text -1.90 nats a token)"),
        (gate(9), SOUND, "no row has all the records"),
        (gate(9, *[(1, 0, [1] * 19, [1] * 19)] * 19), SOUND, "19 right answers in 19 clusters rest on the needle"),
        (gate(9, *[(0, 0, [0] * 19, [0] * 19)] * 30), SOUND, "0 right answers in 0 clusters rest on the needle"),
        (
            gate(90, *[(90, 0, [90] * 19, [90] * 19)] * 20, absent=84),
            SOUND,
            "7% of the right answers rest on the needle: the margin of 10% can never be met by losing it",
        ),
        (gate(9, *[(9, 0, [6] * 19, [6] * 19)] * 20), SOUND, "the control damages the model: other heads of the same"),
    ],
)
def test_what_makes_a_gate_invalid(data: GateData, premises: Premises, said: str) -> None:
    found = verdict_of(data, premises=premises)
    assert found.verdict == "invalid"
    assert any(said in reason for reason in found.reasons)


def test_a_model_that_knows_one_in_five_can_be_judged() -> None:
    """Two of nine rows right, none under the judged heads. Once: invalid, "less than 50 %: too little to lose"."""
    found = verdict_of(gate(9, *[(2, 0, [2] * 19, [2] * 19)] * 12))
    assert found.baseline == pytest.approx(2 / 9)
    assert found.verdict == "pass"


def test_an_unknown_split_is_at_best_inconclusive_unless_the_user_vouches_for_it() -> None:
    found = verdict_of(PASSING, premises=Premises(leaked_filings=None))
    assert found.verdict == "inconclusive"
    assert "--ablation-heads-held-out" in found.reasons[0]
    assert verdict_of(PASSING, premises=Premises(leaked_filings=None, held_out=True)).verdict == "pass"


@pytest.mark.parametrize(("kept", "would_pass"), [(1.0, True), (8.9, False)])
def test_the_lowest_heads_are_judged_beside_the_same_draws(kept: float, would_pass: bool) -> None:
    data = replace(
        PASSING, clusters=tuple(replace(cluster, lowest=kept, kept_by_lowest=kept) for cluster in PASSING.clusters)
    )
    found = verdict_of(data).lowest
    assert found is not None
    assert found.drop == pytest.approx(1 - kept / 9)
    assert found.would_pass is would_pass
    assert verdict_of(PASSING).lowest is None


def test_nothing_is_none() -> None:
    found = judge(gate(9), MARGINS, SOUND)
    assert found.verdict == "invalid"
    assert (found.n, found.clusters, found.control_drops) == (0, 0, ())
    for name in (
        "baseline needle_absent drop control_drop difference share standard_error df interval bca control_share "
        "control_interval rank_p least_rank_p lowest"
    ).split():
        assert getattr(found, name) is None, name
    for check in (found.above_margin, found.unusual, found.flat_control):
        assert (check.holds, check.value, check.bound) == (False, None, None)


def clusters(n_draws: int) -> st.SearchStrategy[ClusterSums]:
    """Any cluster of one to six rows."""

    def counts(n: int) -> st.SearchStrategy[ClusterSums]:
        few = st.integers(0, n)
        draws = st.lists(few, min_size=n_draws, max_size=n_draws).map(tuple)

        def of(before: int) -> st.SearchStrategy[ClusterSums]:
            kept = st.integers(0, before)
            permuted = st.lists(kept, min_size=n_draws, max_size=n_draws).map(tuple)
            known = st.just(before)
            return st.builds(ClusterSums, st.just(n), known, few, few, few, draws, known, kept, permuted)

        return few.flatmap(of)

    return st.integers(1, 6).flatmap(counts)


gates = st.integers(2, 5).flatmap(
    lambda d: st.lists(clusters(d), min_size=2, max_size=25).map(lambda found: GateData(d, d, tuple(found)))
)


@repeatable
@given(gates, st.randoms(use_true_random=False))
def test_order_of_clusters_and_of_draws_is_nothing(data: GateData, generator: random.Random) -> None:
    order = generator.sample(range(data.n_controls), data.n_controls)
    shuffled = [
        replace(
            cluster,
            controls=tuple(cluster.controls[i] for i in order),
            permutations=tuple(cluster.permutations[i] for i in order),
        )
        for cluster in data.clusters
    ]
    generator.shuffle(shuffled)
    once, again = verdict_of(data), verdict_of(replace(data, clusters=tuple(shuffled)))
    assert (once.verdict, once.rank_p) == (again.verdict, again.rank_p)
    if once.interval is not None:
        assert again.interval == pytest.approx(once.interval)
    assert sorted(once.permutation_drops) == pytest.approx(sorted(again.permutation_drops))


@repeatable
@given(gates)
def test_pass_and_fail_rest_on_their_conditions(data: GateData) -> None:
    found = verdict_of(data)
    held = all(check.holds for check in (found.above_margin, found.unusual, found.flat_control))
    if found.verdict == "pass":
        assert held
        assert found.clusters >= 10
    elif found.verdict == "fail":
        assert found.interval is not None
        assert found.interval[1] < MARGINS.margin
        assert found.clusters >= 20
    assert bool(found.reasons) == (found.verdict != "pass")


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

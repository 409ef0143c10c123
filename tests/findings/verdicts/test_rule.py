"""The rule's arithmetic, against slow references and figures worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.findings.verdicts.rule import KINDS, Sums, decide, estimate, holds, rank_p, share, too_little
from harness.findings.verdicts.verdict_data import Margins

Array = NDArray[np.float64]


def sums(untouched: Any, judged: Any, controls: Any, permutations: Any, right: Any = None, kept: Any = None) -> Sums:
    """Of a model that gets no wrong answer right when its heads are zeroed, unless `kept` says so."""
    right, kept = untouched if right is None else right, judged if kept is None else kept
    return Sums(*(np.asarray(each, dtype=float) for each in (untouched, judged, controls, kept, permutations, right)))


def made(generator: np.random.Generator, clusters: int = 12, draws: int = 19) -> Sums:
    before = generator.integers(5, 10, clusters)
    return sums(
        before,
        generator.binomial(before, 0.4),
        generator.binomial(before[:, None], 0.9, (clusters, draws)),
        generator.binomial(before[:, None], 0.7, (clusters, draws)),
    )


def test_a_share_and_its_error_are_those_of_a_slow_jackknife() -> None:
    """Each cluster left out in turn, and the share taken anew."""
    generator = np.random.default_rng(1)
    whole, draws = generator.integers(2, 30, 15).astype(float), generator.integers(2, 30, (15, 19)).astype(float)
    part = generator.binomial(whole.astype(int), 0.3).astype(float)
    found = share(part, whole, draws)
    left_out = [sum(np.delete(part, i)) / sum(np.delete(whole, i)) for i in range(15)]
    estimate_ = sum(part) / sum(whole)
    clusters = 14 / 15 * sum((each - estimate_) ** 2 for each in left_out)
    totals = draws.sum(axis=0)
    of_draws = sum((total - totals.mean()) ** 2 for total in totals) / 18 / 19 / sum(whole) ** 2
    assert found.estimate == pytest.approx(estimate_)
    assert found.draws_variance == pytest.approx(of_draws)
    assert found.standard_error == pytest.approx(math.sqrt(clusters + of_draws))
    assert found.df == pytest.approx((clusters + of_draws) ** 2 / (clusters**2 / 14 + of_draws**2 / 18))


def test_the_interval_is_students() -> None:
    """4 clusters of 10, of which 1, 2, 3 and 2 are lost; draws that are all alike.

    Share 0.2; without a cluster 7/30, 6/30, 5/30, 6/30; SE^2 = 3/4 x 2/900; t(.975, 3) = 3.1824.
    """
    found = share(np.array([1.0, 2.0, 3.0, 2.0]), np.full(4, 10.0), np.ones((4, 5)))
    low, high = found.bounds()
    reach = 3.182446 * math.sqrt(0.75 * 2 / 900)
    assert [float(found.estimate), float(low), float(high)] == pytest.approx([0.2, 0.2 - reach, 0.2 + reach])
    assert found.p_above(0.2) == pytest.approx(0.5)
    assert found.p_above(float(low)) == pytest.approx(0.025)


def test_where_nothing_varies_the_share_is_certain() -> None:
    found = share(np.full(6, 3.0), np.full(6, 9.0), np.full((6, 19), 4.0))
    assert found.standard_error == pytest.approx(0, abs=1e-12)
    assert [float(end) for end in found.bounds()] == pytest.approx([1 / 3, 1 / 3])


def test_where_one_cluster_holds_all_right_answers_nothing_is_known() -> None:
    found = share(np.array([3.0, 0, 0]), np.array([9.0, 0, 0]), np.zeros((3, 4)))
    assert found.standard_error == math.inf


@pytest.mark.parametrize(
    ("judged", "others", "expected"),
    [(3, [4, 5, 6], 1 / 4), (4, [4, 5, 6], 2 / 4), (7, [4, 5, 6], 4 / 4), (0.1 + 0.2, [0.3], 1.0)],
)
def test_rank_p_counts_whatever_costs_as_much(judged: float, others: list[float], expected: float) -> None:
    assert rank_p(np.asarray(judged, dtype=float), np.asarray(others, dtype=float)) == expected


def test_one_call_judges_many_as_it_judges_each() -> None:
    many = [made(np.random.default_rng(seed)) for seed in range(30)]
    together = Sums(
        *(
            np.stack([getattr(each, name) for each in many])
            for name in ("untouched", "judged", "controls", "kept", "permutations", "right")
        )
    )
    one_by_one = [int(decide(each, estimate(each), Margins())) for each in many]
    assert decide(together, estimate(together), Margins()).tolist() == one_by_one


def clean(clusters: int = 20, *, judged: float = 3, control: float = 9, permuted: float = 8, draws: int = 19) -> Sums:
    """Nine right answers a cluster, and everywhere the same left."""
    shape = (clusters, draws)
    return sums(np.full(clusters, 9), np.full(clusters, judged), np.full(shape, control), np.full(shape, permuted))


def verdict(of: Sums, margins: Margins = Margins()) -> str:  # noqa: B008  # frozen
    return KINDS[int(decide(of, estimate(of), margins))]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (clean(), "pass"),
        (clean(clusters=10), "pass"),
        (clean(clusters=9), "inconclusive"),
        (clean(judged=8.5), "fail"),
        (clean(clusters=19, judged=8.5), "inconclusive"),
        (clean(permuted=3), "inconclusive"),  # permutations cost as much
        (clean(draws=18), "inconclusive"),  # no rank p of 0.05
        (clean(control=8, judged=3), "invalid"),  # controls surely cost 11 %
        (sums([9] * 20, [0] * 20, [[9] * 19] * 20, [[9] * 19] * 20, right=[1] * 19 + [0]), "invalid"),
        (sums([9] * 20, [0] * 20, [[9] * 19] * 20, [[9] * 19] * 20, right=[3] * 9 + [0] * 11), "invalid"),
        (sums([0] * 20, [0] * 20, [[0] * 19] * 20, [[0] * 19] * 20), "invalid"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_verdicts(of: Sums, expected: str) -> None:
    assert verdict(of) == expected


def test_the_rank_is_of_what_is_left_of_the_right_answers() -> None:
    """Judged heads that turn wrong answers right keep no more of the right ones for it."""
    permuted = np.full((20, 19), 4)
    less, as_much = (
        sums(np.full(20, 9), np.full(20, 5), np.full((20, 19), 9), permuted, kept=np.full(20, kept)) for kept in (3, 4)
    )
    assert [float(estimate(each).rank_p) for each in (less, as_much)] == [0.05, 1.0]
    assert [float(estimate(each).difference.estimate) for each in (less, as_much)] == pytest.approx([4 / 9] * 2)


def test_controls_may_cost_flat_in_the_mean_though_their_interval_reaches_above() -> None:
    """Draws of 0 and 18 %: 9 % in the mean. An upper end at most `flat` blocked a third of such gates."""
    spread = clean(clusters=20)
    control = np.full((20, 19), 9 * 0.82)
    control[:, ::2] = 9.0
    of = sums(spread.untouched, spread.judged, control, spread.permutations)
    found = estimate(of)
    assert found.control.estimate < 0.1 < found.control.bounds()[1]
    assert verdict(of) == "pass"


def test_the_margin_is_a_share_so_that_a_model_that_knows_little_is_judged_alike() -> None:
    """One in five right, nine in ten of those lost: 18 points, and 90 %."""
    clusters = 30
    of = sums(
        np.full(clusters, 2.0), np.full(clusters, 0.2), np.full((clusters, 19), 2.0), np.full((clusters, 19), 1.9)
    )
    assert verdict(of) == "pass"
    assert holds(estimate(of), Margins(margin=0.95))[0] == np.False_


@pytest.mark.parametrize(
    ("right", "expected"),
    [([2] * 10, False), ([2] * 9 + [1], True), ([20] + [0] * 9, True), ([5] * 5, False), ([5] * 4 + [0], True)],
)
def test_what_is_too_little_to_lose(right: list[int], expected: bool) -> None:
    """Twenty right answers in ten clusters; with fewer clusters, in all."""
    assert bool(too_little(np.asarray(right, dtype=float))) is expected

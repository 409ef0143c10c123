"""Several gates as one claim: Holm over the margin's p, and one rank against whatever gate's heads cost most."""

import pytest

from harness.findings.verdicts.claim import JudgedGate, joint_claim
from harness.findings.verdicts.gate_data import ClusterSums, GateData


def judged(
    name: str, kept: float, permuted: list[float], draws: tuple[int, ...] | None = tuple(range(19))
) -> JudgedGate:
    """Twenty clusters of nine right answers, so many kept under the judged heads and under each permutation."""
    clusters = tuple(ClusterSums(9, 9, 0, 9, kept, (9,) * 19, 9, kept, tuple(permuted)) for _ in range(20))
    return JudgedGate(name, 0.1, GateData(19, len(permuted), clusters), True, draws)


def test_gates_that_cost_more_than_all_permutations_of_any_hold_together() -> None:
    claim = joint_claim([judged("own", 1, [8] * 19), judged("shared", 2, [8] * 19)])
    assert claim is not None
    assert [(part.gate, part.adjusted_rank_p, part.holds) for part in claim.parts] == [
        ("own", 0.05, True),
        ("shared", 0.05, True),
    ]


def test_a_permutation_of_another_gate_counts_too() -> None:
    """One permutation of the own heads costs more than the shared heads do: alone they pass, together not."""
    claim = joint_claim([judged("own", 0, [1, *[8] * 18]), judged("shared", 2, [8] * 19)])
    assert claim is not None
    assert [(part.adjusted_rank_p, part.holds) for part in claim.parts] == [(0.05, True), (0.1, False)]


def test_only_permutations_that_all_gates_have_count() -> None:
    other = judged("shared", 2, [8] * 19, draws=tuple(range(5, 24)))
    claim = joint_claim([judged("own", 0, [1, *[8] * 18]), other])
    assert claim is not None
    assert [part.adjusted_rank_p for part in claim.parts] == [pytest.approx(1 / 15)] * 2


def test_where_a_gate_took_all_sets_its_p_is_multiplied() -> None:
    claim = joint_claim([judged("own", 0, [8] * 19), judged("shared", 2, [8] * 199, draws=None)])
    assert claim is not None
    assert [part.adjusted_rank_p for part in claim.parts] == [0.1, 0.01]


def test_holm_over_gates() -> None:
    """A gate at the margin has p 0.5 or more: it does not hold, and does not take the other with it."""
    claim = joint_claim([judged("own", 1, [8.5] * 19), judged("shared", 8.1, [8.5] * 19)])
    assert claim is not None
    own, shared = claim.parts
    assert (own.adjusted_p, own.holds, shared.holds) == (0.0, True, False)


def test_one_gate_is_no_claim_of_several_and_unknown_figures_are_none() -> None:
    assert joint_claim([judged("own", 1, [8] * 19)]) is None
    assert joint_claim([judged("own", 1, [8] * 19), JudgedGate("shared", 0.1, GateData(19, 19, ()), False, ())]) is None

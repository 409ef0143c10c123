"""Verdicts: the figures by hand, every way to a verdict, and what no verdict may depend on."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from harness.findings.verdicts.gates import FilingCounts, GateData, Premises, judge, measure, rank_p
from harness.findings.verdicts.verdict_data import Margins, Verdict

repeatable = settings(derandomize=True, deadline=None, max_examples=60)
MARGINS, SOUND = Margins(), Premises(leaked_filings=0)


def gate(*filings: tuple[int, int, int, Sequence[int]], absent: int = 0) -> GateData:
    """Filings as (rows, matches untouched, matches under the retrieval heads, matches under each draw)."""
    return GateData(
        len(filings[0][3]) if filings else 0, tuple(FilingCounts(n, b, r, absent, tuple(c)) for n, b, r, c in filings)
    )


def verdict_of(data: GateData, margins: Margins = MARGINS, premises: Premises = SOUND) -> Verdict:
    return judge(data, margins, premises, bootstrap=False)


def drawn(n_filings: int, *, retrieval: float, draws: Sequence[float], n: int = 9, seed: int = 0) -> GateData:
    """Every row is answered untouched; under heads with these chances."""
    generator = random.Random(seed)

    def matches(chance: float) -> int:
        return sum(generator.random() < chance for _ in range(n))

    return gate(*((n, n, matches(retrieval), [matches(c) for c in draws]) for _ in range(n_filings)))


PASSING = drawn(20, retrieval=0.2, draws=(0.97, 0.98, 0.99, 0.98, 0.96))


def test_figures_by_hand() -> None:
    """Four filings of two rows, all answered untouched; two draws that cost 1 and 3 of 8 rows."""
    data = gate((2, 2, 0, (2, 1)), (2, 2, 1, (2, 1)), (2, 2, 0, (1, 2)), (2, 2, 1, (2, 1)))
    found = verdict_of(data)
    assert (found.n, found.filings, found.baseline, found.needle_absent) == (8, 4, 1.0, 0.0)
    assert (found.drop, found.draw_drops, found.random_drop) == (0.75, (0.125, 0.375), 0.25)
    assert found.difference == 0.5
    # sums of mean draw less retrieval: 1.5, 0.5, 1.5, 0.5, so residuals +-0.5 of filings whose share is 1
    of_filings, of_draws = 4 / 3 * 4 * 0.25 / 64, 0.03125 / 2
    assert found.standard_error == pytest.approx(math.sqrt(of_filings + of_draws))
    assert found.df == pytest.approx((of_filings + of_draws) ** 2 / (of_filings**2 / 3 + of_draws**2 / 1))
    assert found.draw_sd == pytest.approx(math.sqrt(0.03125))
    # t(.95, 1) = 6.313752
    assert found.outside_draws.bound == pytest.approx(0.25 + 6.313752 * math.sqrt(0.03125 * 1.5), rel=1e-6)
    assert not found.outside_draws.holds
    assert (found.rank_p, found.least_rank_p) == (1 / 3, 1 / 3)


def test_rank_p() -> None:
    assert rank_p(0.5, (0.1, 0.2, 0.3)) == 0.25
    assert rank_p(0.2, (0.1, 0.2, 0.3)) == 0.75


def test_pass() -> None:
    found = judge(PASSING, MARGINS, SOUND)
    assert (found.verdict, found.reasons) == ("pass", ())
    assert found.above_margin.holds
    assert found.outside_draws.holds
    assert found.flat_control.holds
    assert found.interval is not None
    assert found.bca is not None
    assert found.bca[0] == pytest.approx(found.interval[0], abs=0.05)


def test_fail_and_its_two_ways_to_say_it() -> None:
    none = verdict_of(drawn(30, retrieval=0.97, draws=(0.97,) * 5))
    assert (none.verdict, none.reasons) == ("fail", ("these heads cost no 10 points more than random ones",))
    little = verdict_of(drawn(200, retrieval=0.94, draws=(0.98,) * 5))
    assert little.verdict == "fail"
    assert little.reasons == ("these heads matter, but by less than the margin of 10 points",)


def test_fewer_than_twenty_filings_do_not_fail_and_fewer_than_ten_decide_nothing() -> None:
    no_effect = drawn(30, retrieval=0.97, draws=(0.97,) * 5)
    few = verdict_of(replace(no_effect, filings=no_effect.filings[:19]))
    assert (few.verdict, few.needed_filings) == ("inconclusive", 20)
    nine = verdict_of(replace(PASSING, filings=PASSING.filings[:9]))
    assert (nine.verdict, nine.needed_filings) == ("inconclusive", 10)
    assert verdict_of(replace(PASSING, filings=PASSING.filings[:10])).verdict == "pass"


def test_one_draw_never_passes() -> None:
    found = verdict_of(drawn(30, retrieval=0.0, draws=(1.0,)))
    assert (found.verdict, found.needed_draws) == ("inconclusive", 5)
    assert (found.drop, found.difference, found.interval, found.draw_sd) == (1.0, 1.0, None, None)
    assert "how far draws differ is unknown" in found.reasons[0]


def test_a_drop_that_another_draw_might_give_is_not_passed() -> None:
    """The draws cost 0, 0, 0, 0 and 40 points, the heads 45: the difference is clear, the place among draws not."""
    data = drawn(60, retrieval=0.55, draws=(1.0, 1.0, 1.0, 1.0, 0.6))
    found = verdict_of(data, Margins(flat=1.0))
    assert found.verdict == "inconclusive"
    assert not found.outside_draws.holds


def test_a_control_that_may_not_be_flat_is_not_passed() -> None:
    found = verdict_of(drawn(12, retrieval=0.1, draws=(0.91, 0.92, 0.91, 0.92, 0.92), n=3))
    assert (found.verdict, found.above_margin.holds, found.outside_draws.holds) == ("inconclusive", True, True)
    assert not found.flat_control.holds
    assert any("random heads may cost more than 10 points" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("data", "premises", "said"),
    [
        (PASSING, Premises(missing=("general[k20]: 3 of 189 rows",)), "general[k20]: 3 of 189 rows"),
        (PASSING, Premises(leaked_filings=2), "2 of the evaluated filings also made the ranking"),
        (PASSING, Premises(candidates=("L1H2",)), "retrieval candidates themselves: L1H2"),
        (gate(), SOUND, "no row has all the records"),
        (gate(*[(9, 4, 0, (4, 4, 4))] * 20), SOUND, "the untouched model answers 44.4%, less than 50%"),
        (gate(*[(9, 9, 0, (9, 9, 9))] * 20, absent=8), SOUND, "less than 20 points (twice the margin)"),
        (gate(*[(9, 9, 0, (6, 6, 6))] * 20), SOUND, "the control damages the model: random heads cost 33.3"),
    ],
)
def test_what_makes_a_gate_invalid(data: GateData, premises: Premises, said: str) -> None:
    found = verdict_of(data, premises=premises)
    assert found.verdict == "invalid"
    assert any(said in reason for reason in found.reasons)


def test_an_unknown_split_passes_where_someone_vouches_for_it() -> None:
    unknown = verdict_of(PASSING, premises=Premises(leaked_filings=None))
    assert unknown.verdict == "inconclusive"
    assert "--ablation-heads-held-out" in unknown.reasons[0]
    assert verdict_of(PASSING, premises=Premises(leaked_filings=None, held_out=True)).verdict == "pass"


def test_how_a_leak_was_seen_is_said() -> None:
    found = verdict_of(PASSING, premises=Premises(leaked_filings=2, leaked_how=", 2 by an equal text"))
    assert found.reasons == (
        "2 of the evaluated filings also made the ranking of the heads, 2 by an equal text; rank on others, or leave "
        "these out",
    )


def test_nothing_is_none() -> None:
    found = judge(gate(), MARGINS, SOUND)
    assert found.verdict == "invalid"
    assert (found.n, found.filings, found.draw_drops) == (0, 0, ())
    for name in (
        "baseline needle_absent drop random_drop random_interval draw_sd difference standard_error df interval"
    ).split():
        assert getattr(found, name) is None
    assert (found.bca, found.rank_p, found.least_rank_p) == (None, None, None)
    for check in (found.above_margin, found.outside_draws, found.flat_control):
        assert (check.holds, check.value, check.bound) == (False, None, None)


def filings(n_draws: int) -> st.SearchStrategy[FilingCounts]:
    """Any filing of one to six rows."""

    def counts(n: int) -> st.SearchStrategy[FilingCounts]:
        few = st.integers(0, n)
        draws = st.lists(few, min_size=n_draws, max_size=n_draws).map(tuple)
        return st.builds(FilingCounts, st.just(n), few, few, few, draws)

    return st.integers(1, 6).flatmap(counts)


gates = st.integers(2, 5).flatmap(
    lambda d: st.lists(filings(d), min_size=2, max_size=25).map(lambda found: GateData(d, tuple(found)))
)


@repeatable
@given(gates)
def test_intervals_hold_the_estimate_and_shrink_with_n(data: GateData) -> None:
    once = verdict_of(data)
    fourfold = verdict_of(replace(data, filings=data.filings * 4))
    assert once.interval is not None
    assert fourfold.interval is not None
    assert once.difference is not None
    assert fourfold.difference == pytest.approx(once.difference)
    assert once.interval[0] <= once.difference + 1e-12
    assert once.difference <= once.interval[1] + 1e-12
    shorter = fourfold.interval[1] - fourfold.interval[0]
    longer = once.interval[1] - once.interval[0]
    # the draws' share does not shrink with filings, and its few degrees of freedom may come to rule
    if (once.draw_sd or 0.0) == 0.0:
        assert shorter <= longer + 1e-12


@repeatable
@given(gates, st.randoms(use_true_random=False))
def test_order_of_filings_and_of_draws_is_nothing(data: GateData, generator: random.Random) -> None:
    order = generator.sample(range(data.n_draws), data.n_draws)
    shuffled = [replace(filing, draws=tuple(filing.draws[i] for i in order)) for filing in data.filings]
    generator.shuffle(shuffled)
    once, again = (judge(each, MARGINS, SOUND) for each in (data, GateData(data.n_draws, tuple(shuffled))))
    assert once.verdict == again.verdict
    assert once.interval == again.interval
    assert sorted(once.draw_drops) == sorted(again.draw_drops)
    aside = {"reasons": (), "draw_drops": (), "bca": None}
    assert once.model_copy(update=aside) == again.model_copy(update=aside)


@repeatable
@given(st.integers(10, 40), st.floats(0.0, 0.6), st.integers(0, 2**16))
def test_a_draw_equal_to_the_mean_never_turns_pass_into_fail(n_filings: int, retrieval: float, seed: int) -> None:
    """Of each two draws one costs 2 of 8 rows in a filing, by lot: the third draw, of 1 row, is their mean in each."""
    data = drawn(n_filings, retrieval=retrieval, draws=(1.0, 1.0), n=8, seed=seed)
    generator = random.Random(seed)
    two = [replace(f, draws=generator.choice([(8, 6), (6, 8)])) for f in data.filings]
    three = [replace(f, draws=(*f.draws, 7)) for f in two]
    margins = Margins(flat=0.5)
    before, after = verdict_of(GateData(2, tuple(two)), margins), verdict_of(GateData(3, tuple(three)), margins)
    assert after.difference == pytest.approx(before.difference)
    event(before.verdict)
    if before.verdict == "pass":
        assert after.verdict in ("pass", "inconclusive")


@repeatable
@given(gates)
def test_pass_and_fail_rest_on_their_conditions(data: GateData) -> None:
    found = verdict_of(data)
    held = all(check.holds for check in (found.above_margin, found.outside_draws, found.flat_control))
    if found.verdict == "pass":
        assert held
        assert found.filings >= 10
    elif found.verdict == "fail":
        assert found.interval is not None
        assert found.interval[1] < MARGINS.margin
        assert found.filings >= 20
    assert bool(found.reasons) == (found.verdict != "pass")


def test_measure_needs_rows() -> None:
    assert measure(gate()) is None

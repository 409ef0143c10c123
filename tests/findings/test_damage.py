"""Shares of zeroing's damage: which rows are set beside each other, and what is said where there is no damage."""

from collections.abc import Sequence

import pytest

from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.findings.damage import (
    DamageShare,
    Elsewhere,
    WayResult,
    WaysData,
    damage_lines,
    damage_shares,
    elsewhere,
    ways_lines,
)
from harness.findings.samples import Sample, TextSample

OWN = Condition("within_task", "a-k02", (Head(0, 1), Head(2, 3)), tasks=("a",), k=2)
DRAWS = [Condition("random_control", f"seed{i}-k02", (Head(1, i),), k=2, seed=i) for i in range(2)]
N = 12


def sample(condition: Condition, row: int, *, match: bool, logprob: float | None) -> Sample:
    return Sample(
        condition=condition.name,
        row=f"f{row}/a",
        filename=f"f{row}",
        cluster=f"f{row}",
        task="a",
        depth=0.5,
        value="7",
        completion="7",
        match=match,
        published_match=match,
        ended=True,
        faults=(),
        tokens=1,
        gold_logprob=None,
        baseline_logprob=None,
        value_logprob=logprob,
        own={},
    )


def samples(condition: Condition, wrong: Sequence[int], logprobs: Sequence[float | None]) -> list[Sample]:
    return [sample(condition, row, match=row not in wrong, logprob=logprobs[row]) for row in range(N)]


UNTOUCHED = samples(BASELINE, [], [-0.1] * N)
ZEROED = [*UNTOUCHED, *samples(OWN, range(10), [-4.1 - row % 2 for row in range(N)])]


def test_shares_of_right_answers_and_of_likelihood() -> None:
    """5 of the 10 rows that zeroing loses; 1 nat of 4.5."""
    kept = [*UNTOUCHED, *samples(OWN, range(5), [-1.1] * N)]
    answers, likelihood = damage_shares([BASELINE, OWN], kept, ZEROED, lambda row, layer: layer == 2)
    assert (answers.outcome, answers.n, answers.clusters) == ("accuracy", N, N)
    assert (answers.drop, answers.zeroed, answers.share) == pytest.approx((5 / N, 10 / N, 0.5))
    assert (likelihood.drop, likelihood.zeroed, likelihood.share) == pytest.approx((1.0, 4.5, 1 / 4.5))
    assert answers.interval is not None
    assert answers.interval[0] < 0.5 < answers.interval[1]
    assert answers.blind == likelihood.blind == 0.5, "one of two heads"
    (line,) = damage_lines([answers, likelihood])
    assert line.startswith("within_task        k=2  of what zeroing costs: 50% [")
    assert line.endswith("] of the likelihood, over 12 rows; 50% of its heads' windows hold no needle")


def test_rows_without_a_likelihood_are_not_set_beside_others() -> None:
    kept = [*UNTOUCHED, *samples(OWN, [], [-1.1] * 10 + [None] * 2)]
    _, likelihood = damage_shares([OWN], kept, ZEROED)
    assert (likelihood.n, likelihood.blind) == (10, None)
    assert likelihood.drop == pytest.approx(1.0)


def test_draws_are_averaged_row_by_row() -> None:
    zeroed = [*UNTOUCHED, *samples(DRAWS[0], range(8), [-2.1] * N), *samples(DRAWS[1], range(10), [-4.1] * N)]
    kept = [*UNTOUCHED, *samples(DRAWS[0], [], [-1.1] * N), *samples(DRAWS[1], range(9), [-3.1] * N)]
    answers, likelihood = damage_shares(DRAWS, kept, zeroed)
    assert (answers.n, answers.drop, answers.zeroed) == pytest.approx((N, 4.5 / N, 9 / N))
    assert (likelihood.drop, likelihood.zeroed) == pytest.approx((2.0, 3.0))


def test_no_share_where_zeroing_costs_nothing_for_certain() -> None:
    flat = [*UNTOUCHED, *samples(OWN, [3], [-0.1 + 0.2 * (-1) ** row for row in range(N)])]
    shares = damage_shares([OWN], flat, flat)
    assert [(each.share, each.interval) for each in shares] == [(None, None)] * 2
    (line,) = damage_lines(shares)
    assert "no share (zeroing costs nothing that is clear of 0) of the right answers" in line


def test_what_the_other_way_was_not_asked_is_not_compared() -> None:
    single = Condition("single", "a-L0H1", (Head(0, 1),), tasks=("a",), k=1)
    assert damage_shares([OWN], UNTOUCHED, ZEROED) == ()
    assert damage_shares([single], [*UNTOUCHED, *samples(single, [], [-1.0] * N)], ZEROED) == ()


SETS = [Condition("random_control", f"seed{i}", (Head(0, i),), k=1, seed=i) for i in range(2)]
BEFORE = ("baseline", "baseline")


def fact(condition: str, number: int, right: bool) -> Sample:
    return Sample(
        condition=condition,
        row=f"fact{number}/fact{number}",
        filename=f"fact{number}",
        cluster=f"fact{number}",
        task=f"fact{number}",
        depth=None,
        value="7",
        completion="7",
        match=right,
        published_match=right,
        ended=True,
        faults=(),
        tokens=1,
        gold_logprob=None,
        baseline_logprob=None,
        own={},
    )


def text(condition: str, filing: str, per_token: float) -> TextSample:
    return TextSample(condition, f"{filing}/a", filing, per_token)


def test_what_sets_of_heads_cost_where_nothing_is_retrieved() -> None:
    """Four facts, three known; one set loses one of them, the other two. One that comes to be known counts nothing."""
    known = [True, True, True, False]
    facts = [fact("baseline", i, right) for i, right in enumerate(known)]
    facts += [fact(SETS[0].name, i, right) for i, right in enumerate([False, True, True, True])]
    facts += [fact(SETS[1].name, i, right) for i, right in enumerate([False, False, True, False])]
    texts = [text("baseline", "f1", -2.0), text("baseline", "f2", -3.0)]
    texts += [text(SETS[0].name, "f1", -2.5), text(SETS[1].name, "f1", -2.3), text(SETS[0].name, "f2", -3.2)]
    found = elsewhere(SETS, facts, texts, untouched=BEFORE)
    assert (found.experiment, found.k, found.facts, found.known, found.texts) == ("random_control", 1, 4, 3, 2)
    assert found.facts_lost == pytest.approx((1 + 0.5 + 0) / 3)
    assert found.text_change == pytest.approx((-0.4 - 0.2) / 2)
    assert found.facts_interval is not None
    assert found.facts_interval[0] < 0.5 < found.facts_interval[1]
    assert found.text_interval is not None


def test_a_model_that_knows_no_facts_can_lose_none() -> None:
    found = elsewhere(SETS, [fact("baseline", 0, False), fact(SETS[0].name, 0, True)], [], untouched=BEFORE)
    assert (found.known, found.facts_lost, found.text_change) == (0, None, None)
    (line,) = [line for line in ways_lines(data(found)) if "zeroed, " in line]
    assert line == ("  zeroed, facts and sums: the untouched model answers none of 1; plain text: not measured")


SHARE = DamageShare(
    experiment="random_control",
    k=1,
    gate="own",
    outcome="accuracy",
    n=10,
    clusters=5,
    drop=0.2,
    drop_interval=(0.1, 0.3),
    zeroed=0.5,
    share=0.4,
    interval=(0.25, 0.6),
    blind=0.5,
)


def data(beside: Elsewhere | None = None) -> WaysData:
    likely = SHARE.model_copy(update={"outcome": "likelihood", "drop": 1.25, "drop_interval": None, "share": None})
    ways = (
        WayResult(way="zeroed", mode="zero", phase="all", shares=()),
        WayResult(way="kept from the needle", mode="needle_edge", phase="decode", shares=(SHARE, likely)),
    )
    return WaysData(
        model="tiny",
        source="rows.csv",
        k=1,
        rows=10,
        clusters=5,
        draws=2,
        ways=ways,
        elsewhere=() if beside is None else (beside,),
    )


def test_a_table_for_each_group_of_heads() -> None:
    first, group, _, zeroed, kept = ways_lines(data())
    assert first == "tiny, k=1, 10 rows in 5 clusters of rows.csv"
    assert group == "random heads (k=1, mean of 2 draws)"
    assert zeroed.split() == ["zeroed", "not", "measured", "not", "measured"]
    assert "+20.0 points [+10.0, +30.0]  40% [25%, 60%]" in kept
    assert kept.split("]  40% [25%, 60%]")[1].split(maxsplit=1) == ["+1.2", "50% see no needle"]


def test_its_file_reads_back() -> None:
    whole = data(elsewhere(SETS, [], [], untouched=BEFORE))
    assert WaysData.model_validate_json(whole.model_dump_json()) == whole

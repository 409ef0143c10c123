"""A gate's part of the report, and each task's own verdict."""

import math
from dataclasses import replace

import pytest
from fake_gates import GATE, OWN, SOUND, TASKS, make_answers, make_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.findings.verdicts.gate_results import (
    JudgedGate,
    damage,
    degenerate_shares,
    gate_result,
    how_broken,
    joint_claim,
    plain_text,
    task_verdicts,
)
from harness.findings.verdicts.gate_samples import Answers, ClusterSums, GateData, Premises
from harness.findings.verdicts.verdict_data import DegenerateShares, GateResult, Margins, PlainText
from harness.retrieval.rows import Row

ROWS = make_rows(20)
CITY, YEAR = OWN
CITY_HEADS, YEAR_HEADS = CITY.largest.name, YEAR.largest.name
MARGINS = Margins()
FINE = Premises(leaked_filings=0)
LOST = {CITY_HEADS: "-" * 20, YEAR_HEADS: "--++" * 5}


def result_of(answers: Answers, rows: tuple[Row, ...] = ROWS, candidates: tuple[Head, ...] = ()) -> GateResult:
    return gate_result(GATE, rows, answers, MARGINS, replace(SOUND, candidates=candidates))


def p_above(lost: int, n: int) -> float:
    """By hand: of n clusters of one row so many lose it. Share s = lost / n, jackknife SE^2 = s (1 - s) / (n - 1)."""
    s = lost / n
    return float(t.sf((s - 0.1) / math.sqrt(s * (1 - s) / (n - 1)), n - 1))


def test_a_pass() -> None:
    found = result_of(make_answers(GATE, ROWS, LOST, {}))
    assert (found.verdict, found.name, found.n, found.clusters) == ("pass", "gate[own-all-k01]", 40, 20)
    assert (found.baseline, found.needle_absent, found.drop, found.control_drops) == (1.0, 0.0, 0.75, (0, 0))
    assert (found.k, found.ks, found.k_effective) == (1, (1,), (1, 1))
    assert (found.control_heads, found.mismatches) == (2, (0, 2))
    assert (found.permuted.sets, found.permuted.all_taken, found.permuted.layers) == (992, False, 1)
    assert (found.damage, found.split_known) == ("lost answers", True)
    assert found.margins == MARGINS
    assert found.conditions == tuple(condition.name for condition in GATE.conditions)


def test_a_broken_model_is_not_a_pass() -> None:
    """All is lost, plain text among it. Once: `pass`, with "broken model" printed under it."""
    garbled: dict[str, float | None] = {f"plain_text[{name}]": -4.0 for name in LOST}
    found = result_of(make_answers(GATE, ROWS, LOST, garbled))
    assert (found.verdict, found.damage) == ("invalid", "broken model")
    assert found.reasons == (
        "these heads break the model (plain text -2.00 nats a token): what is lost is not retrieval; judge fewer heads",
    )


def test_what_is_missing_makes_it_invalid() -> None:
    lacking = YEAR.controls[1][0].name
    found = result_of(make_answers(GATE, ROWS, {**LOST, lacking: "+" * 19 + "."}, {}))
    assert found.verdict == "invalid"
    (said,) = found.reasons
    assert said.startswith(f"without sound records: {lacking} (1 of 20 rows); run again")
    assert [task.verdict for task in found.tasks] == ["pass", "invalid"], "the city's rows are whole"
    assert found.n == 39, "the figures rest on what is there"


def test_a_candidate_among_the_controls_makes_it_invalid() -> None:
    found = result_of(make_answers(GATE, ROWS, LOST, {}), candidates=(CITY.controls[0][0].heads[0],))
    assert found.verdict == "invalid"
    assert found.reasons[0].startswith("control heads that are retrieval candidates themselves: L1H0 in random")


def test_an_unknown_split_is_at_best_inconclusive() -> None:
    answers = make_answers(GATE, ROWS, LOST, {})
    found = gate_result(GATE, ROWS, answers, MARGINS, replace(SOUND, leaked_filings=None))
    assert (found.verdict, found.split_known) == ("inconclusive", False)
    assert [task.verdict for task in found.tasks] == ["inconclusive"] * 2
    leaked = gate_result(GATE, ROWS, answers, MARGINS, replace(SOUND, leaked_filings=1))
    assert leaked.verdict == "invalid"
    assert [task.verdict for task in leaked.tasks] == ["invalid", "invalid"]


def test_the_lowest_heads_are_named_where_they_would_pass_too() -> None:
    """The 20 lowest-scoring heads of a ranking that cost as much as its best: a pass says nothing of the ranking."""
    gate = replace(GATE, lowest=Condition("bottom", "k01", (Head(7, 7),), k=1))
    for letters, would_pass in (("-" * 40, True), ("+" * 40, False)):
        answers = make_answers(gate, ROWS, {**LOST, "bottom[k01]": letters}, {})
        found = gate_result(gate, ROWS, answers, MARGINS, SOUND)
        assert found.verdict == "pass"
        assert found.lowest is not None
        assert found.lowest.would_pass is would_pass


def test_tasks_by_hand() -> None:
    """The city's rows are all lost: p 0. Of the year's 20, half are. Holm: the larger of two p stands as it is."""
    city, year = task_verdicts(GATE, ROWS, make_answers(GATE, ROWS, LOST, {}), MARGINS, FINE)
    assert (city.task, city.verdict, city.p, city.adjusted_p) == ("city", "pass", 0.0, 0.0)
    assert (year.task, year.verdict, year.share) == ("year", "pass", 0.5)
    assert year.p is not None
    assert abs(year.p - p_above(10, 20)) < 1e-9
    assert year.adjusted_p == year.p


def test_holm_can_undo_a_task() -> None:
    """Seven of 20 rows are lost: p = .017 alone; in both tasks Holm makes it .034, above 2.5 %."""
    seven = "-" * 7 + "+" * 13
    both = task_verdicts(GATE, ROWS, make_answers(GATE, ROWS, dict.fromkeys(LOST, seven), {}), MARGINS, FINE)
    assert [each.verdict for each in both] == ["inconclusive", "inconclusive"]
    assert both[0].adjusted_p is not None
    assert abs(both[0].adjusted_p - 2 * p_above(7, 20)) < 1e-9
    one = task_verdicts(GATE, ROWS, make_answers(GATE, ROWS, {**LOST, YEAR_HEADS: seven}, {}), MARGINS, FINE)
    assert [(each.verdict, round(each.adjusted_p or 0, 3)) for each in one] == [("pass", 0.0), ("pass", 0.017)]


def test_a_task_of_few_clusters_is_undecided_and_of_no_effect_fails() -> None:
    few = make_rows(9)
    lost = {name: letters[:9] for name, letters in LOST.items()}
    found = task_verdicts(GATE, few, make_answers(GATE, few, lost, {}), MARGINS, FINE)
    assert {t.verdict for t in found} == {"invalid"}, "nine right answers are too few for a task"
    assert {t.verdict for t in task_verdicts(GATE, ROWS, make_answers(GATE, ROWS, {}, {}), MARGINS, FINE)} == {"fail"}


def test_a_task_that_the_model_cannot_answer_is_invalid() -> None:
    """Nine of the city's 20 rows are right untouched, and all are lost: a clear share of too little."""
    wrong = {nested[0].name: "+" * 9 + "-" * 11 for nested in CITY.controls}
    of_both = "".join(letter + "+" for letter in "+" * 9 + "-" * 11)
    answers = make_answers(GATE, ROWS, {**LOST, **wrong, BASELINE.name: of_both}, {})
    city, year = task_verdicts(GATE, ROWS, answers, MARGINS, FINE)
    assert (city.verdict, city.drop, year.verdict) == ("invalid", 0.45, "pass")
    assert (city.adjusted_p or 0) < 0.025


def test_without_rows_everything_is_none() -> None:
    found = result_of(make_answers(GATE, (), {}, {}), rows=())
    assert found.verdict == "invalid"
    for name in ("baseline drop control_drop difference share interval bca rank_p plain_text degenerate").split():
        assert getattr(found, name) is None, name
    assert (found.damage, found.tasks) == ("unknown", ())


@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.permutations(range(40)))
def test_the_order_of_rows_is_nothing(order: list[int]) -> None:
    answers = make_answers(GATE, ROWS, LOST, {})
    shuffled = tuple(ROWS[i] for i in order)
    once, again = result_of(answers), result_of(answers, rows=shuffled)
    assert {task.task for task in again.tasks} == set(TASKS)
    aside = {"tasks": (), "interval": None, "standard_error": None, "df": None, "above_margin": None}
    assert once.model_copy(update=aside) == again.model_copy(update=aside)


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


FEW = make_rows(4)


def shares(untouched: float, judged: float, controls: float) -> DegenerateShares:
    return DegenerateShares(untouched=untouched, judged=judged, controls=controls)


def test_plain_text_by_hand() -> None:
    """City rows: -3 under the heads, -2 untouched; year rows -2.5; the second control of the year -1."""
    texts: dict[str, float | None] = {
        f"plain_text[{CITY_HEADS}]": -3.0,
        f"plain_text[{YEAR_HEADS}]": -2.5,
        f"plain_text[{YEAR.controls[1][0].name}]": -1.0,
    }
    found = plain_text(GATE, FEW, make_answers(GATE, FEW, {}, texts))
    assert found == PlainText(n=8, filings=4, untouched=-2.0, change=-0.75, control_changes=(0.0, 0.5))


def test_plain_text_stands_under_five_controls_and_no_permutation() -> None:
    over_text = {each.setting for each in GATE.conditions if each.prompt == "plain_text"}
    assert over_text == {"", *(each.name for part in OWN for each in (part.largest, *(c[0] for c in part.controls)))}
    many = replace(CITY, controls=tuple(CITY.controls[0] for _ in range(8)))
    assert len(replace(GATE, parts=(many,)).over_text) == 1 + 5


def test_no_plain_text_is_none() -> None:
    assert plain_text(GATE, FEW, make_answers(GATE, FEW, {}, {"plain_text": None})) is None


def test_degenerate_shares_by_hand() -> None:
    answers = make_answers(GATE, FEW, {}, {})
    assert degenerate_shares(GATE, FEW, answers) == shares(0.0, 0.0, 0.0)
    for name, n in ((CITY_HEADS, 3), (YEAR.controls[0][0].name, 2), ("baseline", 1)):
        of_rows = dict(answers.samples[name])
        for row in list(of_rows)[:n]:
            of_rows[row] = of_rows[row].model_copy(update={"faults": ("cut_off", "empty")})
        answers = replace(answers, samples={**answers.samples, name: of_rows})
    assert degenerate_shares(GATE, FEW, answers) == shares(1 / 8, 3 / 8, 2 / 16)
    assert degenerate_shares(GATE, (), answers) is None


def text_of(change: float) -> PlainText:
    return PlainText(n=1, filings=1, untouched=-2.0, change=change, control_changes=())


WHOLE, GARBLED = shares(0.1, 0.3, 0.1), shares(0.1, 0.4, 0.1)


@pytest.mark.parametrize(
    ("share", "text", "found", "expected"),
    [
        (0.8, text_of(-0.1), WHOLE, "lost answers"),
        (0.8, text_of(-0.6), WHOLE, "broken model"),
        (0.8, text_of(-0.1), GARBLED, "broken model"),
        (0.0, text_of(-0.6), WHOLE, "broken model"),
        (0.1, text_of(0.2), WHOLE, "none"),
        (None, text_of(0.0), WHOLE, "unknown"),
        (0.8, None, WHOLE, "unknown"),
        (0.8, text_of(0.0), None, "unknown"),
    ],
)
def test_damage(share: float | None, text: PlainText | None, found: DegenerateShares | None, expected: str) -> None:
    assert damage(share, 0.1, text, found) == expected


def test_how_a_model_is_broken_is_said() -> None:
    assert how_broken(text_of(-1.9), GARBLED) == (
        "plain text -1.90 nats a token, 40% of its completions degenerate, 10% untouched"
    )
    assert how_broken(text_of(-0.1), WHOLE) is None
    assert how_broken(None, None) is None

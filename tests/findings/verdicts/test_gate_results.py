"""A gate's part of the report, and each task's own verdict."""

from fake_gates import GATE, OWN, TASKS, make_answers, make_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.conditions import BASELINE
from harness.experiment.heads import Head
from harness.findings.verdicts.gate_results import gate_result, task_verdicts
from harness.findings.verdicts.gate_samples import Answers
from harness.findings.verdicts.gates import Premises
from harness.findings.verdicts.verdict_data import GateResult, Margins
from harness.retrieval.rows import Row

ROWS = make_rows(20)
CITY, YEAR = OWN
MARGINS = Margins()
SOUND = Premises(leaked_filings=0)
LOST = {CITY.retrieval.name: "-" * 20, YEAR.retrieval.name: "--++" * 5}


def result_of(answers: Answers, rows: tuple[Row, ...] = ROWS, candidates: tuple[Head, ...] = ()) -> GateResult:
    return gate_result(GATE, rows, answers, MARGINS, candidates=candidates, leaked_filings=0)


def test_a_pass() -> None:
    found = result_of(make_answers(GATE, ROWS, LOST, {}))
    assert (found.verdict, found.name, found.n, found.filings) == ("pass", "gate[own-all-k01]", 40, 20)
    assert (found.baseline, found.needle_absent, found.drop, found.draw_drops) == (1.0, 0.0, 0.75, (0, 0))
    assert (found.random_match, found.k_effective) == ("layer", (1, 1))
    assert (found.control_heads, found.mismatches) == (2, (0, 2))
    assert (found.damage, found.split_known) == ("lost retrieval", True)
    assert found.margins == MARGINS
    assert found.conditions == tuple(condition.name for condition in GATE.conditions)


def test_what_is_missing_makes_it_invalid() -> None:
    found = result_of(make_answers(GATE, ROWS, {**LOST, YEAR.controls[1].name: "+" * 19 + "."}, {}))
    assert found.verdict == "invalid"
    (said,) = found.reasons
    assert said.startswith(f"without sound records: {YEAR.controls[1].name} (1 of 20 rows); run again")
    assert [task.verdict for task in found.tasks] == ["pass", "invalid"], "the city's rows are whole"
    assert found.n == 39, "the figures rest on what is there"


def test_a_candidate_among_the_controls_makes_it_invalid() -> None:
    found = result_of(make_answers(GATE, ROWS, LOST, {}), candidates=(CITY.controls[0].heads[0],))
    assert found.verdict == "invalid"
    assert found.reasons[0].startswith("control heads that are retrieval candidates themselves: L1H0 in random")


def test_an_unknown_split_is_said() -> None:
    answers = make_answers(GATE, ROWS, LOST, {})
    found = gate_result(GATE, ROWS, answers, MARGINS, candidates=(), leaked_filings=None)
    assert (found.verdict, found.split_known) == ("inconclusive", False)
    assert [task.verdict for task in found.tasks] == ["inconclusive", "inconclusive"]
    vouched = gate_result(GATE, ROWS, answers, MARGINS, candidates=(), leaked_filings=None, held_out=True)
    assert (vouched.verdict, vouched.split_known) == ("pass", False)
    assert [task.verdict for task in vouched.tasks] == ["pass", "pass"]
    leaked = gate_result(GATE, ROWS, answers, MARGINS, candidates=(), leaked_filings=1)
    assert leaked.verdict == "invalid"
    assert [task.verdict for task in leaked.tasks] == ["invalid", "invalid"]


def test_tasks_by_hand() -> None:
    """The city's rows are all lost: p 0. Of the year's 20, half are: mean .5, SE = sqrt(20 / 19 x .25 / 20), 19 df:
    t = .4 / .11471 = 3.487, p = .00123; Holm: the larger of two p stands as it is."""
    city, year = task_verdicts(GATE, ROWS, make_answers(GATE, ROWS, LOST, {}), MARGINS, SOUND)
    assert (city.task, city.verdict, city.p, city.adjusted_p) == ("city", "pass", 0.0, 0.0)
    assert (year.task, year.verdict, year.difference) == ("year", "pass", 0.5)
    assert year.p is not None
    assert abs(year.p - 0.00123) < 5e-6
    assert year.adjusted_p == year.p


def test_holm_can_undo_a_task() -> None:
    """Six of the year's 20 rows are lost: p = .0375 alone is too much; both tasks so: twice that."""
    six = "-" * 6 + "+" * 14
    found = task_verdicts(GATE, ROWS, make_answers(GATE, ROWS, dict.fromkeys(LOST, six), {}), MARGINS, SOUND)
    assert [each.verdict for each in found] == ["inconclusive", "inconclusive"]
    first = found[0]
    assert first.p is not None
    assert first.adjusted_p == 2 * first.p


def test_the_level_of_a_task_is_one_sided() -> None:
    """Seven of 20 rows lost: t = .25 / .10942 = 2.285 with 19 df, p = .0170; in both tasks Holm makes it .034."""
    seven = "-" * 7 + "+" * 13
    both = task_verdicts(GATE, ROWS, make_answers(GATE, ROWS, dict.fromkeys(LOST, seven), {}), MARGINS, SOUND)
    assert [(each.verdict, round(each.adjusted_p or 0, 3)) for each in both] == [("inconclusive", 0.034)] * 2
    one = task_verdicts(GATE, ROWS, make_answers(GATE, ROWS, {**LOST, YEAR.retrieval.name: seven}, {}), MARGINS, SOUND)
    assert [(each.verdict, round(each.adjusted_p or 0, 3)) for each in one] == [("pass", 0.0), ("pass", 0.017)]


def test_a_task_of_few_filings_is_undecided_and_of_no_effect_fails() -> None:
    few = make_rows(9)
    lost = {name: letters[:9] for name, letters in LOST.items()}
    assert {t.verdict for t in task_verdicts(GATE, few, make_answers(GATE, few, lost, {}), MARGINS, SOUND)} == {
        "inconclusive"
    }
    assert {t.verdict for t in task_verdicts(GATE, ROWS, make_answers(GATE, ROWS, {}, {}), MARGINS, SOUND)} == {"fail"}


def test_a_task_that_the_model_cannot_answer_is_invalid() -> None:
    """Nine of the city's 20 rows are right untouched, and all are lost: a clear drop of too little."""
    wrong = {condition.name: "+" * 9 + "-" * 11 for condition in CITY.controls}
    of_both = "".join(letter + "+" for letter in "+" * 9 + "-" * 11)
    city, year = task_verdicts(
        GATE, ROWS, make_answers(GATE, ROWS, {**LOST, **wrong, BASELINE.name: of_both}, {}), MARGINS, SOUND
    )
    assert (city.verdict, city.drop, year.verdict) == ("invalid", 0.45, "pass")
    assert (city.adjusted_p or 0) < 0.025


def test_without_rows_everything_is_none() -> None:
    found = result_of(make_answers(GATE, (), {}, {}), rows=())
    assert found.verdict == "invalid"
    for name in ("baseline drop random_drop difference interval bca rank_p plain_text degenerate").split():
        assert getattr(found, name) is None, name
    assert (found.damage, found.tasks) == ("unknown", ())


@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.permutations(range(40)))
def test_the_order_of_rows_is_nothing(order: list[int]) -> None:
    answers = make_answers(GATE, ROWS, LOST, {})
    shuffled = tuple(ROWS[i] for i in order)
    once, again = result_of(answers), result_of(answers, rows=shuffled)
    assert {task.task for task in again.tasks} == set(TASKS)
    assert once.model_copy(update={"tasks": ()}) == again.model_copy(update={"tasks": ()})

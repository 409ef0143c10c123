"""Contrasts with random heads at every k, and specificity: by hand, and against the report's own drops."""

from dataclasses import replace

import pytest
from fake_gates import GATE, OWN, make_answers, make_rows, sample
from fake_study import KS, TASKS, make_report, whole_report

from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.findings.verdicts.contrasts import contrasts, specificity
from harness.findings.verdicts.gate_samples import Answers, rows_of
from harness.retrieval.rows import Row

ROWS = make_rows(4)
CITY, YEAR = OWN


def test_they_agree_with_the_reports_drops() -> None:
    """`within_task` pools nine tasks' conditions; the others are one condition a k."""
    report = whole_report()
    drops = {each.name: each.drop.estimate for each in report.conditions if each.drop is not None}
    found = {(each.experiment, each.k): each for each in report.contrasts}
    expected = {(name, k) for name in ("within_task", "across_task", "global", "bottom") for k in KS}
    assert set(found) == expected | {("general", k) for k in (1, 2, 5)}, "of 10 shared heads there are seven only"
    assert [k for experiment, k in found if experiment == "global"] == list(KS)
    for (experiment, k), each in found.items():
        draws = [drops[f"random_control[seed{seed}-k{k:02d}]"] for seed in range(5)]
        whole = f"{experiment}[k{k:02d}]"
        own = drops[whole] if whole in drops else sum(drops[f"{experiment}[{t}-k{k:02d}]"] for t in TASKS) / len(TASKS)
        assert each.drop == pytest.approx(own)
        assert each.random_drop == pytest.approx(sum(draws) / 5)
        assert each.difference == pytest.approx(own - sum(draws) / 5)
        assert each.draw_differences == pytest.approx([own - draw for draw in draws])
        assert each.interval is not None
        assert each.interval[0] <= each.difference <= each.interval[1]
        assert (each.n, each.filings) == (216, 24)


def test_a_gates_own_controls_come_first() -> None:
    """Also where the heads are fewer than k."""
    conditions = [part.largest for part in OWN] + [control for part in OWN for (control,) in part.controls]
    others = [Condition("random_control", f"seed{d}-k01", (Head(7, d),), k=1, seed=d) for d in range(2)]
    right = {CITY.largest.name: "----", YEAR.controls[0][0].name: "++--"}
    answers = make_answers(GATE, ROWS, right, {})
    (found,) = contrasts([*conditions, *others], ROWS, answers)
    assert (found.drop, found.random_drop, found.draw_differences) == (0.5, 0.125, (0.25, 0.5))
    short = [replace(condition, k=5) for condition in conditions if condition.experiment == "within_task"]
    (found,) = contrasts([*short, *conditions[2:]], ROWS, answers)
    assert (found.k, found.k_effective, found.difference) == (5, (1, 1), 0.375)


def test_they_come_by_experiment_and_rising_k() -> None:
    """Whatever the order of the conditions: gates declare theirs, of the largest k, before others do."""
    report = make_report(TASKS[:2], (5, 1), ("general", "global", "random_control"), 4)[0]
    assert [(each.experiment, each.k) for each in report.contrasts] == [
        ("general", 1),
        ("general", 5),
        ("global", 1),
        ("global", 5),
    ]


def test_one_draw_has_no_interval_and_none_no_contrast() -> None:
    one = [part.largest for part in OWN] + [part.controls[0][0] for part in OWN]
    (found,) = contrasts(one, ROWS, make_answers(GATE, ROWS, {}, {}))
    assert (found.difference, found.interval) == (0.0, None)
    assert contrasts(one[:2], ROWS, make_answers(GATE, ROWS, {}, {})) == []


def test_conditions_of_one_k_that_share_rows_have_no_contrast() -> None:
    singles = [Condition("single", f"city-{i}", (Head(0, i),), tasks=("city",), k=1) for i in range(2)]
    draws = [Condition("random_control", f"seed{d}-k01", (Head(7, d),), k=1, seed=d) for d in range(2)]
    assert contrasts([*singles, *draws], ROWS, Answers({}, {})) == []


def transfers(k: int, overlap: int = 0) -> list[Condition]:
    return [
        Condition("transfer", f"{s}:{t}-k{k:02d}", (Head(i, k),), tasks=(t,), k=k, source_task=s, overlap=overlap)
        for i, s in enumerate(("city", "year"))
        for t in ("city", "year")
    ]


def answered(conditions: list[Condition], wrong: dict[str, int], rows: tuple[Row, ...]) -> Answers:
    """The first so many rows of each condition's are wrong, and nothing else."""
    samples = []
    for condition in (BASELINE, *conditions):
        for i, row in enumerate(rows_of(condition, rows)):
            samples.append(sample(condition, row, i >= wrong.get(condition.name, 0)))
    return Answers.of(samples, ())


def test_specificity_by_hand() -> None:
    """Own heads cost the city 3 of 4 and the year 2 of 4, the other's 1 and 0: means 5/8 and 1/8."""
    rows, conditions = make_rows(4), transfers(5, overlap=2)
    wrong = {
        "transfer[city:city-k05]": 3,
        "transfer[year:year-k05]": 2,
        "transfer[year:city-k05]": 1,
    }
    found = specificity(conditions, rows, answered(conditions, wrong, rows), 0.1)
    assert found is not None
    assert (found.own_drop, found.other_drop, found.difference) == (5 / 8, 1 / 8, 0.5)
    assert (found.k, found.n, found.filings, found.overlap) == (5, 8, 4, 2)
    # filings' sums of own less other: 1, 2, 1, 0, about 1 each: SE^2 = 4 / 3 x 2 / 64
    assert found.interval[1] - 0.5 == pytest.approx(3.182446 * (4 / 3 * 2 / 64) ** 0.5, rel=1e-6)
    assert found.finding == "inconclusive"


def test_the_k_nearest_half_the_baseline() -> None:
    rows, conditions = make_rows(20), transfers(1) + transfers(5) + transfers(10)
    wrong = {f"transfer[{task}:{task}-k{k:02d}]": n for task in ("city", "year") for k, n in ((1, 1), (5, 9), (10, 20))}
    found = specificity(conditions, rows, answered(conditions, wrong, rows), 0.1)
    assert found is not None
    assert (found.k, found.own_drop, found.finding) == (5, 0.45, "specific")


def test_shared_heads_are_not_specific() -> None:
    rows, conditions = make_rows(20), transfers(5)
    wrong = {each.name: 10 for each in conditions}
    found = specificity(conditions, rows, answered(conditions, wrong, rows), 0.1)
    assert found is not None
    assert (found.finding, found.difference) == ("shared", 0.0)


def test_heads_that_cost_nothing_are_not_shared() -> None:
    """Equal drops of nothing once made heads `shared` that no task needs."""
    rows, conditions = make_rows(20), transfers(5)
    found = specificity(conditions, rows, answered(conditions, {each.name: 2 for each in conditions}, rows), 0.1)
    assert found is not None
    assert (found.finding, found.own_drop, found.interval) == ("inconclusive", 0.1, (0.0, 0.0))


def test_few_filings_are_neither_specific_nor_shared() -> None:
    rows, conditions = make_rows(9), transfers(5)
    own = {f"transfer[{task}:{task}-k05]": 9 for task in ("city", "year")}
    for wrong in (own, {each.name: 9 for each in conditions}):
        found = specificity(conditions, rows, answered(conditions, wrong, rows), 0.1)
        assert found is not None
        assert (found.finding, found.filings) == ("inconclusive", 9)


def test_specificity_needs_every_source_on_every_target() -> None:
    rows, conditions = make_rows(4), transfers(5)
    assert specificity(conditions[:3], rows, answered(conditions, {}, rows), 0.1) is None
    assert specificity(conditions[:1], rows, answered(conditions, {}, rows), 0.1) is None
    assert specificity(conditions, (), Answers({}, {}), 0.1) is None

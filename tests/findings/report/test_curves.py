"""Curves from a report: what is pooled, what is not, and what belongs to a single task."""

import pytest
from changed_section import changed
from fake_study import KS, TASKS, make_report, whole_report

from harness.findings.report.curves import Curve, Point, curves, envelope, level


def curve(experiment: str, tasks: set[str] | None = None, seed: int | None = None) -> Curve:
    found = [c for c in curves(whole_report(), tasks) if (c.experiment, c.seed) == (experiment, seed)]
    assert len(found) == 1
    return found[0]


def test_experiments_with_one_accuracy_a_k_have_curves_and_no_others() -> None:
    found = [(c.experiment, c.seed) for c in curves(whole_report())]
    assert found == [
        ("within_task", None),
        ("across_task", None),
        ("general", None),
        ("global", None),
        *[("random_control", seed) for seed in range(5)],
        ("bottom", None),
    ]
    assert all([point.k for point in c.points] == list(KS) for c in curves(whole_report()))


def test_conditions_of_different_tasks_are_pooled_by_rows() -> None:
    conditions = [c for c in whole_report().conditions if c.experiment == "within_task" and c.k == 5]
    point = curve("within_task").at(5)
    assert point is not None
    assert (point.n, point.requested) == (216, 216)
    assert point.matches == sum(c.matches for c in conditions)
    assert point.accuracy == point.matches / 216
    assert point.interval is not None
    assert point.interval.low < point.accuracy < point.interval.high


def test_one_tasks_curve_is_that_tasks_rows() -> None:
    (condition,) = [c for c in whole_report().conditions if c.name == "general[k05]"]
    point = curve("general", {"ceo_lastname"}).at(5)
    assert point is not None
    assert (point.n, point.matches) == (24, condition.per_task["ceo_lastname"].matches)
    own = curve("within_task", {"ceo_lastname"}).at(5)
    assert own is not None
    assert own.n == 24


def test_too_few_heads_show() -> None:
    points = {point.k: point for point in curve("general").points}
    assert [points[k].is_short for k in KS] == [False, False, False, True, True]
    assert (points[20].heads, points[5].heads) == ("7", "5")
    assert Point(1, 1, 1, 1.0, None, k=20, fewest=7, most=20).heads == "7-20"


def test_transfer_and_single_heads_have_no_curve() -> None:
    report, _ = make_report(TASKS[:3], (1, 2), ("single", "leave_one_in", "transfer"), 2)
    assert curves(report) == ()


def test_a_gates_own_controls_are_no_draws_of_random_control() -> None:
    conditions = whole_report().conditions
    draw = next(c for c in conditions if c.name == "random_control[seed0-k05]")
    extra = changed(draw, {"name": "random_control[shared-seed0-k05]", "gate": "shared"})
    report = changed(whole_report(), {"conditions": [*conditions, extra]})
    assert curves(report) == curves(whole_report())


def test_level_is_the_conditions_own() -> None:
    baseline = level(whole_report(), "baseline")
    (condition,) = [c for c in whole_report().conditions if c.name == "baseline"]
    assert baseline is not None
    assert (baseline.n, baseline.accuracy) == (condition.n, condition.accuracy)
    assert level(whole_report(), "nothing") is None
    nowhere = level(whole_report(), "baseline", {"no_such_task"})
    assert nowhere is not None
    assert (nowhere.n, nowhere.accuracy, nowhere.interval) == (0, None, None)


def test_envelope_by_hand() -> None:
    def draw(*accuracies: float | None) -> Curve:
        points = [
            Point(10, 0 if a is None else 10, 0, a, None, k=k, fewest=k, most=k)
            for k, a in zip((1, 5, 20), accuracies, strict=True)
        ]
        return Curve("random_control", 0, tuple(points))

    points = envelope([draw(0.9, 0.8, None), draw(0.7, 1.0, None)])
    assert [(p.k, p.low, p.high, p.n_draws) for p in points] == [(1, 0.7, 0.9, 2), (5, 0.8, 1.0, 2)]
    assert [p.mean for p in points] == pytest.approx([0.8, 0.9])

"""Captions of figures: their numbers are the report's, worked out here in another way."""

import re

import pytest
from changed_section import changed
from fake_study import make_report, whole_report

from harness.findings.figures.captions import CAPTIONS, caption
from harness.findings.figures.plots import FIGURES
from harness.findings.report.report_data import ReportData
from harness.findings.statistics import wilson

TASKS = ("ceo_lastname", "incorporation_year")


@pytest.fixture(scope="module")
def report() -> ReportData:
    return make_report(TASKS, (1, 20), None, 6)[0]


def test_every_figure_has_one(report: ReportData) -> None:
    assert CAPTIONS.keys() == FIGURES.keys()
    for name in FIGURES:
        text = caption(name, report)
        assert text.endswith("12 rows of 6 filings.")
        assert "None" not in text
        assert len(text) < 1000


def test_accuracies_are_pooled_over_tasks(report: ReportData) -> None:
    parts = [each for each in report.conditions if (each.experiment, each.k) == ("within_task", 20)]
    right, n = sum(each.matches for each in parts), sum(each.n for each in parts)
    interval = wilson(right, n)
    assert interval is not None
    ends = f"{interval.low:.1%} to {interval.high:.1%}"
    for name in ("accuracy_by_k", "retrieval_against_random"):
        assert f"within_task, k = 20: {right / n:.1%} ({right} of {n}; {ends})." in caption(name, report)
    (baseline,) = [each for each in report.conditions if each.name == "baseline"]
    assert f"The untouched model answers {baseline.accuracy:.1%} ({baseline.matches} of {baseline.n}; " in caption(
        "accuracy_by_k", report
    )


def test_several_draws_are_a_mean_and_a_range(report: ReportData) -> None:
    draws = [each.accuracy or 0.0 for each in report.conditions if (each.experiment, each.k) == ("random_control", 20)]
    said = re.search(
        r"random_control, k = 20: (\S+)% in the mean of (\d+) draws \((\S+)% to (\S+)%\)",
        caption("accuracy_by_k", report),
    )
    assert said is not None
    mean, n, low, high = map(float, said.groups())
    assert n == len(draws) == 5
    assert (mean, low, high) == pytest.approx((100 * sum(draws) / 5, 100 * min(draws), 100 * max(draws)), abs=0.051)


def test_fewer_heads_than_k_are_said(report: ReportData) -> None:
    assert "general, k = 20 (7 heads): " in caption("accuracy_by_k", whole_report())
    assert "Hollow marks: fewer than k heads" in caption("accuracy_by_k", whole_report())


def test_a_transfers_means(report: ReportData) -> None:
    own = [each.accuracy or 0.0 for each in report.conditions if (each.experiment, each.k) == ("within_task", 20)]
    transfers = [each for each in report.conditions if (each.experiment, each.k) == ("transfer", 20)]
    others = [each.accuracy or 0.0 for each in transfers if each.tasks != (each.source_task,)]
    means = [f"{sum(values) / len(values):.1%}" for values in (own, others)]
    assert f"k = 20: {means[0]} in the mean without a task's own heads, {means[1]} without another's." in caption(
        "transfer_map", report
    )


def test_a_list_without_all_scores_says_so(report: ReportData) -> None:
    assert report.ranking is not None
    cut = changed(report, {"ranking": changed(report.ranking, {"mean_scores": None}).model_dump()})
    assert "Hatched" in caption("head_map", cut)
    assert "Hatched" not in caption("head_map", report)

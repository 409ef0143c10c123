"""A condition's figures by hand: 3 filings, 2 tasks; what is missing lowers n and nothing else."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.conditions import BASELINE, Condition
from harness.findings.report.condition_results import ConditionSamples, condition_result
from harness.findings.report.report_data import Drop, Likelihood, OwnMetric, Rate
from harness.findings.samples import Sample

MINE = Condition("mine", heads=((1, 2), (0, 3)), k=5, seed=3)  # type: ignore[arg-type]  # pairs become heads


def sample(filing: str, task: str, match: bool, *, published: bool | None = None, logprob: float = -1.0) -> Sample:
    return Sample(
        condition="mine",
        row=f"{filing}/{task}",
        filename=filing,
        cluster=filing,
        task=task,
        depth=None,
        value="1",
        completion="",
        match=match,
        published_match=match if published is None else published,
        ended=True,
        faults=(),
        tokens=1,
        gold_logprob=logprob,
        baseline_logprob=logprob / 2,
        own={"length": 4.0},
    )


def given_samples(before: Sequence[Sample], after: Sequence[Sample]) -> ConditionSamples:
    return ConditionSamples(MINE, {"a": 3, "b": 3}, after, {s.row: s for s in before})


BEFORE = [sample(f, t, True) for f in ("f1", "f2", "f3") for t in ("a", "b")]
AFTER = [
    sample("f1", "a", False, logprob=-4.0),
    sample("f1", "b", False, logprob=-2.0),
    sample("f2", "a", False, published=True, logprob=-3.0),
    sample("f2", "b", True, logprob=-1.0),
    sample("f3", "a", True, logprob=-1.0),
]


def valued(sample: Sample, probability: float | None) -> Sample:
    return sample.model_copy(update={"value_logprob": None if probability is None else math.log(probability)})


def test_likelihood_by_hand() -> None:
    """Of five pairs one was wrong untouched, and one lacks it: three are compared."""
    before = [valued(s, p) for s, p in zip(BEFORE, (1.0, 0.5, 0.8, None, 0.9, None), strict=True)]
    before[3] = before[3].model_copy(update={"match": False})
    after = [valued(s, p) for s, p in zip(AFTER, (0.1, 0.5, 0.2, None, None), strict=True)]
    result = condition_result(given_samples(before, after))
    found = result.likelihood
    assert found is not None
    assert (found.n, found.missing) == (3, 1)
    assert found.untouched == pytest.approx((1.0 + 0.5 + 0.8) / 3)
    assert found.probability == pytest.approx((0.1 + 0.5 + 0.2) / 3)
    assert found.logprob_change == pytest.approx((math.log(0.1) + 0.0 + math.log(0.25)) / 3)
    of_a = result.per_task["a"].likelihood
    assert of_a is not None
    assert (of_a.n, of_a.missing) == (2, 1)


def test_the_untouched_models_own_likelihood() -> None:
    alone = ConditionSamples(BASELINE, {"a": 3, "b": 3}, [valued(s, 0.5) for s in BEFORE[:2]], None)
    found = condition_result(alone).likelihood
    assert found == Likelihood(n=2, missing=0, untouched=0.5, probability=0.5, logprob_change=0.0)
    absent = Condition("needle_absent", prompt="needle_absent")
    assert condition_result(ConditionSamples(absent, {"a": 3}, [], {})).likelihood is None


def test_by_hand() -> None:
    result = condition_result(given_samples(BEFORE, AFTER))
    assert (result.name, result.heads, result.k, result.k_effective) == (
        "mine",
        ((1, 2), (0, 3)),
        5,
        2,
    )
    assert (result.requested, result.n, result.filings, result.matches) == (6, 5, 3, 2)
    assert result.accuracy == 2 / 5
    assert result.interval == pytest.approx([0.1176, 0.7693], abs=1e-4)
    assert result.macro_accuracy == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert (result.published_rule.matches, result.disagreements) == (3, 1)
    # filings' sums are 2, 1, 0: of the 8 sign patterns 4 reach 3 in size
    assert result.drop == Drop(estimate=3 / 5, lost=3, gained=0, n=5, filings=3, permutation_p=0.5)
    assert result.gold_logprob_change == pytest.approx(-(3 + 1 + 2) / 5)
    assert result.baseline_logprob_change == pytest.approx(-(3 + 1 + 2) / 10)
    assert result.own == {"length": OwnMetric(n=5, mean=4.0)}
    task = result.per_task["a"]
    assert (task.requested, task.n, task.matches, task.lost, task.gained) == (3, 3, 1, 2, 0)
    assert (task.drop, task.mcnemar_p) == (2 / 3, 0.5)
    assert task.gold_logprob_change == pytest.approx(-5 / 3)
    assert (result.per_task["b"].requested, result.per_task["b"].n) == (3, 2)


def test_without_samples_all_is_undefined_and_nothing_is_zero_percent() -> None:
    result = condition_result(given_samples(BEFORE, []))
    assert (result.requested, result.n, result.matches) == (6, 0, 0)
    for undefined in ("accuracy", "interval", "macro_accuracy", "drop", "gold_logprob_change"):
        assert getattr(result, undefined) is None
    assert result.published_rule == Rate(matches=0, accuracy=None, interval=None)
    assert result.per_task["a"].accuracy is None
    assert result.per_task["a"].mcnemar_p is None


def test_the_baseline_has_no_drop_from_itself() -> None:
    result = condition_result(ConditionSamples(BASELINE, {"a": 3, "b": 3}, BEFORE, None))
    assert result.accuracy == 1.0
    assert result.drop is None
    assert result.per_task["a"].lost is None


def test_rows_that_the_baseline_lacks_count_in_n_but_not_in_the_drop() -> None:
    result = condition_result(given_samples(BEFORE[:1], AFTER))
    assert result.n == 5
    assert result.drop is not None
    assert (result.drop.n, result.drop.estimate) == (1, 1.0)
    assert result.per_task["b"].mcnemar_p is None


def test_mcnemar_is_left_out_where_a_filing_has_several_rows_of_a_task() -> None:
    """Two depths of one filing are not independent pairs."""
    before = [sample("f1", "a", True), sample("f2", "a", True)]
    twice = before[0].model_copy(update={"row": "f1/a@0.9"})
    after = [sample("f1", "a", False), sample("f2", "a", False)]
    result = condition_result(given_samples([*before, twice], [*after, twice]))
    assert result.per_task["a"].lost == 2
    assert result.per_task["a"].mcnemar_p is None


rows = st.lists(
    st.tuples(st.sampled_from("fgh"), st.sampled_from("ab"), st.booleans(), st.booleans()),
    unique_by=lambda row: row[:2],
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(rows)
def test_a_drop_is_the_difference_of_accuracies_on_whole_pairs(
    rows: list[tuple[str, str, bool, bool]],
) -> None:
    before = [sample(f, t, b) for f, t, b, _ in rows]
    after = [sample(f, t, a) for f, t, _, a in rows]
    result = condition_result(given_samples(before, after))
    if not rows:
        assert result.drop is None
        return
    assert result.drop is not None
    assert result.drop.estimate == pytest.approx((sum(b for *_, b, _ in rows) - sum(a for *_, a in rows)) / len(rows))
    tasks = result.per_task.values()
    assert result.drop.lost == sum(task.lost or 0 for task in tasks)
    assert result.matches == sum(task.matches for task in tasks)

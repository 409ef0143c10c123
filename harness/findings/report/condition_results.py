"""A condition's figures, pooled and task by task, from its samples and the baseline's on the same rows.

Pairing is by row: only rows with both samples count in a drop, in a test and in a mean change. Rows without a
sample lower `n` and nothing else. Knows nothing of records or files; the statistics are `stats`'s.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.experiment.conditions import Condition
from harness.findings.report.report_data import (
    ConditionResult,
    ConditionSetup,
    Degenerate,
    Drop,
    Likelihood,
    OwnMetric,
    Rate,
    TaskResult,
)
from harness.findings.samples import Pairing, Sample
from harness.findings.statistics import mcnemar_p, paired_mean_change, sign_permutation_p, wilson


@dataclass(frozen=True)
class ConditionSamples:
    """A condition, how many rows of each task it asked for, its samples, and the baseline's by row.

    `baseline` is `None` where there is nothing to compare with: the condition is the baseline itself.
    """

    condition: Condition
    requested: Mapping[str, int]
    samples: Sequence[Sample]
    baseline: Mapping[str, Sample] | None

    def pairs(self) -> list[Pairing]:
        """The baseline's sample and the condition's, of each row that has both."""
        before = self.baseline or {}
        return [(before[sample.row], sample) for sample in self.samples if sample.row in before]

    def likelihood(self) -> Likelihood | None:
        """Of the value where the untouched model says it; the untouched model is set beside itself."""
        if self.condition.prompt != "full":
            return None
        pairs = [(sample, sample) for sample in self.samples] if self.baseline is None else self.pairs()
        return likelihood(pairs)

    def of_task(self, task: str) -> "ConditionSamples":
        """The same, of one task's rows."""
        own = [sample for sample in self.samples if sample.task == task]
        return ConditionSamples(self.condition, {task: self.requested[task]}, own, self.baseline)


def condition_result(given: ConditionSamples) -> ConditionResult:
    """A condition's part of the report. Anything undefined (n = 0, no baseline) is `None`."""
    condition, samples, pairs = given.condition, given.samples, given.pairs()
    per_task = {task: task_result(given.of_task(task)) for task in given.requested}
    return ConditionResult(
        **dict(condition_setup(condition)),
        **dict(rate(sum(sample.match for sample in samples), len(samples))),
        requested=sum(given.requested.values()),
        n=len(samples),
        filings=len({sample.filename for sample in samples}),
        macro_accuracy=_mean([r.accuracy for r in per_task.values() if r.accuracy is not None]),
        published_rule=rate(sum(sample.published_match for sample in samples), len(samples)),
        disagreements=sum(sample.match != sample.published_match for sample in samples),
        drop=drop(pairs),
        degenerate=degenerate(samples),
        gold_logprob_change=_change([(b.gold_logprob, s.gold_logprob) for b, s in pairs]),
        baseline_logprob_change=_change([(b.baseline_logprob, s.baseline_logprob) for b, s in pairs]),
        likelihood=given.likelihood(),
        own=own_metrics(samples),
        per_task=per_task,
    )


def condition_setup(condition: Condition) -> ConditionSetup:
    """What a condition is, whatever came of it."""
    return ConditionSetup(
        name=condition.name,
        experiment=condition.experiment,
        setting=condition.setting,
        k=condition.k,
        k_effective=condition.k_effective,
        heads=tuple((head.layer, head.head) for head in condition.heads),
        tasks=condition.tasks,
        prompt=condition.prompt,
        source_task=condition.source_task,
        seed=condition.seed,
        random_match=condition.random_match,
        overlap=condition.overlap,
        mismatches=condition.mismatches,
        controls_for=condition.controls_for,
        gate=condition.gate,
        only_right=condition.only_right,
    )


def task_result(given: ConditionSamples) -> TaskResult:
    """One task's part of a condition."""
    samples, pairs = given.samples, given.pairs()
    change = drop(pairs)
    independent = len({after.cluster for _, after in pairs}) == len(pairs)
    return TaskResult(
        **dict(rate(sum(sample.match for sample in samples), len(samples))),
        requested=sum(given.requested.values()),
        n=len(samples),
        published_rule=rate(sum(sample.published_match for sample in samples), len(samples)),
        disagreements=sum(sample.match != sample.published_match for sample in samples),
        drop=None if change is None else change.estimate,
        lost=None if change is None else change.lost,
        gained=None if change is None else change.gained,
        mcnemar_p=mcnemar_p(change.lost, change.gained) if change and independent else None,
        gold_logprob_change=_change([(b.gold_logprob, s.gold_logprob) for b, s in pairs]),
        baseline_logprob_change=_change([(b.baseline_logprob, s.baseline_logprob) for b, s in pairs]),
        likelihood=given.likelihood(),
    )


def rate(matches: int, n: int) -> Rate:
    """Matches of n rows, accuracy and Wilson's interval; both `None` where there are no rows."""
    interval = wilson(matches, n)
    return Rate(
        matches=matches,
        accuracy=matches / n if n else None,
        interval=None if interval is None else interval.ends,
    )


def drop(pairs: Sequence[Pairing]) -> Drop | None:
    """Rows lost and gained against the baseline; `None` without a pair."""
    if not pairs:
        return None
    sums: dict[str, int] = {}
    for before, after in pairs:
        sums[after.cluster] = sums.get(after.cluster, 0) + before.match - after.match
    lost = sum(before.match and not after.match for before, after in pairs)
    gained = sum(after.match and not before.match for before, after in pairs)
    return Drop(
        estimate=(lost - gained) / len(pairs),
        lost=lost,
        gained=gained,
        n=len(pairs),
        filings=len({after.filename for _, after in pairs}),
        permutation_p=sign_permutation_p(list(sums.values())),
    )


def degenerate(samples: Sequence[Sample]) -> Degenerate:
    """How many completions are degenerate, and in which ways."""
    of = Counter(fault for sample in samples for fault in sample.faults)
    return Degenerate(
        any=sum(bool(sample.faults) for sample in samples),
        empty=of["empty"],
        repeating=of["repeating"],
        cut_off=of["cut_off"],
        several_numbers=of["several_numbers"],
        hedging=of["hedging"],
        turn_marker=of["turn_marker"],
    )


def likelihood(pairs: Sequence[Pairing]) -> Likelihood:
    """The value's probability before and after, over the rows where both are known; `None` over none."""
    known = [
        (before.value_logprob, after.value_logprob)
        for before, after in pairs
        if before.value_logprob is not None and after.value_logprob is not None
    ]
    return Likelihood(
        n=len(known),
        missing=sum(before.match and after.value_logprob is None for before, after in pairs),
        untouched=_mean([math.exp(before) for before, _ in known]),
        probability=_mean([math.exp(after) for _, after in known]),
        logprob_change=_change(known),
    )


def own_metrics(samples: Sequence[Sample]) -> dict[str, OwnMetric]:
    """Each of a user's metrics, averaged over the rows where it is known."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.own.items():
            values.setdefault(name, []).extend([] if value is None else [value])
    return {name: OwnMetric(n=len(known), mean=_mean(known)) for name, known in sorted(values.items())}


def _change(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    return paired_mean_change([before for before, _ in pairs], [after for _, after in pairs])


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None

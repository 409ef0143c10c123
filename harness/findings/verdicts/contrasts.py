"""Contrasts: every experiment at every k against as many random heads on the same rows, without a verdict.

And specificity: whether a task's own heads cost its rows more than other tasks' heads do. Findings beside the gates,
worked out from whatever conditions a run has. Knows nothing of how samples come about.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.experiment.conditions import BASELINE, PERMUTATION, RANDOM, Condition
from harness.findings.statistics import ClusterMean, cluster_mean
from harness.findings.verdicts.gate_samples import Answers, rows_of
from harness.findings.verdicts.rule import LEAST_CLUSTERS
from harness.findings.verdicts.verdict_data import Contrast, Finding, Specificity
from harness.retrieval.rows import Row

DRAWN = (RANDOM, PERMUTATION)
"""Experiments that others are held against, and that are no findings themselves."""


def contrasts(conditions: Sequence[Condition], rows: Sequence[Row], answers: Answers) -> list[Contrast]:
    """By experiment and rising k, those whose conditions cover different rows and have random controls of their size.

    A control drawn for the very heads comes first, else `random_control` at the same k: it holds as many heads, by
    layer those that match the global ones. Where heads are fewer than k only the former will do.
    """
    groups: dict[tuple[str, int], list[Condition]] = {}
    for condition in conditions:
        if condition.k is not None and condition.experiment not in DRAWN and condition.prompt == "full":
            groups.setdefault((condition.experiment, condition.k), []).append(condition)
    found = []
    experiments = list(dict.fromkeys(experiment for experiment, _ in groups))
    for experiment, k in sorted(groups, key=lambda group: (experiments.index(group[0]), group[1])):
        group = groups[experiment, k]
        controls = [_controls(condition, conditions) for condition in group]
        if not _disjoint(group) or not all(controls):
            continue
        paired = _paired(list(zip(group, controls, strict=True)), rows, answers)
        if paired:
            found.append(_contrast(experiment, k, group, paired))
    return found


@dataclass(frozen=True, slots=True)
class _Paired:
    """One row's matches: untouched, under a condition, and under each of its controls."""

    cluster: str
    before: bool
    after: bool
    controls: tuple[bool, ...]


def _paired(
    parts: Sequence[tuple[Condition, Sequence[Condition]]], rows: Sequence[Row], answers: Answers
) -> list[_Paired]:
    """The rows that have a sample under each condition of their part."""
    n_draws = min(len(controls) for _, controls in parts)
    found = []
    for condition, controls in parts:
        needed = (BASELINE, condition, *controls[:n_draws])
        for row in rows_of(condition, rows):
            if all(answers.has(each, row.id) for each in needed):
                before, after, *drawn = (answers.samples[each.name][row.id].match for each in needed)
                found.append(_Paired(row.cluster_name, before, after, tuple(drawn)))
    return found


def _contrast(experiment: str, k: int, group: Sequence[Condition], paired: Sequence[_Paired]) -> Contrast:
    n, n_draws = len(paired), len(paired[0].controls)
    drop = sum(row.before - row.after for row in paired) / n
    draws = [sum(row.before - row.controls[i] for row in paired) / n for i in range(n_draws)]
    more = [sum(row.controls) / n_draws - row.after for row in paired]
    mean = cluster_mean(more, [row.cluster for row in paired], draws=draws)
    sizes = [condition.k_effective for condition in group]
    random_drop = math.fsum(draws) / n_draws
    return Contrast(
        experiment=experiment,
        k=k,
        k_effective=(min(sizes), max(sizes)),
        n=n,
        filings=len({row.cluster for row in paired}),
        drop=drop,
        random_drop=random_drop,
        difference=drop - random_drop,
        interval=None if mean is None else mean.interval().ends,
        draw_differences=tuple(drop - draw for draw in draws),
    )


def specificity(
    conditions: Sequence[Condition], rows: Sequence[Row], answers: Answers, margin: float
) -> Specificity | None:
    """Own-source drop less the mean of the other sources', a row, at the k whose own drop is nearest half the baseline.

    `specific` where the interval over filings lies above the margin, `shared` where it lies below though the own heads
    cost more than the margin, else `inconclusive`, as with fewer than 10 filings. `None` without transfer conditions
    from every source to every target, of two tasks at least.
    """
    transfers: dict[int, list[Condition]] = {}
    for condition in conditions:
        if condition.experiment == "transfer" and condition.k is not None:
            transfers.setdefault(condition.k, []).append(condition)
    whole = {k: of_k for k, of_k in transfers.items() if _is_whole(of_k)}
    found = [each for k, of_k in whole.items() if (each := _at(k, of_k, rows, answers, margin)) is not None]
    return min(found, key=lambda each: (abs(each[0].own_drop - each[1] / 2), each[0].k))[0] if found else None


def _at(
    k: int, transfers: Sequence[Condition], rows: Sequence[Row], answers: Answers, margin: float
) -> tuple[Specificity, float] | None:
    """Specificity at one k, and the baseline's accuracy on the same rows; `None` without rows."""
    by_target: dict[str, list[Condition]] = {}
    for condition in transfers:
        (target,) = condition.tasks or ()
        by_target.setdefault(target, []).append(condition)
    own_drops, other_drops, filings, before = [], [], [], []
    for target, sources in by_target.items():
        own = next(each for each in sources if each.source_task == target)
        others = [each for each in sources if each is not own]
        for row in rows_of(own, rows):
            if not all(answers.has(each, row.id) for each in (BASELINE, *sources)):
                continue
            match = {each.name: answers.samples[each.name][row.id].match for each in (BASELINE, *sources)}
            before.append(match[BASELINE.name])
            own_drops.append(match[BASELINE.name] - match[own.name])
            other_drops.append(match[BASELINE.name] - sum(match[each.name] for each in others) / len(others))
            filings.append(row.cluster_name)
    mean = cluster_mean([a - b for a, b in zip(own_drops, other_drops, strict=True)], filings)
    if mean is None:
        return None
    interval, n = mean.interval(), mean.n_rows
    foreign = [each for each in transfers if (each.source_task,) != each.tasks]
    result = Specificity(
        finding=_finding(mean, sum(own_drops) / n, margin),
        k=k,
        n=n,
        filings=mean.n_filings,
        own_drop=sum(own_drops) / n,
        other_drop=sum(other_drops) / n,
        difference=mean.estimate,
        interval=interval.ends,
        overlap=sum(each.overlap or 0 for each in foreign) / len(foreign),
    )
    return result, sum(before) / n


def _finding(difference: ClusterMean, own_drop: float, margin: float) -> Finding:
    interval = difference.interval()
    if difference.n_filings < LEAST_CLUSTERS:
        return "inconclusive"
    if interval.low > margin:
        return "specific"
    return "shared" if interval.high < margin < own_drop else "inconclusive"


def _controls(condition: Condition, conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """One a draw, of the condition's own size."""
    drawn = [each for each in conditions if each.experiment == RANDOM and each.k_effective == condition.k_effective]
    own = tuple(each for each in drawn if each.gate is not None and each.controls_for == condition.name)
    return own or tuple(each for each in drawn if each.gate is None and each.k == condition.k)


def _disjoint(conditions: Sequence[Condition]) -> bool:
    """Whether no two of them cover the same rows."""
    if len(conditions) == 1:
        return True
    tasks = [task for condition in conditions for task in condition.tasks or ("",)]
    return len(tasks) == len(set(tasks)) and "" not in tasks


def _is_whole(transfers: Sequence[Condition]) -> bool:
    targets: dict[str | None, set[str | None]] = {}
    for each in transfers:
        targets.setdefault(each.source_task, set()).update(each.tasks or ())
    return len(targets) > 1 and all(of_source == set(targets) for of_source in targets.values())

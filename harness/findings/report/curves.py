"""Curves: a report's accuracy against k, one curve an experiment and random draw, over some or all tasks.

Conditions of an experiment at one k that ask different tasks (`within_task`: each task its own heads) make
one point together, their rows pooled. Where conditions at one k ask the same task (`transfer`, `single`), no
one accuracy belongs to that k, and there is no curve. Everything comes from the report alone.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from harness.findings.report.report_data import ConditionResult, ReportData, TaskResult
from harness.findings.statistics import Interval, wilson
from harness.findings.wording import span


@dataclass(frozen=True, slots=True)
class Level:
    """Matches of n rows; the interval is Wilson's. Accuracy and interval are `None` where n is 0."""

    requested: int
    n: int
    matches: int
    accuracy: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Point(Level):
    """A level at one k; `fewest` to `most` heads were really ablated, task by task."""

    k: int
    fewest: int
    most: int

    @property
    def is_short(self) -> bool:
        """Whether some list held fewer than k heads."""
        return self.fewest < self.k

    @property
    def heads(self) -> str:
        """How many heads were ablated, as `20` or `7-20`."""
        return span(self.fewest, self.most)


@dataclass(frozen=True, slots=True)
class Curve:
    """An experiment's points by rising k; `seed` tells random draws apart."""

    experiment: str
    seed: int | None
    points: tuple[Point, ...]

    def at(self, k: int) -> Point | None:
        """The point at this k."""
        return next((point for point in self.points if point.k == k), None)


@dataclass(frozen=True, slots=True)
class EnvelopePoint:
    """The draws at one k: their mean accuracy, and the lowest and highest of them."""

    k: int
    mean: float
    low: float
    high: float
    n_draws: int


def curves(report: ReportData, tasks: Collection[str] | None = None) -> tuple[Curve, ...]:
    """Every experiment's curve over the rows of these tasks (`None`: all), in the order of the report.

    Control draws that belong to a gate's heads are left out: they stand beside other heads than
    `random_control`'s.
    """
    groups: dict[tuple[str, int | None], dict[int, list[ConditionResult]]] = {}
    for condition in report.conditions:
        k, of_tasks = condition.k, _of_tasks(condition, tasks)
        if k is not None and of_tasks and not _controls_a_gate(condition):
            at_k = groups.setdefault((condition.experiment, condition.seed), {})
            at_k.setdefault(k, []).append(condition)
    return tuple(
        Curve(experiment, seed, tuple(_point(k, at_k[k], tasks) for k in sorted(at_k)))
        for (experiment, seed), at_k in groups.items()
        if all(_disjoint(conditions) for conditions in at_k.values())
    )


def level(report: ReportData, condition: str, tasks: Collection[str] | None = None) -> Level | None:
    """What the condition of this name reached on the rows of these tasks; `None` where it is not there."""
    for result in report.conditions:
        if result.name == condition:
            return pooled_level(_of_tasks(result, tasks))
    return None


def envelope(draws: Sequence[Curve]) -> tuple[EnvelopePoint, ...]:
    """Mean, least and greatest accuracy of the draws at each k; a k without any is left out."""
    points = []
    for k in sorted({point.k for draw in draws for point in draw.points}):
        at_k = [point.accuracy for draw in draws if (point := draw.at(k)) and point.accuracy is not None]
        if at_k:
            points.append(EnvelopePoint(k, sum(at_k) / len(at_k), min(at_k), max(at_k), len(at_k)))
    return tuple(points)


def _of_tasks(condition: ConditionResult, tasks: Collection[str] | None) -> list[TaskResult]:
    return [result for task, result in condition.per_task.items() if tasks is None or task in tasks]


def _controls_a_gate(condition: ConditionResult) -> bool:
    return condition.gate is not None


def _disjoint(conditions: Sequence[ConditionResult]) -> bool:
    asked = [task for condition in conditions for task in condition.per_task]
    return len(asked) == len(set(asked))


def pooled_level(results: Iterable[TaskResult]) -> Level:
    """These tasks' rows together."""
    parts = list(results)
    n, matches = sum(part.n for part in parts), sum(part.matches for part in parts)
    requested = sum(part.requested for part in parts)
    return Level(requested, n, matches, matches / n if n else None, wilson(matches, n))


def _point(k: int, conditions: Sequence[ConditionResult], tasks: Collection[str] | None) -> Point:
    pooled = pooled_level(result for condition in conditions for result in _of_tasks(condition, tasks))
    ablated = [condition.k_effective for condition in conditions]
    return Point(
        requested=pooled.requested,
        n=pooled.n,
        matches=pooled.matches,
        accuracy=pooled.accuracy,
        interval=pooled.interval,
        k=k,
        fewest=min(ablated),
        most=max(ablated),
    )

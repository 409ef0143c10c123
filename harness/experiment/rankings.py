"""Rankings of attention heads: which heads of a model retrieve best, task by task.

A ranking holds a task's heads best first; the first `top_k` are its *candidates*. Everything an experiment asks of a
ranking is worked out here: the heads that tasks share, the best over all rows, the best of all other tasks, the worst,
and the pool that random controls are drawn from. Order is the same everywhere: by score, highest first, then by
(layer, head).

Knows nothing of files (`head_files`), of how scores are measured (`harness.model.identification`) or of models.

Many published lists are cut after their best heads. Where the full scores are unknown, a head missing from a
task's list counts with that list's lowest score (`harness.findings.rankings.ranking_summary` says so).
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from harness.errors import HeadsError
from harness.experiment.heads import Head, ModelShape
from harness.experiment.stability import Stability
from harness.retrieval.traces import Extent, Traces

T = TypeVar("T")

EVERY_TASK = "*"
"""The key under which a list that serves every task is kept."""

AT_CHANCE = 2.0
"""A head that scores less than so many times chance looks at the needle hardly more than anywhere. A convention."""

Scores = tuple[tuple[float, ...], ...]
"""One task's scores of all heads: (layers, heads)."""


@dataclass(frozen=True, slots=True)
class ScoredHead:
    """A head and how strongly it retrieves; scores are comparable within one ranking only."""

    head: Head
    score: float


@dataclass(frozen=True, slots=True)
class SharedHead:
    """A head that is a candidate of `task_frequency` tasks; `score` is its mean over all tasks."""

    head: Head
    task_frequency: int
    score: float


@dataclass(frozen=True)
class HeadRanking:
    """Heads ranked for each task, and what is known of how that was done.

    `tasks` holds what a file lists, best first; the candidates are the first `top_k` of each list. With
    `every_task` there is one list, under `EVERY_TASK`, that serves any task. `mean_scores` are the scores of
    all heads, layers x heads per task, when known. `listed_shared` and `listed_global` are what a file said;
    `shared` and `global_heads` say what follows from the scores. `samples` counts the rows behind each task.
    `filing_hashes` and `traces` are of the filings that made it, `split_seed` and `split_share` say which those are.
    `chance` is what a head scores that attends everywhere alike, `stability` how far the lists rest on these filings,
    `extent` how long the prompts were that it was made on, and where their needles stood.
    """

    source: str
    tasks: Mapping[str, tuple[ScoredHead, ...]]
    top_k: int
    method: str | None = None
    model: ModelShape | None = None
    mean_scores: Mapping[str, Scores] | None = None
    listed_shared: tuple[SharedHead, ...] | None = None
    listed_global: tuple[ScoredHead, ...] | None = None
    filing_hashes: frozenset[str] | None = None
    split_seed: int | None = None
    split_share: float | None = None
    traces: Traces | None = None
    chance: Mapping[str, float] | None = None
    stability: Stability | None = None
    extent: Extent | None = None
    samples: Mapping[str, int] | None = None
    split_half: Mapping[str, float] | None = None
    every_task: bool = False
    variant: str | None = None

    def __post_init__(self) -> None:
        if not self.tasks or not all(self.tasks.values()):
            raise self._error("no tasks, or one without heads; expected at least one head for each")
        if self.top_k < 1:
            raise self._error(f"top_k {self.top_k}; expected at least 1")
        for task in self.tasks:
            if self.samples is not None and self.samples.get(task, 0) < 1:
                raise self._error(f"samples.{task}: {self.samples.get(task)}; expected at least 1")
            if self.mean_scores is not None:
                self._check_scores(task, self.mean_scores)

    @property
    def full_method(self) -> str | None:
        """The method's name, with the variant's where there is one."""
        return self.method if self.variant is None else f"{self.method}, variant {self.variant}"

    def scored(self, task: str) -> tuple[ScoredHead, ...]:
        """A task's candidates with their scores, best first; a task it does not hold is a HeadsError."""
        if self.every_task and task not in self.tasks:
            return next(iter(self.tasks.values()))[: self.top_k]
        self._require(task)
        return self.tasks[task][: self.top_k]

    def candidates(self, task: str) -> tuple[Head, ...]:
        """A task's first `top_k` heads, best first; a task it does not hold is a HeadsError."""
        return tuple(scored.head for scored in self.scored(task))

    def restrict(self, tasks: Iterable[str]) -> "HeadRanking":
        """The same ranking of these tasks alone; a list that serves every task is repeated for each.

        What the file said about all its tasks together (shared and global heads) is left behind when tasks
        are. A task that the ranking does not hold is a HeadsError.
        """
        chosen = tuple(dict.fromkeys(tasks))
        if self.every_task:
            (heads, *_) = self.tasks.values()
            (grid, *_) = (self.mean_scores or {"": ()}).values()
            scores = None if self.mean_scores is None else dict.fromkeys(chosen, grid)
            return replace(self, tasks=dict.fromkeys(chosen, heads), mean_scores=scores)
        for task in chosen:
            self._require(task)
        whole = set(chosen) == set(self.tasks)
        return replace(
            self,
            tasks={task: self.tasks[task] for task in chosen},
            mean_scores=_only(self.mean_scores, chosen),
            samples=_only(self.samples, chosen),
            split_half=_only(self.split_half, chosen),
            chance=_only(self.chance, chosen),
            stability=None if self.stability is None else self.stability.restrict(chosen, whole=whole),
            listed_shared=self.listed_shared if whole else None,
            listed_global=self.listed_global if whole else None,
        )

    def completed(self, shape: ModelShape | None = None) -> "HeadRanking":
        """The same with `mean_scores`, where its lists hold every head of a model of this shape: nothing is cut then.

        Without a shape it is the least one that has all listed heads, if that has layers and heads to choose from.
        """
        if self.mean_scores is not None:
            return self
        listed = {task: {scored.head: scored.score for scored in heads} for task, heads in self.tasks.items()}
        if shape is None:
            heads = [head for scores in listed.values() for head in scores]
            shape = ModelShape(max(head.layer for head in heads) + 1, max(head.head for head in heads) + 1)
            if min(shape.n_layers, shape.n_heads) < 2:
                return self
        if any(len(scores) < shape.n_layers * shape.n_heads for scores in listed.values()):
            return self
        grids = {
            task: tuple(
                tuple(scores[Head(layer, head)] for head in range(shape.n_heads)) for layer in range(shape.n_layers)
            )
            for task, scores in listed.items()
        }
        return replace(self, mean_scores=grids)

    def shared(self) -> tuple[SharedHead, ...]:
        """Heads among the candidates of at least ceil(7/9 x tasks) tasks, always recomputed.

        Ordered by the number of tasks, then by mean score over all tasks (each task weighs the same), then
        by (layer, head).
        """
        counts: dict[Head, int] = {}
        for task in self.tasks:
            for head in self.candidates(task):
                counts[head] = counts.get(head, 0) + 1
        needed = -(-7 * len(self.tasks) // 9)
        score_of = self._mean_score(self.tasks, None)
        shared = (SharedHead(head, n, score_of(head)) for head, n in counts.items() if n >= needed)
        return tuple(sorted(shared, key=lambda s: (-s.task_frequency, -s.score, s.head)))

    def global_heads(self) -> tuple[ScoredHead, ...]:
        """Heads by mean score over all identification rows, best first.

        Recomputed from the full scores where they are known, each task weighing as much as it has samples;
        else what the file lists; else the same mean over the cut lists.
        """
        return self._global_heads

    @cached_property
    def _global_heads(self) -> tuple[ScoredHead, ...]:
        if self.mean_scores is None and self.listed_global is not None:
            return self.listed_global
        return self._by_mean(self.tasks, self.samples)

    def global_candidates(self) -> tuple[ScoredHead, ...]:
        """The first `top_k` global heads."""
        return self.global_heads()[: self.top_k]

    def others(self, task: str) -> tuple[ScoredHead, ...]:
        """Heads by mean score over all tasks but this one, each weighing the same, best first.

        A list that serves every task serves here too. A HeadsError when the ranking holds no other task.
        """
        if self.every_task:
            return self.scored(task)
        self._require(task)
        others = tuple(name for name in self.tasks if name != task)
        if not others:
            raise self._error(
                f"holds the task {task} alone; expected others too, whose heads are ablated on its rows; "
                "rank more tasks, or leave the experiments across tasks out"
            )
        return self._by_mean(others, None)

    def bottom(self) -> tuple[ScoredHead, ...]:
        """All heads by mean score over all identification rows, lowest first, ties by (layer, head).

        A HeadsError where the full scores are unknown: the worst of a list of the best is not the worst.
        """
        if self.mean_scores is None:
            raise self._error(
                "holds no full scores, only each task's best heads; expected mean_scores of every head to "
                "find the lowest; rank the heads with 'retrieval-heads identify'"
            )
        return tuple(sorted(self.global_heads(), key=lambda s: (s.score, s.head)))

    def pool(self, shape: ModelShape) -> tuple[Head, ...]:
        """Heads that random controls are drawn from, layer by layer.

        All heads of the model that are no task's candidate, not shared, and not among the first `top_k`
        global heads.
        """
        taken = self.all_candidates()
        return tuple(head for head in shape.heads() if head not in taken)

    def all_candidates(self) -> frozenset[Head]:
        """Heads that no control may hold: every task's candidates, and the global ones."""
        own = {head for task in self.tasks for head in self.candidates(task)}
        return frozenset(own.union(scored.head for scored in self.global_candidates()))

    def check_shape(self, shape: ModelShape) -> None:
        """Raise a HeadsError, naming file and entry, unless every head exists in a model of this shape."""
        sizes = {} if self.model is None else {"model": self.model}
        if self.mean_scores is not None:
            sizes["mean_scores"] = _shape_of(self.mean_scores)
        for entry, own in sizes.items():
            if (own.n_layers, own.n_heads) != (shape.n_layers, shape.n_heads):
                raise self._error(
                    f"{entry}: {own.n_layers} layers of {own.n_heads} heads, but the model has "
                    f"{shape.n_layers} of {shape.n_heads}; expected a ranking of this model's heads"
                )
        lists: dict[str, Sequence[ScoredHead | SharedHead]] = {
            "the list" if self.every_task else f"tasks.{task}": heads for task, heads in self.tasks.items()
        }
        lists |= {"shared_heads": self.listed_shared or (), "global_heads": self.listed_global or ()}
        for entry, heads in lists.items():
            for i, listed in enumerate(heads):
                shape.check(listed.head, f"{self.source}: {entry}[{i}]")

    def at_chance(self, task: str) -> tuple[Head, ...]:
        """The task's candidates that score less than `AT_CHANCE` times chance, best first; none where it is unknown."""
        chance = (self.chance or {}).get(task)
        return () if chance is None else tuple(s.head for s in self.scored(task) if s.score < AT_CHANCE * chance)

    def _check_scores(self, task: str, scores: Mapping[str, Scores]) -> None:
        """Raise unless a task's full scores are finite, and layers x heads of the shape of the others."""
        grid, first = scores.get(task, ()), next(iter(scores.values()), ())
        if not grid or not grid[0] or [len(row) for row in grid] != [len(first[0])] * len(first):
            raise self._error(f"mean_scores.{task}: missing or ragged; expected layers x heads for every task")
        for i, row in enumerate(grid):
            for j, score in enumerate(row):
                if not math.isfinite(score):
                    raise self._error(f"mean_scores.{task}[{i}][{j}]: {score}; expected a finite number")

    def _error(self, message: str) -> HeadsError:
        return HeadsError(f"{self.source}: {message}")

    def _require(self, task: str) -> None:
        if task not in self.tasks:
            raise self._error(
                f"no task {task}; expected one of {', '.join(self.tasks)}; rank its heads with "
                "`retrieval-heads identify`, and name that file"
            )

    def _by_mean(self, tasks: Collection[str], weights: Mapping[str, int] | None) -> tuple[ScoredHead, ...]:
        """All known heads by their mean over these tasks, best first."""
        heads: Iterable[Head]
        if self.mean_scores is not None:
            heads = _shape_of(self.mean_scores).heads()
        else:
            heads = {scored.head for task in tasks for scored in self.tasks[task]}
        score_of = self._mean_score(tasks, weights)
        return best_first(ScoredHead(head, score_of(head)) for head in heads)

    def _mean_score(self, tasks: Collection[str], weights: Mapping[str, int] | None) -> Callable[[Head], float]:
        """A head's mean over these tasks; the sum is rounded once, so the order of tasks does not matter."""
        weight = {task: 1 if weights is None else weights[task] for task in tasks}
        total = sum(weight.values())
        if self.mean_scores is not None:
            full = self.mean_scores
            return lambda head: math.fsum(weight[task] * full[task][head.layer][head.head] for task in tasks) / total
        listed = {task: {scored.head: scored.score for scored in self.tasks[task]} for task in tasks}
        lowest = {task: min(scores.values()) for task, scores in listed.items()}
        return lambda head: math.fsum(weight[task] * listed[task].get(head, lowest[task]) for task in tasks) / total


def best_first(heads: Iterable[ScoredHead]) -> tuple[ScoredHead, ...]:
    """By score, highest first, ties by (layer, head)."""
    return tuple(sorted(heads, key=lambda scored: (-scored.score, scored.head)))


def rank(
    mean_scores: Mapping[str, Sequence[Sequence[float]]],
    *,
    top_k: int,
    samples: Mapping[str, int] | None = None,
    method: str | None = None,
    model: ModelShape | None = None,
) -> HeadRanking:
    """The one way from scores to a ranking: each task's `top_k` best heads.

    `mean_scores` is layers x heads per task. What else is known of the run (`source`, `filing_hashes`,
    `split_seed`, `split_half`) is added with `dataclasses.replace`.

    Raises:
        HeadsError: no tasks, scores that are not finite, not rectangular or not of one shape, a task without
            samples, or fewer heads than `top_k`.
    """
    scores = {task: tuple(tuple(float(score) for score in row) for row in grid) for task, grid in mean_scores.items()}
    ranking = HeadRanking(
        source="ranking",
        tasks={task: best_first(_with_places(grid)) for task, grid in scores.items()},
        top_k=top_k,
        method=method,
        model=model,
        mean_scores=scores,
        samples=samples,
    )
    shape = model or _shape_of(scores)
    ranking.check_shape(shape)
    if top_k > shape.n_layers * shape.n_heads:
        raise HeadsError(f"top_k {top_k}; expected at most {shape.n_layers * shape.n_heads}, all heads")
    best = {task: heads[:top_k] for task, heads in ranking.tasks.items()}
    return replace(ranking, model=shape, tasks=best)


def _shape_of(scores: Mapping[str, Scores]) -> ModelShape:
    grid = next(iter(scores.values()))
    return ModelShape(len(grid), len(grid[0]))


def _only(values: Mapping[str, T] | None, tasks: Sequence[str]) -> Mapping[str, T] | None:
    return None if values is None else {task: values[task] for task in tasks if task in values}


def _with_places(grid: Scores) -> Iterable[ScoredHead]:
    return (ScoredHead(Head(i, j), score) for i, row in enumerate(grid) for j, score in enumerate(row))

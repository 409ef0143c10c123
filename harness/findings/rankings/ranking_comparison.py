"""Rankings side by side: how far methods agree on which heads retrieve.

For each task that all rankings hold, and for all rows together, every pair of rankings has two figures:
Spearman's rank correlation over all heads, and how many of the top heads are common. A few good heads among
many idle ones make the first high or low by what the idle ones do, so neither stands without the other. A list that
serves every task is set beside each task of the others.

Knows nothing of how scores were measured, nor of files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from harness.errors import HeadsError
from harness.experiment.heads import Head
from harness.experiment.rankings import EVERY_TASK, HeadRanking, ScoredHead, best_first
from harness.findings.statistics import rank_correlation
from harness.findings.wording import aligned

ALL_ROWS = "all rows"
"""The name of the scores that are means over all identification rows."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two rankings agree on one task, or on all rows.

    `correlation` is Spearman's, over all heads; `None` where one ranking's scores are not known of all heads, or are
    all equal. `common` counts heads among the first `top_k` of both.
    """

    task: str
    correlation: float | None
    common: int
    top_k: int


def agreement(first: HeadRanking, second: HeadRanking, *, top_k: int | None = None) -> tuple[Agreement, ...]:
    """Task by task, in the first's order, then over all rows; `top_k` is by default the smaller of the two.

    The mean over all rows is each ranking's own, its tasks weighing as much as they have samples; where not
    all tasks are in both, over the common ones.

    Raises:
        HeadsError: rankings of models of other shapes, no common task, or fewer heads listed than `top_k`.
    """
    tasks = common_tasks([first, second])
    if not tasks:
        raise HeadsError(f"{first.source}, {second.source}: no task in common; expected one at least; name others")
    for one, other in ((first, second), (second, first)):
        if one.model is not None:
            other.check_shape(one.model)
    first, second = _only(first, tasks), _only(second, tasks)
    depth = min(first.top_k, second.top_k) if top_k is None else top_k
    shape = first.model or second.model
    n_heads = None if shape is None else shape.n_layers * shape.n_heads
    found = [
        _agreement(task, _scored(first, task, depth, n_heads), _scored(second, task, depth, n_heads), depth)
        for task in tasks
    ]
    if tasks != (EVERY_TASK,):
        found.append(_agreement(ALL_ROWS, _pooled(first, depth, n_heads), _pooled(second, depth, n_heads), depth))
    return tuple(found)


def common_tasks(rankings: Sequence[HeadRanking]) -> tuple[str, ...]:
    """Tasks that all rankings hold, in the first's order; `EVERY_TASK` alone where each is a list for every task."""
    by_task = [ranking for ranking in rankings if not ranking.every_task]
    if not by_task:
        return (EVERY_TASK,)
    return tuple(task for task in by_task[0].tasks if all(task in ranking.tasks for ranking in by_task))


def agreement_lines(rankings: Sequence[HeadRanking], *, top_k: int | None = None) -> Iterator[str]:
    """A table of all pairs of at least two rankings: correlation, and heads in common."""
    top_k = min(ranking.top_k for ranking in rankings) if top_k is None else top_k
    for number, ranking in enumerate(rankings, start=1):
        yield f"{number}: {ranking.source}: {ranking.full_method or 'method unknown'}"
    tasks = common_tasks(rankings)
    held = dict.fromkeys(task for each in rankings if not each.every_task for task in each.tasks)
    if left_out := [task for task in held if task not in tasks]:
        yield f"not in all of them, left out: {', '.join(left_out)}"
    whole = [_only(each, tasks) if tasks else each for each in rankings]
    pairs = [agreement(first, second, top_k=top_k) for first, second in combinations(whole, 2)]
    yield f"Spearman's rank correlation over all heads, and how many of the top {top_k} are common"
    numbers = [f"{first}-{second}" for first, second in combinations(range(1, len(rankings) + 1), 2)]
    rows = [(_name(of_task[0].task), *map(_cell, of_task)) for of_task in zip(*pairs, strict=True)]
    yield from aligned([("task", *numbers), *rows], "l" + "r" * len(pairs))


@dataclass(frozen=True, slots=True)
class _Scored:
    """One task's best heads, and the scores of all heads where they are known."""

    best: frozenset[Head]
    scores: Mapping[Head, float] | None


def _scored(ranking: HeadRanking, task: str, depth: int, n_heads: int | None) -> _Scored:
    heads: Sequence[ScoredHead] = ranking.tasks[task]
    if ranking.mean_scores is not None:
        grid = ranking.mean_scores[task]
        heads = best_first(
            ScoredHead(Head(layer, head), score) for layer, row in enumerate(grid) for head, score in enumerate(row)
        )
    return _of_all(ranking, task, heads, depth, n_heads)


def _pooled(ranking: HeadRanking, depth: int, n_heads: int | None) -> _Scored:
    return _of_all(ranking, "global_heads", ranking.global_heads(), depth, n_heads)


def _of_all(ranking: HeadRanking, what: str, heads: Sequence[ScoredHead], depth: int, n_heads: int | None) -> _Scored:
    """The best of these heads; their scores too, where they are all of the model's."""
    if len(heads) < depth:
        raise HeadsError(
            f"{ranking.source}: {_name(what)}: {len(heads)} heads; expected {depth}; compare fewer with --top-k"
        )
    known = ranking.mean_scores is not None or len(heads) == n_heads
    scores = {scored.head: scored.score for scored in heads} if known else None
    return _Scored(frozenset(scored.head for scored in heads[:depth]), scores)


def _only(ranking: HeadRanking, tasks: Sequence[str]) -> HeadRanking:
    """Lists of these tasks alone; one that serves every task is each one's own."""
    return replace(ranking.restrict(tasks), every_task=False)


def _name(task: str) -> str:
    return "every task" if task == EVERY_TASK else task


def _agreement(task: str, first: _Scored, second: _Scored, depth: int) -> Agreement:
    correlation = None
    if first.scores is not None and second.scores is not None:
        heads = sorted(first.scores)
        correlation = rank_correlation([first.scores[h] for h in heads], [second.scores[h] for h in heads])
    return Agreement(task, correlation, len(first.best & second.best), depth)


def _cell(found: Agreement) -> str:
    correlation = "-" if found.correlation is None else f"{found.correlation:.3f}"
    return f"{correlation}  {found.common:>{len(str(found.top_k))}}/{found.top_k}"

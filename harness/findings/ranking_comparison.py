"""Rankings side by side: how far methods agree on which heads retrieve.

For each task that all rankings hold, and for all rows together, every pair of rankings has two figures:
Spearman's rank correlation over all heads, and how many of the top heads are common. A few good heads among
many idle ones make the first high or low by what the idle ones do, so neither stands without the other.

Knows nothing of how scores were measured, nor of files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from harness.errors import HeadsError
from harness.experiment.heads import Head
from harness.experiment.rankings import HeadRanking, ScoredHead
from harness.findings.columns import aligned
from harness.findings.stats import rank_correlation

ALL_ROWS = "all rows"
"""The name of the scores that are means over all identification rows."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two rankings agree on one task, or on all rows.

    `correlation` is Spearman's, over all heads; `None` where one ranking's full scores are unknown or all
    equal. `common` counts heads among the first `top_k` of both.
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
        HeadsError: rankings of models of other shapes, no common task, a list that serves every task, or fewer
            heads listed than `top_k`.
    """
    for ranking in (first, second):
        if ranking.every_task:
            raise HeadsError(f"{ranking.source}: one list for every task; expected lists task by task to compare")
    tasks = tuple(task for task in first.tasks if task in second.tasks)
    if not tasks:
        raise HeadsError(f"{first.source}, {second.source}: no task in common; expected one at least; name others")
    for one, other in ((first, second), (second, first)):
        if one.model is not None:
            other.check_shape(one.model)
    first, second = first.restrict(tasks), second.restrict(tasks)
    depth = min(first.top_k, second.top_k) if top_k is None else top_k
    found = [_agreement(task, _scored(first, task, depth), _scored(second, task, depth), depth) for task in tasks]
    return (*found, _agreement(ALL_ROWS, _pooled(first, depth), _pooled(second, depth), depth))


def agreement_lines(rankings: Sequence[HeadRanking], *, top_k: int | None = None) -> Iterator[str]:
    """A table of all pairs of at least two rankings: correlation, and heads in common."""
    top_k = min(ranking.top_k for ranking in rankings) if top_k is None else top_k
    held: Mapping[str, int] = {
        task: sum(task in each.tasks for each in rankings) for each in rankings for task in each.tasks
    }
    for number, ranking in enumerate(rankings, start=1):
        yield f"{number}: {ranking.source}: {ranking.full_method or 'method unknown'}"
    tasks = [task for task, n in held.items() if n == len(rankings)]
    if left_out := [task for task in held if task not in tasks]:
        yield f"not in all of them, left out: {', '.join(left_out)}"
    whole = [each.restrict(tasks) if tasks else each for each in rankings]
    pairs = [agreement(first, second, top_k=top_k) for first, second in combinations(whole, 2)]
    yield f"Spearman's rank correlation over all heads, and how many of the top {top_k} are common"
    numbers = [f"{first}-{second}" for first, second in combinations(range(1, len(rankings) + 1), 2)]
    rows = [(of_task[0].task, *map(_cell, of_task)) for of_task in zip(*pairs, strict=True)]
    yield from aligned([("task", *numbers), *rows], "l" + "r" * len(pairs))


@dataclass(frozen=True, slots=True)
class _Scored:
    """One task's best heads, and the scores of all heads where they are known."""

    best: frozenset[Head]
    scores: Mapping[Head, float] | None


def _scored(ranking: HeadRanking, task: str, depth: int) -> _Scored:
    if ranking.mean_scores is None:
        return _Scored(_best(ranking, task, ranking.tasks[task], depth), None)
    grid = ranking.mean_scores[task]
    scores = {Head(layer, head): score for layer, row in enumerate(grid) for head, score in enumerate(row)}
    best = sorted(scores, key=lambda head: (-scores[head], head))
    return _Scored(_best(ranking, task, [ScoredHead(head, scores[head]) for head in best], depth), scores)


def _pooled(ranking: HeadRanking, depth: int) -> _Scored:
    heads = ranking.global_heads()
    known = ranking.mean_scores is not None
    scores = {scored.head: scored.score for scored in heads} if known else None
    return _Scored(_best(ranking, "global_heads", heads, depth), scores)


def _best(ranking: HeadRanking, what: str, heads: Sequence[ScoredHead], depth: int) -> frozenset[Head]:
    if len(heads) < depth:
        raise HeadsError(f"{ranking.source}: {what}: {len(heads)} heads; expected {depth}; compare fewer with --top-k")
    return frozenset(scored.head for scored in heads[:depth])


def _agreement(task: str, first: _Scored, second: _Scored, depth: int) -> Agreement:
    correlation = None
    if first.scores is not None and second.scores is not None:
        heads = sorted(first.scores)
        correlation = rank_correlation([first.scores[h] for h in heads], [second.scores[h] for h in heads])
    return Agreement(task, correlation, len(first.best & second.best), depth)


def _cell(found: Agreement) -> str:
    correlation = "-" if found.correlation is None else f"{found.correlation:.3f}"
    return f"{correlation}  {found.common:>{len(str(found.top_k))}}/{found.top_k}"

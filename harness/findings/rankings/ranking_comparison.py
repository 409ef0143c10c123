"""Rankings side by side: how far methods agree on which heads retrieve, and whose heads the model needs most.

For each task that all rankings hold, and for all rows together, every pair of rankings has two figures:
Spearman's rank correlation over all heads, and how many of the top heads are common. A few good heads among
many idle ones make the first high or low by what the idle ones do, so neither stands without the other. A list that
serves every task is set beside each task of the others.

Which method ranks best, the area between random heads' accuracy and that of each method's best heads tells. A row's
*gap* at k is the mean of its matches under D random draws less its match without the method's k best heads. Its
area is the integral of the gap over k, by trapezoids from 0 (where both are the untouched model) to the largest k,
divided by that k: the mean gap, as part of all rows. Areas are means over rows; their intervals hold for other clusters
of filings and other draws (cluster-robust t, Satterthwaite's degrees of freedom). Methods are set beside the best by
the mean of their rows' differences, on the same rows, where the draws cancel. Beside it stands which part of a list
other filings are expected to name again.

Knows nothing of how scores were measured, of models, of how samples come about, or of files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations

from harness.errors import HeadsError, SettingsError
from harness.experiment.heads import Head
from harness.experiment.rankings import EVERY_TASK, HeadRanking, ScoredHead, best_first
from harness.findings.statistics import ClusterMean, Interval, cluster_mean, rank_correlation, wilson
from harness.findings.wording import aligned, percent, points, points_between

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


Matches = Mapping[str, bool]
"""Whether each row's answer matches, by the row's id."""


@dataclass(frozen=True, slots=True)
class MethodArea:
    """One method: its accuracy and Wilson's interval at each k, and its area, in parts of 1.

    `behind` is the best method's area less this one's, with its interval; `None` of the best. `again` is the mean over
    tasks of the part of the largest k's heads that other filings are expected to name too; `None` where the ranking
    does not say.
    """

    name: str
    accuracies: Mapping[int, float]
    intervals: Mapping[int, tuple[float, float]]
    area: float
    interval: tuple[float, float] | None
    behind: float | None = None
    behind_interval: tuple[float, float] | None = None
    again: float | None = None


@dataclass(frozen=True)
class MethodAreas:
    """All methods, best first, on the same rows; `random` are the draws' accuracies at each k, least to greatest.

    `common` counts, for two methods, the heads that both name among a task's `k` best: the mean over tasks.
    """

    n: int
    clusters: int
    k: int
    baseline: float
    random: Mapping[int, tuple[float, ...]]
    methods: tuple[MethodArea, ...]
    common: tuple[tuple[str, str, float], ...]

    def document(self) -> dict[str, object]:
        """As JSON holds it."""
        return asdict(self)


def method_areas(
    clusters: Mapping[str, str],
    baseline: Matches,
    methods: Mapping[str, Mapping[int, Matches]],
    draws: Sequence[Mapping[int, Matches]],
    rankings: Mapping[str, HeadRanking],
    tasks: Sequence[str],
) -> MethodAreas:
    """Areas of methods' answers by k and row, and of random draws'; `clusters` are the rows' own.

    Raises:
        SettingsError: fewer than two draws, whose spread is unknown.
    """
    if len(draws) < 2:
        raise SettingsError(f"random draws: {len(draws)}; expected at least two, whose spread bears on the intervals")
    rows, ks = list(clusters), sorted(draws[0])
    weights = _weights(ks)
    names = [clusters[row] for row in rows]

    def area_of(one: Mapping[int, Matches]) -> list[float]:
        """Each row's weighed matches."""
        return [sum(weight * one[k][row] for k, weight in weights.items()) for row in rows]

    of_draws = [area_of(draw) for draw in draws]
    random = [sum(each) / len(draws) for each in zip(*of_draws, strict=True)]
    lost = {name: [r - m for r, m in zip(random, area_of(by_k), strict=True)] for name, by_k in methods.items()}
    areas = {name: sum(gaps) / len(rows) for name, gaps in lost.items()}
    best = max(areas, key=lambda name: areas[name])
    spread = [sum(each) / len(rows) for each in of_draws]
    found = []
    for name in sorted(methods, key=lambda name: -areas[name]):
        rates = {k: (sum(methods[name][k][row] for row in rows), len(rows)) for k in ks}
        behind = cluster_mean([b - o for b, o in zip(lost[best], lost[name], strict=True)], names)
        found.append(
            MethodArea(
                name,
                {k: matches / n for k, (matches, n) in rates.items()},
                {k: _ends(wilson(*rate)) or (0.0, 1.0) for k, rate in rates.items()},
                areas[name],
                _interval(cluster_mean(lost[name], names, draws=spread)),
                None if name == best else areas[best] - areas[name],
                None if name == best else _interval(behind),
                _again(rankings[name], tasks, max(ks)),
            )
        )
    by_k = {k: tuple(sorted(sum(draw[k][row] for row in rows) / len(rows) for draw in draws)) for k in ks}
    common = tuple(
        (a.name, b.name, _common(rankings[a.name], rankings[b.name], tasks, max(ks))) for a, b in combinations(found, 2)
    )
    untouched = sum(baseline[row] for row in rows) / len(rows)
    return MethodAreas(len(rows), len(set(names)), max(ks), untouched, by_k, tuple(found), common)


def area_lines(found: MethodAreas) -> Iterator[str]:
    """The table of areas, and the heads that lists share."""
    yield (
        f"{found.n} rows of {found.clusters} clusters, {percent(found.baseline)} right untouched; accuracy without the "
        "k best heads of each"
    )
    n_draws = len(next(iter(found.random.values())))
    yield f"task's list, and the area to {n_draws} draws of random heads, in points, up to k={found.k}:"
    table = [("", *(f"k={k}" for k in found.random), "area", "", "behind the best", "", "again")]
    for one in found.methods:
        behind = ("", "") if one.behind is None else (points(one.behind), points_between(one.behind_interval))
        again = "-" if one.again is None else f"{one.again:.0%}"
        accuracies = [percent(one.accuracies[k]) for k in found.random]
        table.append((one.name, *accuracies, points(one.area), points_between(one.interval), *behind, again))
    means = [percent(sum(draws) / len(draws)) for draws in found.random.values()]
    table.append(("random heads", *means, "", "", "", "", ""))
    yield from aligned(table, "l" + "r" * (len(table[0]) - 1))
    yield f"again: the part of a task's {found.k} heads that other filings are expected to name too"
    for first, second, common in found.common:
        yield f"in common of {found.k}: {first} and {second}: {common:.1f}"


def _weights(ks: Sequence[int]) -> dict[int, float]:
    """What each k's gap counts in the integral over k, from 0 to the last, divided by it."""
    steps = [0, *ks]
    after = [*ks[1:], ks[-1]]
    return {k: (nxt - last) / 2 / ks[-1] for last, k, nxt in zip(steps, ks, after, strict=False)}


def _again(ranking: HeadRanking, tasks: Sequence[str], k: int) -> float | None:
    lists = None if ranking.stability is None else ranking.stability.tasks
    if lists is None or any(task not in lists for task in tasks):
        return None
    return sum(lists[task].overlap(ranking.candidates(task)[:k], k) for task in tasks) / len(tasks)


def _common(first: HeadRanking, second: HeadRanking, tasks: Sequence[str], k: int) -> float:
    shared = (len(set(first.candidates(task)[:k]) & set(second.candidates(task)[:k])) for task in tasks)
    return sum(shared) / len(tasks)


def _interval(mean: ClusterMean | None) -> tuple[float, float] | None:
    return None if mean is None else mean.interval().ends


def _ends(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None else interval.ends

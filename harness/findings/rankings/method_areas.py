"""Which method ranks best: the area between random heads' accuracy and that of each method's best heads.

A row's *gap* at k is the mean of its matches under D random draws less its match without the method's k best heads. Its
area is the integral of the gap over k, by trapezoids from 0 (where both are the untouched model) to the largest k,
divided by that k: the mean gap, as part of all rows. Areas are means over rows; their intervals hold for other clusters
of filings and other draws (cluster-robust t, Satterthwaite's degrees of freedom). Methods are set beside the best by
the mean of their rows' differences, on the same rows, where the draws cancel.

Beside it stands what no ablation says: how many heads two methods' lists share, and which part of a list other filings
are expected to name again. Knows nothing of models, of how samples come about, or of files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

from harness.errors import SettingsError
from harness.experiment.rankings import HeadRanking
from harness.findings.statistics import ClusterMean, Interval, cluster_mean, wilson
from harness.findings.wording import aligned, percent, points, points_between

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

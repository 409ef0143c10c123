"""Stability: how far a list of best heads rests on which filings were drawn.

Other filings would have given other scores. What they would have given is estimated from those at hand: whole clusters
of filings are weighed anew, many times, and every list is ranked again, with shared and global heads by the same rules
as ever (`harness.experiment.rankings`). And each cluster is left out once.

The weights are Dirichlet's, as in the Bayesian bootstrap (D. B. Rubin 1981, The Bayesian bootstrap, Annals of
Statistics 9, 130-134), so that no task is ever without rows; with parameter (n - 2) / n in place of 1, a mean over n
clusters varies by its unbiased variance, which matters where they are few. Knows nothing of models or files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.experiment.heads import Head, ModelShape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Places = NDArray[np.int64]

RESAMPLES = 1000
CHUNK = 50
"""Weighings that are ranked at once."""
STABLE = 0.8
"""The part of a list's heads that other filings should name too; below it that is said. A convention."""
LEAST_CLUSTERS = 3
"""From two clusters nothing can be said of a third."""


@dataclass(frozen=True, slots=True)
class ListStability:
    """Of one list: `in_top[head][k - 1]` is the part of weighings that have the head among their first k.

    `least_kept[k - 1]` is how many of the first k stay, at least, where one cluster is left out. Heads that no
    weighing has among its first `top_k` are left out.
    """

    in_top: Mapping[Head, tuple[float, ...]]
    least_kept: tuple[int, ...]

    def probability(self, head: Head, k: int) -> float:
        """That the head is among the first k; of a k beyond the list's, among all of it."""
        found = self.in_top.get(head)
        return 0.0 if found is None else found[min(k, len(found)) - 1]

    def overlap(self, heads: Sequence[Head], k: int) -> float:
        """The part of these (the list's first k, or all that it has) that other filings are expected to name too."""
        return sum(self.probability(head, k) for head in heads) / len(heads)

    def kept(self, k: int) -> int:
        """`least_kept` at k."""
        return self.least_kept[min(k, len(self.least_kept)) - 1]


@dataclass(frozen=True, slots=True)
class Stability:
    """Of a whole ranking, from so many clusters and weighings; a task of fewer than three clusters has none."""

    clusters: int
    resamples: int
    tasks: Mapping[str, ListStability]
    shared_heads: ListStability | None
    global_heads: ListStability | None

    def restrict(self, tasks: Sequence[str], *, whole: bool) -> "Stability":
        """Of these tasks alone; what is said of all together stays only where they are all."""
        return Stability(
            self.clusters,
            self.resamples,
            {task: self.tasks[task] for task in tasks if task in self.tasks},
            self.shared_heads if whole else None,
            self.global_heads if whole else None,
        )


@dataclass(frozen=True, eq=False, slots=True)
class ClusterScores:
    """Summed scores of all heads: `sums` is (tasks, clusters, heads), `counts` the trials behind, (tasks, clusters)."""

    tasks: tuple[str, ...]
    sums: "Array"
    counts: "Array"

    def means(self, weights: "Array") -> "tuple[Array, Array]":
        """Each task's mean scores under some weights (weighings, clusters), and its weighed number of trials.

        (weighings, tasks, heads) and (weighings, tasks).
        """
        import numpy as np

        counts = weights @ self.counts.T
        sums = np.einsum("wc,tch->wth", weights, self.sums, optimize=True)
        return sums / counts[..., None], counts


def find_stability(
    scores: ClusterScores, shape: ModelShape, *, top_k: int, seed: int = 0, resamples: int = RESAMPLES
) -> Stability | None:
    """How far each task's first `top_k` heads, the shared and the global ones rest on these clusters.

    `None` with fewer than three clusters. Equal scores are ranked by (layer, head), as in every list.
    """
    import numpy as np

    n = scores.counts.shape[1]
    if n < LEAST_CLUSTERS:
        return None
    generator = np.random.default_rng(seed)
    tallies: dict[str, Places] = {}
    for start in range(0, resamples, CHUNK):
        weights = generator.dirichlet(np.full(n, (n - 2) / n), min(CHUNK, resamples - start))
        for name, order in _lists(scores, weights, top_k).items():
            tally = tallies.setdefault(name, np.zeros((top_k, scores.sums.shape[2] + 1), dtype=np.int64))
            places = np.broadcast_to(np.arange(top_k), order.shape)
            np.add.at(tally, (places, order), 1)
    kept = _kept(scores, top_k)
    heads = tuple(shape.heads())
    found = {
        name: ListStability(
            {
                heads[index]: tuple(round(float(part), 3) for part in np.cumsum(tally[:, index]) / resamples)
                for index in np.flatnonzero(tally[:, :-1].sum(axis=0))
            },
            kept[name],
        )
        for name, tally in tallies.items()
    }
    sound = [
        task for task, counts in zip(scores.tasks, scores.counts, strict=True) if (counts > 0).sum() >= LEAST_CLUSTERS
    ]
    return Stability(n, resamples, {task: found[task] for task in sound}, found[SHARED], found[GLOBAL])


SHARED, GLOBAL = "shared heads", "global heads"
"""The lists beside tasks' own; no task's id has a space."""


def _kept(scores: ClusterScores, top_k: int) -> dict[str, tuple[int, ...]]:
    """For each list and k, how many of its first k heads stay at least where one cluster is left out."""
    import numpy as np

    n = scores.counts.shape[1]
    whole = _lists(scores, np.ones((1, n)), top_k)
    least = {name: np.full(top_k, top_k) for name in whole}
    without = 1.0 - np.eye(n)
    # what only one cluster has cannot be ranked without it
    possible = without[((without @ scores.counts.T) > 0).all(axis=1)]
    for start in range(0, len(possible), CHUNK):
        for name, order in _lists(scores, possible[start : start + CHUNK], top_k).items():
            first = whole[name][0]
            for k in range(1, top_k + 1):
                listed = first[:k][first[:k] >= 0]
                kept = np.isin(order[:, :k], listed).sum(axis=1)
                least[name][k - 1] = min(least[name][k - 1], kept.min())
    return {name: tuple(int(count) for count in counts) for name, counts in least.items()}


def _lists(scores: ClusterScores, weights: "Array", top_k: int) -> "dict[str, Places]":
    """Each list's first heads under each weighing: (weighings, top_k), heads as layer x heads + head, -1 where none."""
    import numpy as np

    means, counts = scores.means(weights)
    # (weighings, tasks, top_k); the sort is stable, so that equal scores keep the order of heads
    best = np.argsort(-means, axis=2, kind="stable")[..., :top_k]
    pooled = np.einsum("wt,wth->wh", counts / counts.sum(axis=1, keepdims=True), means)
    lists = {task: best[:, place] for place, task in enumerate(scores.tasks)}
    lists[GLOBAL] = np.argsort(-pooled, axis=1, kind="stable")[:, :top_k]
    lists[SHARED] = np.array([*_shared(best, means, top_k)])
    return lists


def _shared(best: "Places", means: "Array", top_k: int) -> "Iterator[Places]":
    """Each weighing's first shared heads, as `HeadRanking.shared` orders them."""
    import numpy as np

    n_tasks = best.shape[1]
    needed = -(-7 * n_tasks // 9)
    for candidates, scores in zip(best, means, strict=True):
        frequency = np.bincount(candidates.ravel(), minlength=means.shape[2])
        order = np.lexsort((-scores.mean(axis=0), -frequency))[: int((frequency >= needed).sum())]
        first = np.full(top_k, -1, dtype=np.int64)
        first[: min(top_k, len(order))] = order[:top_k]
        yield first

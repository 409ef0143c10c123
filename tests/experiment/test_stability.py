"""Stability: by hand on few clusters, and against rankings made again one by one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from harness.experiment.heads import Head, ModelShape
from harness.experiment.rankings import HeadRanking, rank
from harness.experiment.stability import ClusterScores, ListStability, Stability, find_stability

SHAPE = ModelShape(2, 5)
TASKS = ("a", "b", "c")
TOP_K = 4


def random_scores(n_clusters: int, seed: int = 0) -> ClusterScores:
    """Some heads are better in all tasks; clusters differ, and hold 1 to 3 trials a task."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 4, (len(TASKS), n_clusters)).astype(float)
    level = np.linspace(0, 1, 10)
    trials = level + generator.normal(0, 0.25, (len(TASKS), n_clusters, 10))
    return ClusterScores(TASKS, trials * counts[..., None], counts)


def ranked(scores: ClusterScores, weights: Sequence[float]) -> HeadRanking:
    """The slow reference: the ranking of these weights, by the rules for rankings; weighed counts stand for samples."""
    grids, samples = {}, {}
    for place, task in enumerate(scores.tasks):
        count = float(np.dot(weights, scores.counts[place]))
        grids[task] = (np.tensordot(weights, scores.sums[place], 1) / count).reshape(2, 5).tolist()
        samples[task] = round(1e9 * count)
    return rank(grids, top_k=TOP_K, samples=samples, model=SHAPE)


def lists(ranking: HeadRanking) -> dict[str, list[Head]]:
    found = {task: list(ranking.candidates(task)) for task in TASKS}
    found["shared"] = [each.head for each in ranking.shared()][:TOP_K]
    found["global"] = [each.head for each in ranking.global_candidates()]
    return found


def of(found: Stability, name: str) -> ListStability:
    either = {"shared": found.shared_heads, "global": found.global_heads}.get(name) or found.tasks.get(name)
    assert either is not None
    return either


def test_every_list_is_that_of_rankings_made_again() -> None:
    scores, n, resamples = random_scores(6), 6, 40
    found = find_stability(scores, SHAPE, top_k=TOP_K, seed=3, resamples=resamples)
    assert found is not None
    assert (found.clusters, found.resamples) == (n, resamples)
    weights = np.random.default_rng(3).dirichlet(np.full(n, (n - 2) / n), resamples)
    again = [lists(ranked(scores, each.tolist())) for each in weights]
    whole = lists(ranked(scores, [1.0] * n))
    without = [lists(ranked(scores, (1.0 - np.eye(n)[left_out]).tolist())) for left_out in range(n)]
    for name in (*TASKS, "shared", "global"):
        for k in range(1, TOP_K + 1):
            for head in SHAPE.heads():
                expected = sum(head in each[name][:k] for each in again) / resamples
                assert of(found, name).probability(head, k) == pytest.approx(expected, abs=6e-4)
            kept = min(len(set(whole[name][:k]) & set(each[name][:k])) for each in without)
            assert of(found, name).kept(k) == kept


def test_five_filings_and_one_that_decides_all() -> None:
    """Head 0 leads by one filing alone; without it the list is another, and so is that of many weighings."""
    sums = np.zeros((1, 5, 10))
    sums[0, :, 1:4] = [0.3, 0.2, 0.1]
    sums[0, 0, 5:8] = [3.0, 2.9, 2.8]
    found = find_stability(ClusterScores(("a",), sums, np.ones((1, 5))), SHAPE, top_k=3)
    assert found is not None
    first = [Head(1, 0), Head(1, 1), Head(1, 2)]
    assert found.tasks["a"].least_kept == (0, 0, 0)
    assert 0.5 < found.tasks["a"].overlap(first, 3) < 0.9
    assert found.tasks["a"].probability(Head(0, 0), 3) == 0.0


def test_filings_that_agree_leave_nothing_open() -> None:
    sums = np.tile(np.arange(10.0), (1, 4, 1))
    found = find_stability(ClusterScores(("a",), sums, np.ones((1, 4))), SHAPE, top_k=3)
    assert found is not None
    assert found.tasks["a"].overlap([Head(1, 4), Head(1, 3)], 2) == 1.0
    assert found.tasks["a"].least_kept == (1, 2, 3)
    assert found.tasks["a"].kept(99) == 3


def test_a_mean_varies_as_an_unbiased_variance_has_it() -> None:
    """What the weights are for: five clusters' mean, weighed anew, has the variance s^2 / 5."""
    values = np.array([0.1, 0.5, 0.2, 0.9, 0.4])
    weights = np.random.default_rng(0).dirichlet(np.full(5, 3 / 5), 200_000)
    assert np.var(weights @ values) == pytest.approx(np.var(values, ddof=1) / 5, rel=0.02)


def test_two_clusters_say_nothing() -> None:
    assert find_stability(random_scores(2), SHAPE, top_k=TOP_K) is None


def test_a_task_of_few_clusters_says_nothing_and_is_no_hindrance() -> None:
    scores = random_scores(5)
    counts, sums = scores.counts.copy(), scores.sums.copy()
    counts[1, 1:], sums[1, 1:] = 0, 0
    found = find_stability(replace(scores, counts=counts, sums=sums), SHAPE, top_k=TOP_K)
    assert found is not None
    assert list(found.tasks) == ["a", "c"]


def test_of_some_tasks_alone() -> None:
    found = find_stability(random_scores(5), SHAPE, top_k=TOP_K)
    assert found is not None
    part = found.restrict(("b",), whole=False)
    assert (list(part.tasks), part.shared_heads, part.global_heads) == (["b"], None, None)
    assert found.restrict(TASKS, whole=True) == found

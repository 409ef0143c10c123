"""Which heads retrieve: scores of all heads from what they attend to, task by task, made into a ranking.

How a trial is scored is the method's own matter (`METHODS`: a module each); here scores are averaged, ranked and told
how far they rest on chance.

Knows nothing of filings or files, nor of how prompts are made.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

import numpy as np
from scipy import stats
from tqdm import tqdm

from harness.errors import ModelError, SettingsError
from harness.experiment.heads import ModelShape, check_window
from harness.experiment.rankings import HeadRanking, rank
from harness.experiment.stability import ClusterScores, find_stability
from harness.model.identification.contrast import CONTRAST
from harness.model.identification.logit_contribution import LOGIT_CONTRIBUTION
from harness.model.identification.method import AttentionReader, Method, Scores
from harness.model.identification.qr_score import QR_SCORE
from harness.model.identification.retrieval_score import RETRIEVAL_SCORE
from harness.model.identification.summed_attention import SUMMED_ATTENTION
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Trial

METHODS: Mapping[str, Method] = {
    "summed_attention": SUMMED_ATTENTION,
    "retrieval_score": RETRIEVAL_SCORE,
    "qr_score": QR_SCORE,
    "contrast": CONTRAST,
    "logit_contribution": LOGIT_CONTRIBUTION,
}


def find_method(name: str, variant: str | None = None) -> Method:
    """The method of this name, or a variant of it.

    Raises:
        SettingsError: there is none.
    """
    if name not in METHODS:
        raise SettingsError(f"method: {name!r}; expected one of {', '.join(METHODS)}")
    method = METHODS[name]
    if variant is None:
        return method
    if variant not in method.variants:
        known = f"{' or '.join(method.variants)}, or none" if method.variants else "none, for it has no variants"
        raise SettingsError(f"variant: {variant!r} of {name}; expected {known}")
    return method.variants[variant]


def identify(
    loaded: LoadedModel,
    trials: Mapping[str, Sequence[Trial]],
    *,
    top_k: int,
    method: str = "summed_attention",
    variant: str | None = None,
    progress: bool = True,
) -> HeadRanking:
    """Score every head on each task's identification trials and rank them.

    What prompts begin with in common, those of one filing say, is run once. A task's score is the mean over its trials
    that count, in float64; `samples` are their numbers. How far the ranking rests on chance is recorded as
    `split_half`: Spearman's rank correlation over all heads between the means of every other one of them; a task of
    fewer than two, or whose scores are all equal, has none. How far each list rests on which clusters were drawn is its
    `stability`, and `chance` what a head scores that looks everywhere alike.

    Raises:
        SettingsError: an unknown method or variant.
        ModelError: no tasks, a task without trials or of which none counts, `top_k` beyond the model's heads,
            a prompt without its needle or longer than the model's window.
        HarnessError: a trial that the method cannot score.
    """
    chosen = find_method(method, variant)
    target = Target(loaded.shape, loaded.window, lambda every: scored(loaded, every, chosen))
    return rank_by_scores(target, trials, top_k=top_k, method=method, variant=variant, progress=progress)


@dataclass(frozen=True, slots=True)
class Target:
    """Whose heads are ranked: the model's shape and window, and what scores trials, wherever the model is.

    `score` gives each trial's number and scores (`scored`), in any order.
    """

    shape: ModelShape
    window: int | None
    score: Callable[[Sequence[Trial]], Iterable[tuple[int, Scores | None]]]


def rank_by_scores(
    target: Target,
    trials: Mapping[str, Sequence[Trial]],
    *,
    top_k: int,
    method: str,
    variant: str | None = None,
    progress: bool = True,
) -> HeadRanking:
    """As `identify`, of a model that may be elsewhere."""
    chosen, shape = find_method(method, variant), target.shape
    _check(target, trials, chosen, top_k=top_k)
    every = [(task, trial) for task, of_task in trials.items() for trial in of_task]
    scores: list[Scores | None] = [None] * len(every)
    # disable=None: a bar on a terminal only
    with tqdm(total=len(every), desc="scoring heads", unit="row", disable=None if progress else True) as bar:
        for number, of_trial in target.score([trial for _, trial in every]):
            scores[number] = of_trial
            bar.update()
    found = {task: _TaskScores(shape.n_layers, shape.n_heads) for task in trials}
    for (task, trial), of_trial in zip(every, scores, strict=True):
        found[task].add(trial, of_trial)
    for task, of_task in trials.items():
        if not found[task].counting:
            raise ModelError(
                f"identification: task {task}: none of its {len(of_task)} rows was {chosen.counts}; expected "
                f"at least one, for {method} counts only those; use another method or leave the task out"
            )
    means = {task: scores.mean().tolist() for task, scores in found.items()}
    samples = {task: len(scores.counting) for task, scores in found.items()}
    halves = {task: scores.rank_correlation() for task, scores in found.items()}
    ranking = replace(
        rank(means, top_k=top_k, samples=samples, method=method, model=shape),
        variant=variant,
        split_half={task: correlation for task, correlation in halves.items() if correlation is not None},
        chance=None if chosen.chance is None else {task: _mean(chosen.chance, found[task].counting) for task in found},
        stability=find_stability(_by_cluster(found), shape, top_k=top_k),
    )
    return replace(ranking, source=f"{ranking.full_method} of {shape.id}")


def scored(loaded: LoadedModel, trials: Sequence[Trial], method: Method) -> Iterator[tuple[int, Scores | None]]:
    """Each trial's number and scores, in the order of their tokens: those that begin alike follow each other."""
    reader = AttentionReader.of(loaded, trials)
    for number in sorted(range(len(trials)), key=lambda number: trials[number].prompt.token_ids):
        yield number, method.score(reader, trials[number])


class _TaskScores:
    """Running sums over one task's trials that count: of every other one, (2, layers, heads), and of each cluster's."""

    def __init__(self, n_layers: int, n_heads: int) -> None:
        self._sums = np.zeros((2, n_layers, n_heads))
        self.counting: list[Trial] = []
        self.of_clusters: dict[str, Scores] = {}
        self.n_of_clusters: Counter[str] = Counter()

    def add(self, trial: Trial, scores: Scores | None) -> None:
        if scores is not None:
            self._sums[len(self.counting) % 2] += scores
            self.counting.append(trial)
            cluster = trial.cluster or trial.prompt.row_id
            self.of_clusters[cluster] = self.of_clusters.get(cluster, 0.0) + scores
            self.n_of_clusters[cluster] += 1

    def mean(self) -> Scores:
        return np.asarray(self._sums.sum(axis=0) / len(self.counting))

    def rank_correlation(self) -> float | None:
        """Between the halves; sums rank as their means do. `None` where it is undefined."""
        first, second = self._sums.reshape(2, -1)
        if len(self.counting) < 2 or first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
            return None
        return float(stats.spearmanr(first, second).statistic)


def _by_cluster(found: Mapping[str, _TaskScores]) -> ClusterScores:
    clusters = sorted({cluster for scores in found.values() for cluster in scores.of_clusters})
    nothing = np.zeros_like(next(iter(found.values())).mean())
    return ClusterScores(
        tuple(found),
        np.array([[scores.of_clusters.get(name, nothing).ravel() for name in clusters] for scores in found.values()]),
        np.array([[float(scores.n_of_clusters[name]) for name in clusters] for scores in found.values()]),
    )


def _mean(value: Callable[[Trial], float], trials: Sequence[Trial]) -> float:
    return fsum(map(value, trials)) / len(trials)


def _check(target: Target, trials: Mapping[str, Sequence[Trial]], method: Method, *, top_k: int) -> None:
    """Raise before hours of work whatever would make them worthless."""
    n_heads = target.shape.n_layers * target.shape.n_heads
    if not 1 <= top_k <= n_heads:
        raise ModelError(f"top_k: {top_k}; expected 1 to {n_heads}, the number of heads of {target.shape.id}")
    if not trials:
        raise ModelError("identification: no tasks; expected at least one with its prompts")
    for task, of_task in trials.items():
        if not of_task:
            raise ModelError(
                f"identification: task {task} has no prompts; expected at least one; add filings or leave it out"
            )
        for trial in of_task:
            prompt = trial.prompt
            if not 0 <= prompt.needle_start < prompt.needle_end <= len(prompt.token_ids):
                raise ModelError(
                    f"{prompt.row_id}: needle at tokens {prompt.needle_start} to {prompt.needle_end} of "
                    f"{len(prompt.token_ids)}; expected a prompt that holds its needle"
                )
            method.check(trial)
            check_window(target.window, target.shape.id, prompt.row_id, method.n_tokens(trial))

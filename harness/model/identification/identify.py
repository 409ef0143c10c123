"""Which heads retrieve: scores of all heads from what they attend to, task by task, made into a ranking.

How a trial is scored is the method's own matter (`summed_attention`, `retrieval_score`, `qr_score`: a module
each); here scores are averaged, ranked and told how far they rest on chance.

Knows nothing of filings or files, nor of how prompts are made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats
from tqdm import tqdm

from harness.errors import ModelError, SettingsError
from harness.experiment.rankings import HeadRanking, rank
from harness.model.identification.method import Method, Scores
from harness.model.identification.qr_score import QR_SCORE
from harness.model.identification.retrieval_score import RETRIEVAL_SCORE
from harness.model.identification.summed_attention import SUMMED_ATTENTION
from harness.model.loading.loaded_model import LoadedModel, check_window
from harness.retrieval.prompts import Trial

METHODS: Mapping[str, Method] = {
    "summed_attention": SUMMED_ATTENTION,
    "retrieval_score": RETRIEVAL_SCORE,
    "qr_score": QR_SCORE,
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

    A task's score is the mean over its trials that count, in float64; `samples` are their numbers. How far the
    ranking rests on chance is recorded as `split_half`: Spearman's rank correlation over all heads between the
    means of every other one of them; a task of fewer than two, or whose scores are all equal, has none.

    Raises:
        SettingsError: an unknown method or variant.
        ModelError: no tasks, a task without trials or of which none counts, `top_k` beyond the model's heads,
            a prompt without its needle or longer than the model's window.
        HarnessError: a trial that the method cannot score.
    """
    chosen = find_method(method, variant)
    _check(loaded, trials, chosen, top_k=top_k)
    mean_scores: dict[str, list[list[float]]] = {}
    samples: dict[str, int] = {}
    split_half: dict[str, float] = {}
    n_trials = sum(len(of_task) for of_task in trials.values())
    # disable=None: a bar on a terminal only
    with tqdm(total=n_trials, desc="scoring heads", unit="row", disable=None if progress else True) as bar:
        for task, of_task in trials.items():
            halves = _Halves(loaded.shape.n_layers, loaded.shape.n_heads)
            for trial in of_task:
                halves.add(chosen.score(loaded, trial))
                bar.update()
            if halves.n == 0:
                raise ModelError(
                    f"identification: task {task}: none of its {len(of_task)} rows was {chosen.counts}; expected "
                    f"at least one, for {method} counts only those; use another method or leave the task out"
                )
            mean_scores[task] = halves.mean().tolist()
            samples[task] = halves.n
            correlation = halves.rank_correlation()
            if correlation is not None:
                split_half[task] = correlation
    ranking = replace(
        rank(mean_scores, top_k=top_k, samples=samples, method=method, model=loaded.shape),
        variant=variant,
        split_half=split_half,
    )
    return replace(ranking, source=f"{ranking.full_method} of {loaded.shape.id}")


class _Halves:
    """Running sums over every other trial that counts: (2, layers, heads)."""

    def __init__(self, n_layers: int, n_heads: int) -> None:
        self._sums = np.zeros((2, n_layers, n_heads))
        self.n = 0

    def add(self, scores: Scores | None) -> None:
        if scores is not None:
            self._sums[self.n % 2] += scores
            self.n += 1

    def mean(self) -> Scores:
        return np.asarray(self._sums.sum(axis=0) / self.n)

    def rank_correlation(self) -> float | None:
        """Between the halves; sums rank as their means do. `None` where it is undefined."""
        first, second = self._sums.reshape(2, -1)
        if self.n < 2 or first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
            return None
        return float(stats.spearmanr(first, second).statistic)


def _check(loaded: LoadedModel, trials: Mapping[str, Sequence[Trial]], method: Method, *, top_k: int) -> None:
    """Raise before hours of work whatever would make them worthless."""
    n_heads = loaded.shape.n_layers * loaded.shape.n_heads
    if not 1 <= top_k <= n_heads:
        raise ModelError(f"top_k: {top_k}; expected 1 to {n_heads}, the number of heads of {loaded.shape.id}")
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
            check_window(loaded, prompt.row_id, method.n_tokens(trial))

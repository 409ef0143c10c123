"""Which heads retrieve: scores of all heads from what they attend to, task by task, made into a ranking.

`summed_attention`: the last prompt token's attention summed over the needle's tokens, averaged over a task's
rows. It asks where the model looks as it is about to answer; unlike the retrieval score of Wu et al. 2024
(https://arxiv.org/abs/2404.15574) it does not ask what is then copied.

Knows nothing of filings or files, nor of how prompts are made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from harness.errors import ModelError
from harness.experiment.heads import HeadRanking, rank
from harness.model.last_query import last_query_attention
from harness.model.loading import LoadedModel, check_window
from harness.retrieval.prompts import Prompt

Scores = NDArray[np.float64]
"""One row's score of every head: (layers, heads)."""


def summed_attention(loaded: LoadedModel, prompt: Prompt) -> Scores:
    """Attention from the last prompt token to the needle, its tokens summed in float64: (layers, heads)."""
    attention = last_query_attention(loaded, prompt.token_ids)
    needle = attention[:, :, prompt.needle_start : prompt.needle_end]
    return np.asarray(needle.sum(dim=-1, dtype=torch.float64).cpu(), dtype=np.float64)


METHODS: Mapping[str, Callable[[LoadedModel, Prompt], Scores]] = {"summed_attention": summed_attention}


def identify(  # two of them only travel into the ranking
    loaded: LoadedModel,
    prompts: Mapping[str, Sequence[Prompt]],
    *,
    top_k: int,
    method: str = "summed_attention",
    filing_hashes: frozenset[str] | None = None,
    split_seed: int | None = None,
    progress: bool = True,
) -> HeadRanking:
    """Score every head on each task's identification prompts and rank them.

    A task's score is the mean over its rows, in float64. How far the ranking rests on chance is recorded as
    `split_half`: Spearman's rank correlation over all heads between the means of every other row; a task of
    fewer than two rows, or whose scores are all equal, has none.

    Raises:
        ModelError: no tasks, a task without prompts, an unknown method, `top_k` beyond the model's heads, a
            prompt without its needle or longer than the model's window.
    """
    _check(loaded, prompts, top_k=top_k, method=method)
    score = METHODS[method]
    mean_scores: dict[str, list[list[float]]] = {}
    split_half: dict[str, float] = {}
    n_prompts = sum(len(of_task) for of_task in prompts.values())
    # disable=None: a bar on a terminal only
    with tqdm(total=n_prompts, desc="scoring heads", unit="row", disable=None if progress else True) as bar:
        for task, of_task in prompts.items():
            halves = _Halves(loaded.shape.n_layers, loaded.shape.n_heads)
            for prompt in of_task:
                halves.add(score(loaded, prompt))
                bar.update()
            mean_scores[task] = halves.mean().tolist()
            correlation = halves.rank_correlation()
            if correlation is not None:
                split_half[task] = correlation
    samples = {task: len(of_task) for task, of_task in prompts.items()}
    ranking = rank(mean_scores, top_k=top_k, samples=samples, method=method, model=loaded.shape)
    return replace(
        ranking,
        source=f"{method} of {loaded.shape.id}",
        filing_hashes=filing_hashes,
        split_seed=split_seed,
        split_half=split_half,
    )


class _Halves:
    """Running sums over every other row: (2, layers, heads)."""

    def __init__(self, n_layers: int, n_heads: int) -> None:
        self._sums = np.zeros((2, n_layers, n_heads))
        self._n = 0

    def add(self, scores: Scores) -> None:
        self._sums[self._n % 2] += scores
        self._n += 1

    def mean(self) -> Scores:
        return np.asarray(self._sums.sum(axis=0) / self._n)

    def rank_correlation(self) -> float | None:
        """Between the halves; sums rank as their means do. `None` where it is undefined."""
        first, second = self._sums.reshape(2, -1)
        if self._n < 2 or first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
            return None
        return float(stats.spearmanr(first, second).statistic)


def _check(loaded: LoadedModel, prompts: Mapping[str, Sequence[Prompt]], *, top_k: int, method: str) -> None:
    """Raise before hours of work whatever would make them worthless."""
    if method not in METHODS:
        raise ModelError(f"method {method!r}; expected one of {', '.join(METHODS)}")
    n_heads = loaded.shape.n_layers * loaded.shape.n_heads
    if not 1 <= top_k <= n_heads:
        raise ModelError(f"top_k: {top_k}; expected 1 to {n_heads}, the number of heads of {loaded.shape.id}")
    if not prompts:
        raise ModelError("identification: no tasks; expected at least one with its prompts")
    for task, of_task in prompts.items():
        if not of_task:
            raise ModelError(
                f"identification: task {task} has no prompts; expected at least one; add filings or leave it out"
            )
        for prompt in of_task:
            if not 0 <= prompt.needle_start < prompt.needle_end <= len(prompt.token_ids):
                raise ModelError(
                    f"{prompt.row_id}: needle at tokens {prompt.needle_start} to {prompt.needle_end} of "
                    f"{len(prompt.token_ids)}; expected a prompt that holds its needle"
                )
            check_window(loaded, prompt.row_id, len(prompt.token_ids))

"""What a ranking is made of and holds, whatever the method; which methods there are; what is refused."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from tiny_models import (
    IN_FLOAT32,
    N_HEADS,
    REPRESENTATIVES,
    WINDOW,
    alone,
    doubled,
    random_ids,
    random_prompt,
    random_trial,
    tiny_loaded,
    wrap,
)
from transformers import PreTrainedModel

from harness.choices import MethodName
from harness.errors import DataError, ModelError, SettingsError
from harness.experiment.heads import Head
from harness.experiment.prefix_tree import LEAST_SHARED
from harness.experiment.stability import ClusterScores, find_stability
from harness.model.identification import identify as identify_module
from harness.model.identification.contrast import contrast
from harness.model.identification.identify import METHODS, find_method, identify, scored
from harness.model.identification.logit_contribution import contributions, document_rest
from harness.model.identification.method import AttentionReader, Method, Scores
from harness.model.identification.qr_score import qr_score
from harness.model.identification.retrieval_score import answered
from harness.model.identification.summed_attention import summed_attention
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt, Trial

N_TOKENS = 2 * WINDOW
NEEDLE = (N_TOKENS - 8, N_TOKENS - 3)


def trials(n: int, *, seed: int = 0) -> list[Trial]:
    return [random_trial(N_TOKENS, seed=seed + i, needle=NEEDLE) for i in range(n)]


def each_alone(loaded: LoadedModel, of_task: list[Trial]) -> list[NDArray[np.float64]]:
    return [alone(summed_attention, loaded, trial) for trial in of_task]


def test_ranking(capfd: pytest.CaptureFixture[str]) -> None:
    """Means over each task's rows, the best heads first, and everything that is known of the run."""
    loaded = tiny_loaded("llama")
    tasks = {"city": trials(5), "year": trials(2, seed=50)}
    ranking = identify(loaded, tasks, top_k=4, progress=True)
    assert ranking.mean_scores is not None
    for task, of_task in tasks.items():
        mean = np.mean(each_alone(loaded, of_task), axis=0)
        np.testing.assert_allclose(ranking.mean_scores[task], mean, rtol=0, atol=1e-12)
        best = np.argsort(-mean, axis=None)[:4]
        assert ranking.candidates(task) == tuple(Head(int(i) // N_HEADS, int(i) % N_HEADS) for i in best)
    assert (ranking.top_k, ranking.method, ranking.model) == (4, "summed_attention", loaded.shape)
    assert ranking.samples == {"city": 5, "year": 2}
    assert (ranking.split_seed, ranking.filing_hashes) == (None, None), "trials know no filings"
    assert ranking.source == "summed_attention of tiny llama"
    assert capfd.readouterr() == ("", "")


READS: dict[str, Callable[[AttentionReader, Trial], NDArray[Any]]] = {
    "summed_attention": summed_attention,
    "contrast": contrast,
    "qr_score": qr_score,
    "retrieval_score": lambda reader, trial: answered(reader, trial).looked_at,
    "logit_contribution": lambda reader, trial: contributions(reader, trial, document_rest, normed=True).contrasts,
}


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_rows_of_one_filing_are_scored_as_each_alone(model_type: str, method: str) -> None:
    """In place their prompts differ in the question alone; between them stand those of another filing."""
    loaded, document = doubled(model_type), random_ids(LEAST_SHARED + WINDOW, seed=7)
    trials = [random_trial(len(document) + n, seed=n, needle=(3 * n, 3 * n + 4)) for n in (5, 9, 6)]
    for trial in trials[:2]:
        asked, blank = trial.prompt, cast(Prompt, trial.null_prompt)
        trials.append(
            replace(
                trial,
                prompt=replace(asked, token_ids=(*document, *asked.token_ids[len(document) :])),
                null_prompt=replace(blank, token_ids=(*document, *blank.token_ids[len(document) :])),
            )
        )
    expected: list[NDArray[Any]] = [alone(READS[method], loaded, trial) for trial in trials]
    shared = dict(scored(loaded, trials, replace(find_method(method), score=READS[method])))
    assert shared.keys() == set(range(len(trials)))
    for number, found in shared.items():
        assert found is not None
        assert found.size
        np.testing.assert_allclose(
            found.astype(float), expected[number], rtol=0, atol=1e-7 if model_type in IN_FLOAT32 else 1e-10
        )


def test_chance_is_the_needles_part_of_the_prompt() -> None:
    """A head that looks everywhere alike scores just that: here every head does, for the weights of queries are 0."""
    loaded = tiny_loaded("llama")
    of_task = [*trials(2), random_trial(N_TOKENS + 7, seed=9, needle=NEEDLE)]
    ranking = identify(loaded, {"city": of_task}, top_k=4, progress=False)
    expected = np.mean([5 / N_TOKENS, 5 / N_TOKENS, 5 / (N_TOKENS + 7)])
    assert ranking.chance is not None
    assert ranking.chance["city"] == pytest.approx(expected)
    alike = wrap(cut_queries(loaded.model))
    flat = identify(alike, {"city": of_task}, top_k=4, progress=False)
    assert flat.mean_scores is not None
    np.testing.assert_allclose(flat.mean_scores["city"], expected, atol=1e-6)
    assert flat.at_chance("city") == flat.candidates("city")
    assert identify(loaded, {"city": trials(1)}, top_k=1, method="qr_score", progress=False).chance is None


def cut_queries(model: PreTrainedModel) -> PreTrainedModel:
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, weights in other.named_parameters():
            if "q_proj" in name:
                weights.zero_()
    return other


def test_stability_is_over_the_clusters_of_trials() -> None:
    """Seven rows of three clusters, of which one task has but two."""
    loaded = tiny_loaded("llama")
    tasks = {
        "city": [replace(trial, cluster="abcab"[i]) for i, trial in enumerate(trials(5))],
        "year": [replace(trial, cluster="ab"[i]) for i, trial in enumerate(trials(2, seed=50))],
    }
    found = identify(loaded, tasks, top_k=4, progress=False).stability
    assert found is not None
    assert (found.clusters, list(found.tasks)) == (3, ["city"])
    sums = np.zeros((2, 3, 12))
    for place, of_task in enumerate(tasks.values()):
        for trial in of_task:
            sums[place, "abc".index(trial.cluster or "")] += alone(summed_attention, loaded, trial).ravel()
    counts = np.array([[2.0, 2.0, 1.0], [1.0, 1.0, 0.0]])
    assert found == find_stability(ClusterScores(("city", "year"), sums, counts), loaded.shape, top_k=4)


def test_split_half_is_between_the_means_of_every_other_row() -> None:
    loaded = tiny_loaded("llama")
    of_task = trials(5)
    ranking = identify(loaded, {"city": of_task, "year": trials(1)}, top_k=1, progress=False)
    scores = each_alone(loaded, of_task)
    first, second = np.mean(scores[0::2], axis=0).ravel(), np.mean(scores[1::2], axis=0).ravel()
    expected = float(stats.spearmanr(first, second).statistic)
    assert 0.1 < abs(expected) < 0.9
    assert ranking.split_half is not None
    assert list(ranking.split_half) == ["city"]
    assert ranking.split_half["city"] == pytest.approx(expected)


def test_equal_scores_have_no_correlation() -> None:
    """A prompt that is all needle: every head attends to it with weight 1."""
    loaded = tiny_loaded("llama")
    trial = random_trial(3)
    everything = replace(trial, prompt=random_prompt(1, needle=(0, 1)))
    ranking = identify(loaded, {"city": [everything, everything]}, top_k=1, progress=False)
    assert ranking.split_half == {}


def test_twice_the_same() -> None:
    loaded, tasks = tiny_loaded("gemma2"), {"city": trials(3)}
    assert identify(loaded, tasks, top_k=3, progress=False) == identify(loaded, tasks, top_k=3, progress=False)


@pytest.mark.parametrize(
    ("tasks", "top_k", "method", "message"),
    [
        ({}, 1, "summed_attention", "no tasks"),
        ({"city": trials(1), "year": []}, 1, "summed_attention", "task year has no prompts"),
        ({"city": trials(1)}, 0, "summed_attention", "top_k: 0; expected 1 to 12"),
        ({"city": trials(1)}, 13, "summed_attention", "top_k: 13; expected 1 to 12"),
        (
            {"city": [random_trial(9), random_trial(9, seed=7, needle=(0, 0))]},
            1,
            "summed_attention",
            "filing7.htm/task: needle at tokens 0 to 0 of 9",
        ),
        (
            {"city": [random_trial(9, needle=(3, 10))]},
            1,
            "summed_attention",
            "needle at tokens 3 to 10 of 9",
        ),
        (
            {"city": [random_trial(641, seed=2)]},
            1,
            "summed_attention",
            "filing2.htm/task: 641 tokens, .* at most 640",
        ),
    ],
)
def test_refused_before_any_work(
    tasks: dict[str, list[Trial]], top_k: int, method: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny_loaded("llama")
    monkeypatch.setattr(loaded.model, "forward", None)
    with pytest.raises(ModelError, match=message):
        identify(loaded, tasks, top_k=top_k, method=method)


def marked(reader: AttentionReader, trial: Trial) -> Scores | None:
    """A made-up method: the trial's value for every head, times its place; none where the value is 0."""
    value = float(trial.value)
    return value * np.arange(12.0).reshape(3, 4) if value else None


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Method(marked, counts="marked", variants={"other": Method(marked, counts="marked")})
    monkeypatch.setattr(identify_module, "METHODS", {"made_up": method})


def valued(*values: int) -> list[Trial]:
    return [random_trial(9, value=str(value)) for value in values]


@pytest.mark.usefixtures("made_up")
def test_trials_that_do_not_count_are_left_out() -> None:
    """Of the mean, of the samples, and of which half the others belong to."""
    loaded = tiny_loaded("llama")
    tasks = {"city": valued(0, 1, 0, 5), "year": valued(0, 0, 4)}
    ranking = identify(loaded, tasks, top_k=2, method="made_up", variant="other", progress=False)
    assert ranking.samples == {"city": 2, "year": 1}
    assert ranking.mean_scores is not None
    np.testing.assert_allclose(ranking.mean_scores["city"], 3 * np.arange(12.0).reshape(3, 4))
    np.testing.assert_allclose(ranking.mean_scores["year"], 4 * np.arange(12.0).reshape(3, 4))
    assert ranking.split_half is not None
    assert list(ranking.split_half) == ["city"]
    assert ranking.split_half["city"] == pytest.approx(1.0)
    assert (ranking.method, ranking.variant) == ("made_up", "other")
    assert ranking.source == "made_up, variant other of tiny llama"


@pytest.mark.usefixtures("made_up")
def test_a_task_of_which_nothing_counts() -> None:
    with pytest.raises(ModelError, match="task year: none of its 2 rows was marked; expected at least one"):
        identify(tiny_loaded("llama"), {"city": valued(1), "year": valued(0, 0)}, top_k=1, method="made_up")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_makes_a_ranking_that_halves_can_be_compared_of(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("retrieval_score", "logit_contribution"):
        monkeypatch.setattr(f"harness.model.identification.{method}.matches_value", lambda *_: True)
    monkeypatch.setattr("harness.model.identification.logit_contribution.value_tokens", lambda *_: (0, 2))
    monkeypatch.setattr(
        "harness.model.identification.retrieval_score._bare", lambda *_: 0
    )  # every token is every other
    ranking = identify(tiny_loaded("llama"), {"city": trials(4)}, top_k=3, method=name, progress=False)
    assert (ranking.method, ranking.variant, ranking.samples) == (name, None, {"city": 4})
    assert ranking.split_half is not None
    assert -1 <= ranking.split_half["city"] <= 1


def test_every_method_can_be_asked_for() -> None:
    assert {*METHODS} == {*get_args(MethodName)}


def test_methods_are_found_by_name_and_variant() -> None:
    assert find_method("retrieval_score") is METHODS["retrieval_score"]
    assert find_method("retrieval_score", "authors") is METHODS["retrieval_score"].variants["authors"]
    assert find_method("qr_score").null_query
    with pytest.raises(
        SettingsError, match="method: 'magic'; expected one of summed_attention, retrieval_score, qr_sc"
    ):
        find_method("magic")
    with pytest.raises(SettingsError, match="variant: 'mine' of retrieval_score; expected authors, or none"):
        find_method("retrieval_score", "mine")
    with pytest.raises(SettingsError, match="variant: 'authors' of qr_score; expected none, for it has no variants"):
        find_method("qr_score", "authors")


def test_the_methods_own_check_comes_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded("llama")
    monkeypatch.setattr(loaded.model, "forward", None)
    bad = replace(random_trial(30, seed=4), null_prompt=None)
    with pytest.raises(DataError, match="filing4"):
        identify(loaded, {"city": [random_trial(30), bad]}, top_k=1, method="qr_score")


def test_prompt_and_answer_must_fit_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded("llama")
    monkeypatch.setattr(loaded.model, "forward", None)
    with pytest.raises(ModelError, match=r"filing2\.htm/task: 641 tokens, .* at most 640"):
        identify(loaded, {"city": [random_trial(637, seed=2)]}, top_k=1, method="retrieval_score")

"""The benchmark: it takes turns, compares answers, and its counts are those of the work."""

import dataclasses
import math
from functools import partial
from typing import Any

import pytest
from tiny_models import N_LAYERS, REPRESENTATIVES, random_ids, random_prompt, tiny_loaded

from harness.commands import bench as command
from harness.experiment.cost import Speed, decoding_passes, group_flops, passes_bytes, shared_flops
from harness.experiment.heads import Head
from harness.experiment.record import Completion
from harness.model.generation import groups, reference
from harness.model.identification.identify import find_method, scored
from harness.model.loading.blueprints import model_size
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance import bench
from harness.model.performance.bench import Scoring, Work, as_handed_over, compare, run_plain, run_published

SETS = (frozenset[Head](), frozenset({Head(1, 0)}), frozenset({Head(2, 2)}))
WORKS = (Work(random_prompt(20), SETS), Work(random_prompt(16, seed=1), SETS[:2]))
GROUPS = [[work] for work in WORKS]
WARM = [Work(random_prompt(18, seed=2), SETS[:1])]


@pytest.fixture(autouse=True)
def _known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "measure_speed", lambda device, dtype: Speed(1e9, 1e9))


@pytest.mark.parametrize("baseline", list(bench.BASELINES))
def test_both_sides_do_the_same_work(baseline: str) -> None:
    loaded = tiny_loaded("llama")
    result = compare(loaded, GROUPS, WARM, baseline=baseline, max_new_tokens=4, own_flips=True)
    assert (result.n_rows, result.n_conditions, result.n_completions) == (2, 3, 5)
    assert (result.n_different, result.own_flips) == (0, 0)
    assert result.tokens_identical
    if baseline == "apart":
        assert result.engine.layer_passes == result.baseline.layer_passes
    else:
        assert result.baseline.layer_passes == pytest.approx(5 * N_LAYERS)
        assert result.engine.layer_passes < result.baseline.layer_passes
    assert len(result.engine.seconds) == len(result.baseline.seconds) == len(result.ratios) == 2
    assert result.flops == shared_flops(model_size(loaded.model), SETS, 20) + shared_flops(
        model_size(loaded.model), SETS[:2], 16
    )


def test_the_least_is_told_by_work_and_answers() -> None:
    loaded = tiny_loaded("llama")
    result = compare(loaded, GROUPS[:1], WARM, baseline="plain", max_new_tokens=4)
    said = {
        heads: answer.all_ids
        for heads, answer in zip(SETS, run_plain(loaded, WORKS[0].prompt, SETS, max_new_tokens=4), strict=True)
    }
    passes = decoding_passes(said, WORKS[0].prompt.value_ids)
    assert result.least_steps == len(passes)
    assert result.read_bytes == passes_bytes(model_size(loaded.model), passes, 20)


def test_rows_of_one_filing_are_read_together() -> None:
    loaded = tiny_loaded("llama")
    first, second = random_prompt(60), random_prompt(24, seed=1)
    alike = dataclasses.replace(first, token_ids=(*first.token_ids[:40], *second.token_ids))
    group = [Work(prompt, SETS) for prompt in (first, alike)]
    result = compare(loaded, [group], WARM, baseline="apart", max_new_tokens=4)
    assert (result.n_rows, len(result.ratios), result.n_different) == (2, 1, 0)
    assert result.engine.layer_passes < 0.75 * result.baseline.layer_passes
    assert result.flops == group_flops(model_size(loaded.model), [each.prompt.token_ids for each in group], [SETS] * 2)


def test_groups_are_handed_over_as_a_study_asks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three at once."""
    loaded, several = tiny_loaded("llama"), [WARM, *GROUPS, WARM]
    assert as_handed_over(loaded, several) == several
    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    monkeypatch.setattr(groups, "SIDE_BY_SIDE", 3)
    assert as_handed_over(loaded, several) == [[*WARM, *WORKS], WARM]
    assert as_handed_over(loaded, [*GROUPS, *GROUPS]) == [[*WORKS, WORKS[0]], [WORKS[1]]]


def test_sides_take_turns_and_meet_each_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[tuple[str, int]] = []

    def noted(name: str, way: bench.Way) -> bench.Way:
        def run(loaded: LoadedModel, group: bench.Group, most: int) -> list[Completion]:
            order.append((name, len(group[0].prompt.token_ids)))
            return way(loaded, group, most)

        return run

    monkeypatch.setattr(bench, "_shared", noted("shared", bench._shared))
    monkeypatch.setattr(bench, "BASELINES", {"plain": noted("plain", bench._plain)})
    compare(tiny_loaded("llama"), GROUPS, WARM, baseline="plain", max_new_tokens=2)
    assert order == [("shared", 18), ("plain", 18), ("shared", 20), ("plain", 20), ("plain", 16), ("shared", 16)]


@pytest.mark.parametrize(("gap", "ties"), [(1e-6, 1), (0.1, 0)])
def test_another_answer_is_seen_and_a_tie_is_told_from_a_difference(
    gap: float, ties: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = bench._plain

    def wrong(*arguments: object) -> object:
        first, *others = plain(*arguments)  # type: ignore[arg-type]
        return (dataclasses.replace(first, token_ids=(0,), smallest_gap=gap), *others)

    monkeypatch.setattr(bench, "BASELINES", {"wrong": wrong})
    result = compare(tiny_loaded("llama"), GROUPS[:1], WARM, baseline="wrong", max_new_tokens=2)
    assert (result.n_different, result.n_ties) == (1, ties)
    assert result.tokens_identical == bool(ties)


def test_gaps_that_nobody_knows_are_no_ties() -> None:
    loaded = tiny_loaded("llama")
    answer = bench._plain(loaded, GROUPS[0], 2)[0]
    assert math.isnan(answer.smallest_gap)
    engines = bench._shared(loaded, GROUPS[0], 2)[0]
    assert bench._differences([engines], [dataclasses.replace(answer, token_ids=(0,))]) == (1, 0)


def test_scoring_heads_is_measured_beside_reading() -> None:
    groups = [[Work(random_prompt(20), SETS[:1])], [Work(random_prompt(16), SETS[:1])]]
    scoring = Scoring("summed_attention", partial(scored, method=find_method("summed_attention")))
    result = compare(tiny_loaded("llama"), groups, WARM, baseline="plain", max_new_tokens=1, scoring=scoring)
    assert result.identify is not None
    assert len(result.identify.seconds) == len(result.identify.prefill_seconds) == 2
    assert result.identify.ratio > 0


def test_rows_of_one_filing_are_scored_as_identify_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their front is run once."""
    loaded, front = tiny_loaded("llama"), random_ids(40)
    prompts = [dataclasses.replace(random_prompt(n), token_ids=(*front, *random_ids(n - 40, seed=n))) for n in (50, 45)]
    fed = []
    forward = loaded.model.forward

    def counting(**arguments: Any) -> Any:
        fed.append(arguments["input_ids"].shape[1])
        return forward(**arguments)

    monkeypatch.setattr(loaded.model, "forward", counting)
    group = [Work(prompt, SETS[:1]) for prompt in prompts]
    scoring = Scoring("summed_attention", partial(scored, method=find_method("summed_attention")))
    bench._identify_cost(loaded, [group], WARM[:1], scoring)
    assert fed[-6:] == [50, 45, 49, 1, 4, 1]


def test_the_command_knows_the_same_names() -> None:
    assert tuple(bench.BASELINES) == command.BASELINES


PROMPT = random_prompt(20)
PLAIN_SETS = (frozenset[Head](), frozenset({Head(0, 1), Head(2, 2)}))


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_tokens_are_the_references(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    expected = [each.all_ids for each in reference.run_row(loaded, PROMPT, PLAIN_SETS, None, max_new_tokens=6)]
    assert [each.all_ids for each in run_plain(loaded, PROMPT, PLAIN_SETS, max_new_tokens=6)] == expected
    assert [each.all_ids for each in run_plain(loaded, PROMPT, PLAIN_SETS, max_new_tokens=6, copies=2)] == expected
    assert [each.all_ids for each in run_published(loaded, PROMPT, PLAIN_SETS, max_new_tokens=6)] == expected


def test_the_published_loop_is_eager_and_puts_the_models_attention_back() -> None:
    loaded = tiny_loaded("llama")
    seen = []
    hook = loaded.model.register_forward_pre_hook(
        lambda module, args: seen.append(loaded.model.config._attn_implementation)
    )
    try:
        run_published(loaded, PROMPT, PLAIN_SETS[:1], max_new_tokens=2)
    finally:
        hook.remove()
    assert set(seen) == {"eager"}
    assert loaded.model.config._attn_implementation == loaded.attention == "sdpa"

"""The engine against the plain loop: tiny models of every architecture, and the demo."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import get_args

import pytest
import torch
from accelerate import cpu_offload  # type: ignore[import-untyped]  # has no types
from as_the_plain_loop import HEADS, MEANS, SETS, UNTOUCHED, assert_clean, assert_same, check_asks, check_both
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    EDGE_REPRESENTATIVES,
    FLOAT32_PARTS,
    MODEL_TYPES,
    N_LAYERS,
    REPRESENTATIVES,
    WINDOW,
    WITH_EDGES,
    doubled,
    load,
    random_ids,
    random_prompt,
    tiny_loaded,
    wrap,
)

from harness.choices import Phase
from harness.demo import MODEL_FOLDER, RANKING_FILE
from harness.demo.filings import demo_rows
from harness.errors import AblationError, ModelError
from harness.experiment.experiments import EXPERIMENTS, Study
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Edges, Intervention, Rescue
from harness.experiment.record import Ask
from harness.model.generation import (
    answering,
    attention,
    branching,
    engine,
    group_walk,
    node_attention,
    reference,
    room,
)
from harness.model.generation import groups as groups_module
from harness.model.intervention.ablation import Ablation
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import build_prompt
from harness.retrieval.tasks import EDGAR_TASKS


@settings(derandomize=True, deadline=None, max_examples=80)
@given(data=st.data())
def test_equal_to_the_plain_loop_in_float64(data: st.DataObject) -> None:
    """Any tree, length, end tokens, draft, intervention and number of branches."""
    model_type = data.draw(st.sampled_from(REPRESENTATIVES))
    ends = data.draw(st.frozensets(st.integers(0, 255), max_size=100))
    loaded = replace(doubled(model_type), end_token_ids=ends)
    prompt = replace(
        random_prompt(data.draw(st.integers(1, 3 * WINDOW)), seed=data.draw(st.integers(0, 9))),
        value_ids=random_ids(data.draw(st.integers(1, WINDOW + 2)), seed=5),
    )
    check_both(
        loaded,
        prompt,
        data.draw(st.lists(st.frozensets(st.sampled_from(HEADS), max_size=6), min_size=1, max_size=6)),
        intervention=Intervention(
            data.draw(
                st.sampled_from([None, MEANS, random_prompt(5, seed=3), random_prompt(2 * WINDOW, seed=4), Rescue()])
            ),
            data.draw(st.sampled_from(get_args(Phase))),
        ),
        baseline_ids=data.draw(st.none() | st.lists(st.integers(0, 255), max_size=6).map(tuple)),
        max_new_tokens=data.draw(st.integers(1, WINDOW + 2)),
        branches=data.draw(st.none() | st.integers(1, 3)),
        tolerance=1e-4 if model_type in FLOAT32_PARTS else 1e-10,
    )


@st.composite
def edges(draw: st.DrawFn) -> Edges:
    """Of any tokens, of the first and of none; or of others of as much attention."""
    tokens = st.lists(st.integers(0, 3 * WINDOW), unique=True, max_size=2 * WINDOW)
    taken = draw(tokens)
    return Edges(tuple(taken), draw(st.just(()) | tokens.map(lambda others: tuple({*others} - {*taken}))))


@pytest.mark.parametrize("model_type", WITH_EDGES)
def test_kept_from_the_needle_in_every_architecture(model_type: str) -> None:
    loaded = replace(doubled(model_type), end_token_ids=frozenset(range(0, 256, 16)))
    intervention = Intervention(Edges(tuple(range(WINDOW, WINDOW + 5))))
    tolerance = 1e-4 if model_type in FLOAT32_PARTS else 1e-10
    got = check_both(loaded, random_prompt(2 * WINDOW), SETS, intervention=intervention, tolerance=tolerance)
    assert len({each.gold_logprob for each in got}) == len(SETS)


@pytest.mark.parametrize(
    ("model_type", "phase", "branches"),
    [
        *((each, "all", 2) for each in MODEL_TYPES),
        *((each, *how) for each in REPRESENTATIVES for how in (("all", None), ("all", 1), ("decode", 2))),
    ],
)
def test_equal_to_the_plain_loop_in_float32(model_type: str, phase: Phase, branches: int | None) -> None:
    loaded = replace(tiny_loaded(model_type), end_token_ids=frozenset(range(0, 256, 16)))
    for seed in range(2):
        prompt = random_prompt(2 * WINDOW + seed, seed=seed)
        check_both(loaded, prompt, SETS, intervention=Intervention(phase=phase), branches=branches, tolerance=1e-4)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_rows_of_one_filing_in_every_architecture(model_type: str) -> None:
    """In float64, two rows of one front, their conditions in runs of two."""
    loaded = replace(doubled(model_type), end_token_ids=frozenset(range(0, 256, 16)))
    front = random_ids(2 * WINDOW, seed=1)
    asks = [
        Ask(
            replace(random_prompt(1), token_ids=(*front, *random_ids(4 + row, seed=2 + row))),
            SETS,
            None,
            max_new_tokens=3,
        )
        for row in range(2)
    ]
    check_asks(loaded, asks, WINDOW, 2, 1e-4 if model_type in FLOAT32_PARTS else 1e-10)


SIDE_BY_SIDE = ("granite", "llama", "olmo2", "qwen2", "qwen3")
"""Architectures whose prompts are read so on a GPU; so are mistral's and phi3's where they have no windows."""
Group = list[tuple[tuple[int, ...], tuple[frozenset[Head], ...]]]

FRONTS = (0, 1, 3, WINDOW, 2 * WINDOW, 3 * WINDOW)


@st.composite
def groups(draw: st.DrawFn, rows: tuple[int, int] = (1, 4), least: int = 0, fronts: Sequence[int] = FRONTS) -> Group:
    """Prompts that begin alike as rows of one filing do, each with head sets of its own and at least so many common."""
    document = random_ids(3 * WINDOW, seed=draw(st.integers(0, 3)))
    common = draw(st.lists(st.frozensets(st.sampled_from(HEADS), max_size=4), min_size=least, max_size=3))
    group: Group = []
    for seed in range(draw(st.integers(*rows))):
        front = document[: draw(st.sampled_from(fronts))]
        own = random_ids(draw(st.integers(1, WINDOW)), seed=10 + draw(st.integers(0, seed)))
        sets = [*draw(st.permutations(common)), *draw(st.lists(st.frozensets(st.sampled_from(HEADS)), max_size=2))]
        group.append(((*front, *own), tuple(sets)))
    return group


INTERVENTIONS = st.builds(
    Intervention,
    st.sampled_from([None, None, MEANS, random_prompt(5, seed=3), Rescue()]),
    st.sampled_from(["all", *get_args(Phase)]),
)


def asks_of(data: st.DataObject, group: Group, intervention: Intervention) -> list[Ask]:
    """What is asked of these prompts: drafts, gold values and limits of their own."""
    baseline_ids = st.none() | st.lists(st.integers(0, 255), max_size=6).map(tuple)
    return [
        Ask(
            replace(random_prompt(1), token_ids=ids, value_ids=random_ids(data.draw(st.integers(1, 4)), seed=5)),
            sets,
            data.draw(baseline_ids),
            intervention,
            data.draw(st.integers(1, 6)),
        )
        for ids, sets in group
    ]


def drawn_model(data: st.DataObject, model_types: Sequence[str]) -> tuple[LoadedModel, float]:
    """One of these, with any end tokens, and how far its engine may be from the plain loop."""
    model_type = data.draw(st.sampled_from(model_types))
    ends = data.draw(st.frozensets(st.integers(0, 255), max_size=100))
    return replace(doubled(model_type), end_token_ids=ends), 1e-4 if model_type in FLOAT32_PARTS else 1e-10


@settings(derandomize=True, deadline=None, max_examples=80)
@given(data=st.data(), group=groups())
def test_rows_of_one_filing_are_each_what_the_plain_loop_says(data: st.DataObject, group: Group) -> None:
    """Fronts of any length, of any of the rows, over any trees; with means, with donors, from the last token on."""
    loaded, tolerance = drawn_model(data, REPRESENTATIVES)
    least, branches = data.draw(st.integers(1, 4)), data.draw(st.none() | st.integers(1, 3))
    check_asks(loaded, asks_of(data, group, data.draw(INTERVENTIONS)), least, branches, tolerance)


def by_definition(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """In place of a GPU's kernel: attention, and the logs of the weights' sums."""
    copies = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(copies, 1).transpose(2, 3) * (scale or query.shape[-1] ** -0.5)
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
    return scores.softmax(-1) @ value.repeat_interleave(copies, 1), scores.logsumexp(-1, keepdim=True)


@contextmanager
def as_on_a_gpu(data: st.DataObject) -> Iterator[None]:
    """Of any size: how many tokens keep it busy, how many prompts are side by side, what fits into its memory.

    Prompts are read in pieces, and filled up in attention; what a few nodes hold more is another run, or filled up too.
    """
    long, bucket = data.draw(st.integers(1, 3 * WINDOW)), 8
    busy = data.draw(st.sampled_from([10.0**6, 10.0**6, 10.0**6, 60.0, 0.0]))

    def in_buckets(loaded: LoadedModel, n_tokens: int, n_held: int, capacity: int) -> bool:
        fits = max(n_held + n_tokens, capacity) >= long and n_tokens >= bucket
        return fits and attention.sees_everything(loaded)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoadedModel, "waits_for_launches", True)
        patch.setattr(groups_module, "busy_tokens", lambda loaded: busy)
        cost = data.draw(st.sampled_from([0.0, 0.0, 0.0, 10.0**6]))
        patch.setattr(group_walk, "busy_tokens", lambda loaded: cost)
        patch.setattr(groups_module, "SIDE_BY_SIDE", data.draw(st.sampled_from([9, 6, 4, 2])))
        patch.setattr(branching, "may_attend_in_buckets", in_buckets)
        patch.setattr(attention, "BUCKET", bucket)
        patch.setattr(room, "BUCKET", bucket)
        patch.setattr(attention, "_by_cudnn", by_definition)
        patch.setattr(room, "PIECE", data.draw(st.integers(1, WINDOW)))
        patch.setattr(room, "CPU_BYTES", data.draw(st.sampled_from([1, 2**12, 2**26])))
        patch.setattr(room, "CPU_HELD", data.draw(st.sampled_from([1, 2**16, 2**30, 2**30])))
        patch.setattr(node_attention, "WORTH_ANOTHER_RUN", data.draw(st.sampled_from([0, 10**6])))
        patch.setattr(answering, "LOGITS_BYTES", data.draw(st.sampled_from([2**32, 2**16])))
        patch.setattr(answering, "COMPUTED", 0)
        yield


@settings(derandomize=True, deadline=None, max_examples=30)
@given(data=st.data(), filings=st.lists(groups(rows=(2, 3), least=1, fronts=FRONTS[3:]), min_size=2, max_size=3))
def test_rounds_in_the_ways_of_a_gpu(data: st.DataObject, filings: list[Group]) -> None:
    """Rows of several filings, side by side, behind what they begin with, or some so and some so: of any lengths,
    conditions, interventions, drafts and rounds, decoded at once by steps of one shape where the model can."""
    loaded, tolerance = drawn_model(data, (*SIDE_BY_SIDE * 3, *REPRESENTATIVES))
    intervention = data.draw(st.sampled_from([ZEROED, ZEROED, Intervention(MEANS)]) | INTERVENTIONS)
    come = data.draw(st.permutations([*(asks_of(data, group, intervention) for group in filings), None]))
    least, branches = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([None, None, None, 1, 2]))
    with as_on_a_gpu(data):
        rounds = engine.run_side_by_side(loaded, iter(come), branches=branches, least=least)
        answers = [answer for together in rounds for answer in together]
    assert_clean(loaded)
    asked = [each for each in come if each is not None]
    assert sorted(place for *place, _ in answers) == [
        [number, place] for number, each in enumerate(asked) for place in range(len(each))
    ]
    for number, place, got in answers:
        ((_, expected),) = reference.run_rows(loaded, [asked[number][place]])
        assert_same(got, expected, tolerance)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(data=st.data(), group=groups())
def test_heads_kept_from_tokens_are_as_by_the_plain_loop(data: st.DataObject, group: Group) -> None:
    """Any tree, length, edges and draft; rows that begin alike, each with edges of its own."""
    model_type = data.draw(st.sampled_from(EDGE_REPRESENTATIVES))
    ends = data.draw(st.frozensets(st.integers(0, 255), max_size=100))
    loaded = replace(doubled(model_type), end_token_ids=ends)
    asks = [
        Ask(
            replace(random_prompt(1), token_ids=ids, value_ids=random_ids(data.draw(st.integers(1, WINDOW)), seed=5)),
            sets,
            data.draw(st.none() | st.lists(st.integers(0, 255), max_size=6).map(tuple)),
            Intervention(data.draw(edges())),
            data.draw(st.integers(1, WINDOW)),
        )
        for ids, sets in group
    ]
    branches = data.draw(st.none() | st.integers(1, 3))
    for number, got in engine.run_rows(loaded, asks, branches=branches, least=data.draw(st.integers(1, 4))):
        ((_, expected),) = reference.run_rows(loaded, [asks[number]])
        assert_same(got, expected, 1e-4 if model_type in FLOAT32_PARTS else 1e-10)
    assert_clean(loaded)


def test_rotary_frequencies_that_depend_on_the_length_are_not_branched() -> None:
    loaded = wrap(copy.deepcopy(tiny_loaded("llama").model))
    loaded.model.config.rope_parameters["rope_type"] = "dynamic"
    assert loaded.one_by_one is not None


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_weights_that_come_and_go_change_nothing(model_type: str) -> None:
    """Offloaded by accelerate: on a device only while their module runs. In float64 all passes are the library's."""
    whole = doubled(model_type)
    model = cpu_offload(copy.deepcopy(whole.model), execution_device=torch.device("cpu"))
    offloaded, prompt = replace(wrap(model), dtype="float64"), random_prompt(2 * WINDOW)
    assert all(parameter.is_meta for parameter in model.parameters())
    for run_row in (engine.run_row, reference.run_row):
        got, expected = (run_row(each, prompt, SETS, None, max_new_tokens=4) for each in (offloaded, whole))
        assert got == expected
    assert all(parameter.is_meta for parameter in model.parameters())


def test_bad_requests_are_refused_as_by_the_plain_loop() -> None:
    loaded, prompt = tiny_loaded("llama"), random_prompt(9)
    for refused in (replace(prompt, value_ids=()), replace(prompt, token_ids=()), random_prompt(639)):
        with pytest.raises(ModelError, match=r"filing0.htm/task"):
            engine.run_row(loaded, refused, SETS, None, max_new_tokens=3)
    with pytest.raises(AblationError, match=f"layer {N_LAYERS}, but the model has"):
        engine.run_row(loaded, prompt, [frozenset({Head(N_LAYERS, 0)})], None, max_new_tokens=3)
    with Ablation(loaded.outputs, [UNTOUCHED]), pytest.raises(AblationError, match="another ablation"):
        engine.run_row(loaded, prompt, SETS, None, max_new_tokens=3)
    assert engine.run_row(loaded, prompt, [], None, max_new_tokens=3) == ()


def test_demo_rows_are_answered_as_by_the_plain_loop() -> None:
    loaded = load(str(MODEL_FOLDER), dtype="float32")
    study = Study(read_ranking(RANKING_FILE), loaded.shape, tuple(EDGAR_TASKS), (1, 5, 20))
    for row in demo_rows()[:2]:
        prompt = build_prompt(row, EDGAR_TASKS[row.task], loaded.tokenizer, depth=0.5)
        sets = [
            frozenset(condition.heads)
            for condition in EXPERIMENTS["within_task"](study)
            if condition.tasks == (row.task,)
        ]
        check_both(loaded, prompt, [UNTOUCHED, *sets], max_new_tokens=20, tolerance=1e-4)

"""The engine against the plain loop: tiny models of every architecture, and the demo."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast, get_args

import numpy as np
import pytest
import torch
from accelerate import cpu_offload  # type: ignore[import-untyped]  # has no types
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    EDGE_REPRESENTATIVES,
    FLOAT32_PARTS,
    HEAD_DIM,
    MODEL_TYPES,
    N_HEADS,
    N_LAYERS,
    REPRESENTATIVES,
    WINDOW,
    WITH_EDGES,
    doubled,
    load,
    random_ids,
    random_prompt,
    tiny_loaded,
    tiny_model,
    wrap,
)

from harness.choices import Phase
from harness.demo import MODEL_FOLDER, RANKING_FILE
from harness.demo.filings import demo_rows
from harness.errors import AblationError, ModelError
from harness.experiment.experiments import EXPERIMENTS, Study
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Edges, Intervention, MeanValues, Rescue
from harness.experiment.record import Ask, Completion
from harness.model.generation import answering, attention, branching, decoding, engine, node_attention, reference, room
from harness.model.generation import groups as groups_module
from harness.model.generation.answering import ReadPrompt
from harness.model.generation.branching import Branching, decoder_layers
from harness.model.generation.decoding import Leaf, Reading
from harness.model.generation.leaf_step import LeafStep
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.projection_input import Replacement
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance.measures import LayerCounter
from harness.retrieval.prompts import Prompt, build_prompt
from harness.retrieval.tasks import EDGAR_TASKS

UNTOUCHED = frozenset[Head]()
MEANS = MeanValues(np.random.default_rng(1).normal(size=(N_LAYERS, N_HEADS * HEAD_DIM)))
HEADS = [Head(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]
TIE = 1e-5
SETS = (
    UNTOUCHED,
    frozenset({Head(0, 1)}),
    frozenset({Head(1, 0), Head(1, 2), Head(2, 3)}),
    frozenset({Head(0, 1), Head(2, 0)}),
    frozenset({Head(2, 0)}),
)


def assert_same(got: Sequence[Completion], expected: Sequence[Completion], tolerance: float) -> None:
    """Equal up to rounding; tokens equal unless the plain loop was about to choose another."""
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.gold_logprob == pytest.approx(other.gold_logprob, abs=tolerance, rel=tolerance)
        if other.smallest_gap < TIE:
            continue
        assert one.all_ids == other.all_ids
        assert one.end_token_id == other.end_token_id
        assert one.smallest_gap == pytest.approx(other.smallest_gap, abs=tolerance, rel=tolerance)
        assert (one.baseline_logprob is None) == (other.baseline_logprob is None)
        if other.baseline_logprob is not None:
            assert one.baseline_logprob == pytest.approx(other.baseline_logprob, abs=tolerance, rel=tolerance)
        assert (one.baseline_logprobs is None) == (other.baseline_logprobs is None)
        # kept to six decimals
        rounded = pytest.approx(other.baseline_logprobs or (), abs=max(tolerance, 2e-6), rel=tolerance)
        assert (one.baseline_logprobs or ()) == rounded
        assert (one.hooks_fired > 0) == (other.hooks_fired > 0)


def check_both(
    loaded: LoadedModel,
    prompt: Prompt,
    sets: Sequence[frozenset[Head]],
    *,
    intervention: Intervention = ZEROED,
    baseline_ids: tuple[int, ...] | None = None,
    max_new_tokens: int = 8,
    branches: int | None = None,
    tolerance: float,
) -> tuple[Completion, ...]:
    asked = (loaded, prompt, sets, baseline_ids, intervention)
    got = engine.run_row(*asked, max_new_tokens=max_new_tokens, branches=branches)
    expected = reference.run_row(*asked, max_new_tokens=max_new_tokens)
    assert_same(got, expected, tolerance)
    assert_clean(loaded)
    return got


def assert_clean(loaded: LoadedModel) -> None:
    """No hook of ours and no stand-in is left; transformers leaves its own where attentions were ever asked for."""
    for module in loaded.model.modules():
        left = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        assert not [hook for hook in left if not hook.__module__.startswith("transformers.")]
    for layer in decoder_layers(loaded):
        assert "forward" not in vars(layer)


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


Group = list[tuple[tuple[int, ...], tuple[frozenset[Head], ...]]]


@st.composite
def groups(draw: st.DrawFn) -> Group:
    """Prompts that begin alike as rows of one filing do, each with head sets of its own and common ones."""
    document = random_ids(3 * WINDOW, seed=draw(st.integers(0, 3)))
    common = draw(st.lists(st.frozensets(st.sampled_from(HEADS), max_size=4), max_size=3))
    group = []
    for seed in range(draw(st.integers(1, 4))):
        front = document[: draw(st.sampled_from([0, 1, 3, WINDOW, 2 * WINDOW, 3 * WINDOW]))]
        own = random_ids(draw(st.integers(1, WINDOW)), seed=10 + draw(st.integers(0, seed)))
        sets = [*draw(st.permutations(common)), *draw(st.lists(st.frozensets(st.sampled_from(HEADS)), max_size=2))]
        group.append(((*front, *own), tuple(sets)))
    return group


@settings(derandomize=True, deadline=None, max_examples=80)
@given(data=st.data(), group=groups())
def test_rows_of_one_filing_are_each_what_the_plain_loop_says(data: st.DataObject, group: Group) -> None:
    """Fronts of any length, of any of the rows, over any trees; with means, with donors, from the last token on."""
    check_group(data, group, data.draw(st.sampled_from(REPRESENTATIVES)))


def by_definition(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """In place of a GPU's kernel: attention, and the logs of the weights' sums."""
    copies = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(copies, 1).transpose(2, 3) * (scale or query.shape[-1] ** -0.5)
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
    return scores.softmax(-1) @ value.repeat_interleave(copies, 1), scores.logsumexp(-1, keepdim=True)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(data=st.data(), group=groups())
def test_rows_of_one_filing_in_the_ways_of_a_gpu(data: st.DataObject, group: Group) -> None:
    """Decoded at once by steps of one shape, no mask behind a front, prompts in pieces and filled up in attention.

    Side by side, or from a front on, or as what either saves has it.
    """
    busy = data.draw(st.sampled_from([0.0, 60.0, 10.0**6]))
    long, bucket = data.draw(st.integers(1, 3 * WINDOW)), 8

    def in_buckets(loaded: LoadedModel, n_tokens: int, n_held: int) -> bool:
        return n_held + n_tokens >= long and n_held % bucket == 0 and n_tokens >= bucket

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoadedModel, "waits_for_launches", True)
        patch.setattr(groups_module, "busy_tokens", lambda loaded: busy)
        patch.setattr(branching, "may_attend_in_buckets", in_buckets)
        patch.setattr(attention, "BUCKET", bucket)
        patch.setattr(room, "BUCKET", bucket)
        patch.setattr(attention, "_by_cudnn", by_definition)
        patch.setattr(room, "PIECE", data.draw(st.integers(1, WINDOW)))
        patch.setattr(room, "CPU_BYTES", data.draw(st.sampled_from([1, 2**12, 2**26])))
        patch.setattr(room, "CPU_HELD", data.draw(st.sampled_from([1, 2**16, 2**30])))
        check_group(data, group, data.draw(st.sampled_from(["llama", "qwen3"])))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(data=st.data())
def test_prompts_side_by_side_are_each_what_the_plain_loop_says(data: st.DataObject) -> None:
    """Of any lengths, conditions, drafts and rounds, a few at once, whatever memory there is."""
    loaded = replace(doubled("llama"), end_token_ids=data.draw(st.frozensets(st.integers(0, 255), max_size=100)))
    intervention = Intervention(data.draw(st.sampled_from([None, MEANS])))
    asks = [
        Ask(
            replace(
                random_prompt(data.draw(st.integers(1, 3 * WINDOW)), seed=seed),
                value_ids=random_ids(data.draw(st.integers(1, 4)), seed=5),
            ),
            tuple(data.draw(st.lists(st.frozensets(st.sampled_from(HEADS), max_size=3), min_size=1, max_size=4))),
            data.draw(st.none() | st.lists(st.integers(0, 255), max_size=6).map(tuple)),
            intervention,
            data.draw(st.integers(1, 6)),
        )
        for seed in range(data.draw(st.integers(2, 6)))
    ]
    sizes = data.draw(st.lists(st.integers(0, 3), max_size=3))
    starts = [sum(sizes[:place]) for place in range(len(sizes) + 1)]
    rounds = [asks[slice(*ends)] for ends in pairwise([*starts, len(asks)])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoadedModel, "waits_for_launches", True)
        patch.setattr(groups_module, "SIDE_BY_SIDE", data.draw(st.integers(2, 6)))
        patch.setattr(node_attention, "WORTH_ANOTHER_RUN", data.draw(st.sampled_from([0, 10**6])))
        patch.setattr(room, "CPU_BYTES", data.draw(st.sampled_from([1, 2**12, 2**26])))
        patch.setattr(room, "CPU_HELD", data.draw(st.sampled_from([1, 2**16, 2**30])))
        patch.setattr(engine, "WAIT_SECONDS", 0)
        come = data.draw(st.permutations([*rounds, None]))
        answers = [answer for together in engine.run_side_by_side(loaded, iter(come)) for answer in together]
    assert_clean(loaded)
    asked = [each for each in come if each is not None]
    assert sorted(place for *place, _ in answers) == [
        [number, place] for number, each in enumerate(asked) for place in range(len(each))
    ]
    for number, place, got in answers:
        ((_, expected),) = reference.run_rows(loaded, [asked[number][place]])
        assert_same(got, expected, 1e-10)


@pytest.mark.parametrize("most", [9, 4, 0])
def test_fewer_prompts_are_side_by_side_where_memory_runs_out(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five prompts, two conditions each: ten nodes at once, then half, and at last one prompt as ever."""
    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    loaded, run = doubled("llama"), Branching.run
    asks = [Ask(random_prompt(12 + row, seed=row), SETS[:2], None, max_new_tokens=4) for row in range(5)]
    tried: list[int] = []

    def short_of_memory(self, call, layer, tree, hidden, start):  # type: ignore[no-untyped-def]
        tried.append(len(tree.levels[layer].parents))
        if tried[-1] > most:
            raise torch.OutOfMemoryError("out of memory")
        return run(self, call, layer, tree, hidden, start)

    monkeypatch.setattr(Branching, "run", short_of_memory)
    if most == 0:
        with pytest.raises(ModelError, match=r"filing0.htm/task: out of memory at one condition of 16 tokens"):
            list(engine.run_rows(loaded, asks))
        return
    answers = dict(engine.run_rows(loaded, asks))
    assert tried[0] == 10
    for number, ask in enumerate(asks):
        ((_, expected),) = reference.run_rows(loaded, [ask])
        assert_same(answers[number], expected, 1e-10)
    halvings = [max(each.halvings for each in answers[number]) for number in range(5)]
    assert halvings == ([1] * 5 if most == 9 else [1, 1, 2, 2, 2])


def test_who_said_what_the_untouched_model_said_is_not_fed_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two prompts of three conditions: a head that adds nothing changes no answer, another changes both."""
    model, idle, other = copy.deepcopy(doubled("llama").model), Head(1, 2), Head(0, 1)
    columns = slice(idle.head * HEAD_DIM, (idle.head + 1) * HEAD_DIM)
    cast(torch.Tensor, model.get_submodule("model.layers.1.self_attn.o_proj").weight)[:, columns] = 0
    loaded = replace(wrap(model), end_token_ids=frozenset(range(200, 256)))
    fed: list[frozenset[Head]] = []
    asks = [
        Ask(random_prompt(20, seed=row), (UNTOUCHED, frozenset({idle}), frozenset({other})), None) for row in (0, 1)
    ]
    feed = answering._fed_drafts

    def noted(loaded: LoadedModel, step: LeafStep, leaves: Sequence[Leaf], replacement: Replacement) -> Reading:
        fed.extend(leaf.heads for leaf in leaves)
        return feed(loaded, step, leaves, replacement)

    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    monkeypatch.setattr(answering, "_fed_drafts", noted)
    for number, got in engine.run_rows(loaded, asks):
        ((_, expected),) = reference.run_rows(loaded, [asks[number]])
        assert_same(got, expected, 1e-10)
        assert got[0].all_ids == got[1].all_ids != got[2].all_ids
    assert fed == [frozenset({other})] * 2


def check_group(data: st.DataObject, group: Group, model_type: str) -> None:
    ends = data.draw(st.frozensets(st.integers(0, 255), max_size=100))
    loaded = replace(doubled(model_type), end_token_ids=ends)
    values = data.draw(st.sampled_from([None, None, MEANS, random_prompt(5, seed=3), Rescue()]))
    intervention = Intervention(values, data.draw(st.sampled_from(get_args(Phase))))
    baseline_ids = st.none() | st.lists(st.integers(0, 255), max_size=6).map(tuple)
    asks = [
        Ask(
            replace(random_prompt(1), token_ids=ids, value_ids=random_ids(data.draw(st.integers(1, 4)), seed=5)),
            sets,
            data.draw(baseline_ids),
            intervention,
            data.draw(st.integers(1, 6)),
        )
        for ids, sets in group
    ]
    least, branches = data.draw(st.integers(1, 4)), data.draw(st.none() | st.integers(1, 3))
    check_asks(loaded, asks, least, branches, 1e-4 if model_type in FLOAT32_PARTS else 1e-10)


def check_asks(loaded: LoadedModel, asks: Sequence[Ask], least: int, branches: int | None, tolerance: float) -> None:
    answers = list(engine.run_rows(loaded, asks, branches=branches, least=least))
    assert sorted(number for number, _ in answers) == list(range(len(asks)))
    for number, got in answers:
        ((_, expected),) = reference.run_rows(loaded, [asks[number]])
        assert_same(got, expected, tolerance)
    assert_clean(loaded)


@st.composite
def drafts(draw: st.DrawFn, said: Sequence[int], most: int) -> tuple[int, ...]:
    """What a model said, or its beginning and something else."""
    right = said[: draw(st.integers(0, len(said)))]
    return (*right, *draw(st.lists(st.integers(0, 255), min_size=0 if right else 1, max_size=2)))[:most]


@settings(derandomize=True, deadline=None, max_examples=12)
@given(data=st.data())
def test_rows_of_one_filing_are_answered_together(data: st.DataObject) -> None:
    """As on a GPU: rows put aside behind a front, or two; drafts that hold and fail, baselines known or not.

    Rows have different lengths and limits, and may be nothing but the front and a last token.
    """
    ends = data.draw(st.frozensets(st.integers(0, 255), max_size=60))
    loaded = replace(doubled(data.draw(st.sampled_from(["llama", "qwen3"]))), end_token_ids=ends)
    intervention = Intervention(data.draw(st.sampled_from([None, MEANS])))
    front = random_ids(data.draw(st.integers(4, 2 * WINDOW)), seed=data.draw(st.integers(0, 3)))
    longer = (*front, *random_ids(6, seed=7))
    common = data.draw(st.lists(st.frozensets(st.sampled_from(HEADS), max_size=4), max_size=3))
    knows = data.draw(st.sampled_from([(True,), (False,), (True, False)]))
    asks = []
    for row in range(data.draw(st.integers(2, 4))):
        begins, own = data.draw(st.sampled_from([front, front, longer])), data.draw(st.integers(1, WINDOW))
        prompt = replace(random_prompt(1), token_ids=(*begins, *random_ids(own, seed=20 + row)))
        sets = [*data.draw(st.permutations([UNTOUCHED, *common])), frozenset({data.draw(st.sampled_from(HEADS))})]
        (said,) = reference.run_row(loaded, prompt, [UNTOUCHED], None, max_new_tokens=6)
        gold = data.draw(drafts(said.token_ids, 4)) or (1,)
        known = data.draw(drafts(said.all_ids, 6)) if data.draw(st.sampled_from(knows)) else None
        most = data.draw(st.integers(1, 6))
        asks.append(Ask(replace(prompt, value_ids=gold), tuple(sets), known, intervention, most))
    with pytest.MonkeyPatch.context() as patch:
        behind_fronts(patch)
        patch.setattr(room, "CPU_HELD", data.draw(st.sampled_from([2**30, 2**18])))
        patch.setattr(decoding, "EXACT", data.draw(st.sampled_from([2**28, 1])))
        patch.setattr(node_attention, "WORTH_ANOTHER_RUN", data.draw(st.sampled_from([2**20, 0])))
        patch.setattr(answering, "LOGITS_BYTES", data.draw(st.sampled_from([2**32, 2**32, 2**16])))
        patch.setattr(answering, "COMPUTED", 0)
        check_asks(loaded, asks, 3, None, 1e-10)


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


def test_what_a_row_begins_with_is_rescued_whoever_else_asks() -> None:
    """The first row's heads are in one layer, the second's in another: the front is of both."""
    loaded, front = doubled("llama"), random_ids(30, seed=1)
    asks = [
        Ask(
            replace(random_prompt(1), token_ids=(*front, *random_ids(4, seed=row))),
            (UNTOUCHED, frozenset({head})),
            None,
            Intervention(Rescue()),
            max_new_tokens=4,
        )
        for row, head in enumerate((Head(0, 1), Head(1, 2)), start=2)
    ]
    for number, got in engine.run_rows(loaded, asks, least=8):
        ((_, expected),) = reference.run_rows(loaded, [asks[number]])
        assert_same(got, expected, 1e-10)


@pytest.mark.parametrize("branches", [None, 1, 2])
def test_a_common_front_is_read_once(branches: int | None) -> None:
    """Five rows of 60 common tokens and 8 of their own: passes over the front are those of one row's tree."""
    loaded = tiny_loaded("llama")
    front = random_ids(60, seed=1)
    asks = [
        Ask(replace(random_prompt(1), token_ids=(*front, *random_ids(8, seed=2 + row))), SETS, None, max_new_tokens=3)
        for row in range(5)
    ]
    with LayerCounter(loaded, 71) as one:  # a prompt of 68 tokens, filled up
        list(engine.run_rows(loaded, asks[:1], branches=branches))
    with LayerCounter(loaded, 60) as five:
        list(engine.run_rows(loaded, asks, branches=branches))
    assert five.prefill_passes == one.prefill_passes > 0


def behind_fronts(patch: pytest.MonkeyPatch) -> None:
    """As on a GPU that is busy with one prompt."""
    patch.setattr(LoadedModel, "waits_for_launches", True)
    patch.setattr(groups_module, "at_once", lambda *_: 1)


def rows_of_a_filing(loaded: LoadedModel, known: bool) -> list[Ask]:
    """Three rows whose gold value nobody says, so that what the untouched model says is a draft of its own."""
    front, asks = random_ids(24, seed=1), []
    for row in range(3):
        prompt = replace(random_prompt(1), token_ids=(*front, *random_ids(4 + row, seed=20 + row)))
        (said,) = reference.run_row(loaded, prompt, [UNTOUCHED], None, max_new_tokens=5)
        prompt = replace(prompt, value_ids=(255 - said.token_ids[0],))
        asks.append(Ask(prompt, SETS, said.all_ids if known else None, max_new_tokens=5))
    return asks


@pytest.mark.parametrize("known", [False, True])
def test_what_is_said_to_rows_of_a_filing_is_one_batch(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU: one feed of all drafts, one loop of steps."""
    loaded = replace(doubled("llama"), end_token_ids=frozenset())
    asks = rows_of_a_filing(loaded, known)
    behind_fronts(monkeypatch)
    drafts, decoded = answering._fed_drafts, decoding.decode
    batches: list[tuple[str, int]] = []

    def feed(*args):  # type: ignore[no-untyped-def]
        batches.append(("drafts", len(args[2])))
        return drafts(*args)

    def decode(*args):  # type: ignore[no-untyped-def]
        batches.append(("steps", len(args[2])))
        decoded(*args)

    monkeypatch.setattr(answering, "_fed_drafts", feed)
    monkeypatch.setattr(answering, "decode", decode)
    check_asks(loaded, asks, 8, None, 1e-10)
    n_leaves = len(asks) * len(SETS)
    n_departed = batches[1][1]
    assert batches == (
        [("drafts", n_leaves), ("steps", n_departed)]
        if known
        # the untouched model's own leaves have said it
        else [("steps", n_leaves), ("drafts", n_leaves - len(asks))]
    )


def test_nobody_waits_where_no_prompt_has_conditions_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A front is read in runs of leaves; of one of them two of its prompts ask nothing, two share more."""
    loaded = replace(doubled("llama"), end_token_ids=frozenset())
    behind_fronts(monkeypatch)
    monkeypatch.setattr(room, "CPU_HELD", 1)
    front = random_ids(24, seed=1)
    longer = (*front, *random_ids(12, seed=2))
    asks = [
        Ask(replace(random_prompt(1), token_ids=(*begins, *random_ids(5, seed=20 + row))), sets, None, max_new_tokens=3)
        for row, (begins, sets) in enumerate([(front, (UNTOUCHED,))] * 2 + [(longer, SETS[:2])] * 2)
    ]
    check_asks(loaded, asks, 8, None, 1e-10)


def test_fewer_rows_wait_for_each_other_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three are too many and two too; nothing else is halved."""
    loaded = replace(doubled("llama"), end_token_ids=frozenset())
    asks = rows_of_a_filing(loaded, known=False)
    behind_fronts(monkeypatch)
    tried: list[int] = []
    own = answering.answer_together

    def answer(loaded, reads):  # type: ignore[no-untyped-def]
        tried.append(len(reads))
        if len(reads) > 1:
            raise torch.OutOfMemoryError("out of memory")
        own(loaded, reads)

    monkeypatch.setattr(engine, "answer_together", answer)
    answers = dict(engine.run_rows(loaded, asks, least=8))
    assert tried == [3, 1, 1, 1]
    assert {each.halvings for said in answers.values() for each in said} == {0}


def test_rotary_frequencies_that_depend_on_the_length_are_not_branched() -> None:
    loaded = wrap(copy.deepcopy(tiny_loaded("llama").model))
    loaded.model.config.rope_parameters["rope_type"] = "dynamic"
    assert loaded.one_by_one is not None


def follow_gold(loaded: LoadedModel, prompt: Prompt, n_tokens: int) -> Prompt:
    """The same prompt with the untouched model's first tokens as its gold value."""
    (untouched,) = reference.run_row(loaded, prompt, [UNTOUCHED], None, max_new_tokens=n_tokens)
    return replace(prompt, value_ids=untouched.token_ids)


def forward_passes(loaded: LoadedModel, prompt: Prompt, sets: Sequence[frozenset[Head]], most: int) -> int:
    """Calls of the model that one run of the engine makes."""
    calls: list[object] = []
    handle = loaded.model.register_forward_pre_hook(lambda *_: calls.append(None))
    engine.run_row(loaded, prompt, sets, None, max_new_tokens=most)
    handle.remove()
    return len(calls)


def test_a_condition_that_says_the_draft_and_ends_is_not_decoded() -> None:
    """One pass for the prompt, one for the gold value; each departure costs its own tokens only."""
    endless = replace(doubled("llama"), end_token_ids=frozenset())
    prompt = follow_gold(endless, random_prompt(20), 6)
    (longer,) = reference.run_row(endless, prompt, [UNTOUCHED], None, max_new_tokens=7)
    end = longer.token_ids[6]
    assert end not in prompt.value_ids
    loaded = replace(endless, end_token_ids=frozenset({end}))
    assert forward_passes(loaded, prompt, [UNTOUCHED], 20) == 2
    assert forward_passes(endless, prompt, [UNTOUCHED], 7) == 2
    assert forward_passes(endless, prompt, [UNTOUCHED], 9) == 2 + 2 + 1  # two tokens, the longer draft
    departing = check_both(loaded, prompt, SETS, tolerance=1e-10)
    assert any(each.all_ids != departing[0].all_ids for each in departing)


def test_a_prompt_that_is_not_ablated_is_read_once_for_all() -> None:
    loaded, prompt = doubled("llama"), random_prompt(20)
    with LayerCounter(loaded, len(prompt.token_ids)) as counter:
        engine.run_row(loaded, prompt, SETS, None, Intervention(phase="decode"), max_new_tokens=4)
    # in the last layer, keys and values alone
    assert counter.prefill_passes == N_LAYERS - 1


def test_conditions_before_the_untouched_model_have_no_baseline() -> None:
    order = [SETS[1], UNTOUCHED, SETS[2], SETS[1], UNTOUCHED]
    got = check_both(doubled("llama"), random_prompt(20), order, tolerance=1e-10)
    assert [each.baseline_logprob is None for each in got] == [True, False, False, False, False]
    without = check_both(doubled("llama"), random_prompt(20), SETS[1:], tolerance=1e-10)
    assert all(each.baseline_logprob is None for each in without)


def test_out_of_memory_halves_the_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, prompt = doubled("llama"), random_prompt(20)
    tried: list[int] = []
    run = Branching.run

    def short_of_memory(self, call, layer, tree, hidden, start):  # type: ignore[no-untyped-def]
        tried.append(len(tree.levels[layer].parents))
        if tried[-1] > most:
            raise torch.OutOfMemoryError("out of memory")
        return run(self, call, layer, tree, hidden, start)

    monkeypatch.setattr(Branching, "run", short_of_memory)
    most = 1
    check_both(loaded, prompt, SETS, branches=5, tolerance=1e-10)
    assert max(tried) > most
    halved = engine.run_row(loaded, prompt, SETS, None, max_new_tokens=8, branches=4)
    assert {each.halvings for each in halved} == {2}, "from 4 to 2 to 1"
    most = 0
    with pytest.raises(ModelError, match=r"filing0.htm/task: out of memory at one condition of 28 tokens"):
        engine.run_row(loaded, prompt, SETS, None, max_new_tokens=8)
    assert_clean(loaded)


def test_what_is_answered_before_memory_ran_out_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The untouched model is in the first run of leaves; memory runs out once, in the second."""
    answered: list[frozenset[Head]] = []
    after: list[int] = []
    keep, run = ReadPrompt.keep, Branching.run

    def note(self):  # type: ignore[no-untyped-def]
        answered.extend(self.shared.tree.leaves)
        keep(self)

    def short_once(self, call, layer, tree, hidden, start):  # type: ignore[no-untyped-def]
        if answered and not {*answered} & {*tree.leaves}:
            after.append(layer)
            if len(after) == 1:
                raise torch.OutOfMemoryError("out of memory")
        return run(self, call, layer, tree, hidden, start)

    monkeypatch.setattr(ReadPrompt, "keep", note)
    monkeypatch.setattr(Branching, "run", short_once)
    sets = [UNTOUCHED, *(frozenset({Head(0, head)}) for head in range(N_HEADS))]
    check_both(doubled("llama"), random_prompt(20), sets, branches=2, tolerance=1e-10)
    assert answered[0] == UNTOUCHED
    assert len(answered) == len(sets)
    assert len(after) > 1


def test_other_errors_are_not_taken_for_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr(Branching, "run", broken)
    with pytest.raises(RuntimeError, match="no kernel for this"):
        engine.run_row(doubled("llama"), random_prompt(9), SETS, None, max_new_tokens=3)
    assert_clean(doubled("llama"))


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_weights_that_come_and_go_change_nothing(model_type: str) -> None:
    """Offloaded by accelerate: on a device only while their module runs."""
    whole = tiny_loaded(model_type)
    model = cpu_offload(tiny_model(model_type), execution_device=torch.device("cpu"))
    offloaded, prompt = wrap(model), random_prompt(2 * WINDOW)
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

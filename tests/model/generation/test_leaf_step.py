"""Tokens fed by leaf over what nodes hold, against the model's own passes; captured, where there is a GPU."""

import contextlib
import copy
from collections.abc import Sequence

import pytest
import torch
from tiny_models import N_LAYERS, random_ids, tiny_config, tiny_loaded, tiny_model, wrap
from transformers import AutoModelForCausalLM

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.model.generation import leaf_step as leaf_step_module
from harness.model.generation import node_attention
from harness.model.generation.leaf_step import PLAIN_STEPS, Held, LeafStep, can_step_by_leaf
from harness.model.generation.node_cache import NodeCache, NodeLayer
from harness.model.intervention.ablation import Ablation
from harness.model.loading.architectures import ARCHITECTURES
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance.measures import LayerCounter

PROMPTS = [random_ids(20, seed=2), random_ids(20, seed=3)]
N_PROMPT = 20
LEAVES = [0, 0, 1]
"""The prompt of each row: the first two are leaves of one node."""
STEPS = [[[7], [8], [9]], [[1], [2], [3]], [[200], [100], [50]], [[4], [4], [4]]] * 2
"""More than are run before one is captured."""
SETS = [frozenset[Head](), frozenset({Head(0, 1)}), frozenset({Head(1, 0), Head(2, 3)})]
STATIC = ("granite", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3")
"""Whose steps are compared here, on a GPU too where there is one."""
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def without_windows(model_type: str, device: str) -> LoadedModel:
    """A tiny model in float64 whose layers all attend to everything."""
    config = tiny_config(model_type)
    config.sliding_window = None
    config.layer_types = ["full_attention"] * N_LAYERS
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64, attn_implementation="sdpa")  # type: ignore[no-untyped-call]  # the library's
    loaded = wrap(model.requires_grad_(False).train(False).to(device))
    object.__setattr__(loaded, "device", torch.device(device))
    return loaded


def filled(loaded: LoadedModel, rows: Sequence[int]) -> NodeCache:
    """A cache that holds these prompts, with garbage where nothing is held yet."""
    cache = NodeCache([NodeLayer(N_PROMPT + len(STEPS)) for _ in range(N_LAYERS)])
    ids = torch.tensor([PROMPTS[row] for row in rows], device=loaded.device)
    loaded.model(input_ids=ids, past_key_values=cache, use_cache=True)
    for layer in cache.node_layers:
        for held in layer.buffers():
            held[:, :, layer.length :] = float("nan")
    return cache


def leaf_step(loaded: LoadedModel, cache: NodeCache, leaves: Sequence[int] = LEAVES) -> LeafStep:
    """Rows that read these rows of the cache."""
    return LeafStep(loaded, [[Held(cache.node_layers, [leaves] * N_LAYERS, N_PROMPT)]], len(STEPS))


@torch.inference_mode()
def plain_logits(loaded: LoadedModel, steps: Sequence[list[list[int]]]) -> tuple[list[torch.Tensor], dict[int, int]]:
    """What the model says by its own attention, each row with the prompt to itself; and the calls that were ablated."""
    plain = filled(loaded, LEAVES)
    with Ablation(loaded.outputs, SETS) as ablation:
        logits = [
            loaded.model(input_ids=torch.tensor(ids, device=loaded.device), past_key_values=plain).logits[:, -1:]
            for ids in steps
        ]
    return logits, dict(ablation.fired)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("in_one", [False, True], ids=["runs", "in one"])
@pytest.mark.parametrize("model_type", STATIC)
@torch.inference_mode()
def test_steps_are_the_models_own(model_type: str, in_one: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoadedModel, "waits_for_launches", in_one)
    loaded = without_windows(model_type, device)
    assert can_step_by_leaf(loaded)
    expected, fired = plain_logits(loaded, STEPS)
    nodes = filled(loaded, [0, 1])
    with Ablation(loaded.outputs, SETS) as ablation:
        step = leaf_step(loaded, nodes)
        for n_fed, (ids, logits) in enumerate(zip(STEPS, expected, strict=True)):
            torch.testing.assert_close(step.feed(ids, [n_fed] * 3), logits, rtol=1e-10, atol=1e-10)
        ablation.replayed(step.replays)
    assert ablation.fired == fired
    assert step.replays == (len(STEPS) - PLAIN_STEPS - 1 if device == "cuda" else 0)
    assert loaded.model.config._attn_implementation == "sdpa"


@torch.inference_mode()
def test_several_tokens_are_fed_at_once_and_rows_leave() -> None:
    loaded = without_windows("llama", "cpu")
    at_once = [[[*first, *second] for first, second in zip(STEPS[0], STEPS[1], strict=True)], *STEPS[2:]]
    expected, _ = plain_logits(loaded, at_once)
    step = leaf_step(loaded, filled(loaded, [0, 1]))
    with Ablation(loaded.outputs, SETS):
        torch.testing.assert_close(step.feed(at_once[0], [0] * 3), expected[0], rtol=1e-10, atol=1e-10)
    step.keep([0, 2])
    with Ablation(loaded.outputs, [SETS[0], SETS[2]]):
        logits = step.feed([STEPS[2][0], STEPS[2][2]], [2, 2])
    torch.testing.assert_close(logits, expected[1][[0, 2]], rtol=1e-10, atol=1e-10)


@torch.inference_mode()
def test_rows_go_on_where_each_is_and_from_a_draft() -> None:
    """The nodes hold two tokens of a draft: one row goes on after both, one after the first, and says another then."""
    loaded = without_windows("llama", "cpu")
    nodes = filled(loaded, [0, 1])
    draft = [[11, 12], [11, 12]]
    loaded.model(input_ids=torch.tensor(draft), past_key_values=nodes, use_cache=True)
    step = leaf_step(loaded, nodes)
    rows = [[*PROMPTS[0], 11, 12], [*PROMPTS[0], 11], [*PROMPTS[1]]]
    for ids in STEPS[:3]:
        starts = [len(row) - N_PROMPT for row in rows]
        logits = step.feed(ids, starts)
        for row, (token,) in zip(rows, ids, strict=True):
            row.append(token)
        for row, got in zip(rows, logits, strict=True):
            expected = loaded.model(input_ids=torch.tensor([row])).logits[0, -1:]
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@torch.inference_mode()
def test_what_nodes_hold_is_only_read() -> None:
    loaded = without_windows("llama", "cpu")
    nodes = filled(loaded, [0, 1])
    before = [held.clone() for layer in nodes.node_layers for held in layer.buffers()]
    leaf_step(loaded, nodes).feed(STEPS[0], [0] * 3)
    after = [held for layer in nodes.node_layers for held in layer.buffers()]
    assert all(torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in zip(before, after, strict=True))


@torch.inference_mode()
def test_layers_that_differ_are_refused() -> None:
    loaded = without_windows("llama", "cpu")
    nodes = filled(loaded, [0, 1])
    nodes.node_layers[1].length -= 1
    with pytest.raises(ValueError, match="hold as much"):
        leaf_step(loaded, nodes)


def test_only_what_has_been_compared_is_static() -> None:
    assert {model_type for model_type, each in ARCHITECTURES.items() if each.static} == set(STATIC)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@torch.inference_mode()
def test_a_captured_ablation_is_still_checked() -> None:
    """What is zeroed is spoilt again, in the replayed steps alone."""
    loaded = without_windows("llama", "cuda")
    cache, spoilt = filled(loaded, LEAVES), torch.zeros((), dtype=torch.float64, device="cuda")

    def steps() -> None:
        with Ablation(loaded.outputs, SETS):
            hook = loaded.outputs[1].module.register_forward_pre_hook(lambda module, args: (args[0] + spoilt,))
            step = leaf_step(loaded, cache, range(3))
            for n_fed, ids in enumerate(STEPS):
                step.feed(ids, [n_fed] * 3)
                spoilt.add_(int(step.replays > 0))
            hook.remove()

    with pytest.raises(AblationError, match="other elements entered it"):
        steps()


@pytest.mark.parametrize("model_type", ["mistral", "gemma3_text", "mixtral", "gpt2", "bloom", "cohere2"])
def test_windows_mixtures_and_unknown_models_are_left_alone(model_type: str) -> None:
    assert not can_step_by_leaf(tiny_loaded(model_type))


def test_other_attention_and_dtypes_that_a_cpu_is_slow_in_are_left_alone() -> None:
    assert can_step_by_leaf(tiny_loaded("llama"))
    eager = wrap(tiny_model("llama"))
    eager.model.set_attn_implementation("eager")
    assert not can_step_by_leaf(wrap(eager.model))
    halved = wrap(copy.deepcopy(tiny_loaded("llama").model).bfloat16())
    assert not can_step_by_leaf(halved)


class FakeGraph:
    """Remembers how often it was replayed, and computes nothing."""

    def __init__(self) -> None:
        self.replayed = 0

    def replay(self) -> None:
        self.replayed += 1


@torch.inference_mode()
def test_every_step_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a graph is captured hooks run and nothing is computed: a step more was counted than there were."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(leaf_step_module, "_captured", lambda *_: contextlib.nullcontext())
    loaded = without_windows("llama", "cpu")
    cache = filled(loaded, LEAVES)
    with Ablation(loaded.outputs, SETS) as ablation, LayerCounter(loaded, N_PROMPT) as counter:
        step = leaf_step(loaded, cache, range(3))
        step.feed(STEPS[0], [0] * 3)
        for _ in STEPS[1:]:
            step._replay()
        ablation.replayed(step.replays)
    assert isinstance(step._graph, FakeGraph)
    assert step._graph.replayed == len(STEPS) - 1
    assert (counter.steps, counter.step_rows) == (len(STEPS), len(STEPS) * 3)
    assert set(ablation.fired.values()) == {len(STEPS)}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@torch.inference_mode()
def test_replays_are_told_to_those_who_count() -> None:
    loaded = without_windows("llama", "cuda")
    cache = filled(loaded, LEAVES)
    with LayerCounter(loaded, N_PROMPT) as counter:
        step = leaf_step(loaded, cache, range(3))
        for n_fed, ids in enumerate(STEPS):
            step.feed(ids, [n_fed] * 3)
    assert counter.steps == len(STEPS)


@torch.inference_mode()
def test_single_precision_copies_what_memory_is_free_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype, free, expected in (
        (torch.float32, 2.0**40, int(leaf_step_module.COPIED * 2**40 / N_LAYERS)),
        (torch.float32, 2.0**30, node_attention.COPIED_BYTES),
        (torch.bfloat16, 2.0**40, node_attention.COPIED_BYTES),
    ):
        loaded = without_windows("llama", "cpu")
        torch.nn.Module.to(loaded.model, dtype)
        monkeypatch.setattr(leaf_step_module, "free_memory", lambda loaded, free=free: {loaded.device: free})
        assert leaf_step(loaded, filled(loaded, [0, 1]))._copied_bytes() == expected

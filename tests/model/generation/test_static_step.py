"""A step of unchanging shape against the model's plain one; captured, where there is a GPU."""

import contextlib
import copy

import pytest
import torch
from tiny_models import N_LAYERS, random_ids, tiny_config, tiny_loaded, tiny_model, wrap
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.model.generation.node_cache import NodeCache, NodeLayer
from harness.model.generation.static_step import PLAIN_STEPS, StaticStep, _attend, can_be_static
from harness.model.intervention.ablation import Ablation
from harness.model.loading.architectures import ARCHITECTURES
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance.measures import LayerCounter

PROMPT = random_ids(20, seed=2)
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


def filled(loaded: LoadedModel) -> NodeCache:
    """A cache that three rows share a prompt in, with garbage where nothing is held yet."""
    cache = NodeCache([NodeLayer(len(PROMPT) + len(STEPS)) for _ in range(N_LAYERS)])
    ids = torch.tensor([PROMPT] * 3, device=loaded.device)
    loaded.model(input_ids=ids, past_key_values=cache, use_cache=True)
    for layer in cache.node_layers:
        for held in layer.buffers():
            held[:, :, layer.length :] = float("nan")
    return cache


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model_type", STATIC)
@torch.inference_mode()
def test_steps_are_the_models_own(model_type: str, device: str) -> None:
    loaded = without_windows(model_type, device)
    assert can_be_static(loaded)
    plain = filled(loaded)
    with Ablation(loaded.outputs, SETS) as expected_ablation:
        expected = [
            loaded.model(input_ids=torch.tensor(ids, device=device), past_key_values=plain).logits for ids in STEPS
        ]
    cache = filled(loaded)
    with Ablation(loaded.outputs, SETS) as ablation:
        step = StaticStep(loaded, cache)
        for ids, logits in zip(STEPS, expected, strict=True):
            torch.testing.assert_close(step.feed(ids), logits, rtol=1e-10, atol=1e-10)
        ablation.replayed(step.replays)
    assert ablation.fired == expected_ablation.fired
    assert step.replays == (len(STEPS) - PLAIN_STEPS - 1 if device == "cuda" else 0)
    assert loaded.model.config._attn_implementation == "sdpa"


def test_only_what_has_been_compared_is_static() -> None:
    assert {model_type for model_type, each in ARCHITECTURES.items() if each.static} == set(STATIC)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@torch.inference_mode()
def test_a_captured_ablation_is_still_checked() -> None:
    """What is zeroed is spoilt again, in the replayed steps alone."""
    loaded = without_windows("llama", "cuda")
    cache, spoilt = filled(loaded), torch.zeros((), dtype=torch.float64, device="cuda")

    def steps() -> None:
        with Ablation(loaded.outputs, SETS):
            hook = loaded.outputs[1].module.register_forward_pre_hook(lambda module, args: (args[0] + spoilt,))
            step = StaticStep(loaded, cache)
            for ids in STEPS:
                step.feed(ids)
                spoilt.add_(int(step.replays > 0))
            hook.remove()

    with pytest.raises(AblationError, match="other elements entered it"):
        steps()


@pytest.mark.parametrize("model_type", ["mistral", "gemma3_text", "mixtral", "gpt2", "bloom", "cohere2"])
def test_windows_mixtures_and_unknown_models_are_left_alone(model_type: str) -> None:
    assert not can_be_static(tiny_loaded(model_type))


def test_other_attention_and_several_devices_are_left_alone() -> None:
    assert can_be_static(tiny_loaded("llama"))
    eager = wrap(tiny_model("llama"))
    eager.model.set_attn_implementation("eager")
    assert not can_be_static(wrap(eager.model))
    spread = wrap(copy.deepcopy(tiny_loaded("llama").model))
    spread.model.get_submodule("lm_head").to("meta")
    assert not can_be_static(spread)


@pytest.mark.parametrize("shape", [(1, 4, 4, 8), (3, 8, 2, 16)], ids=str)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_two_parts_are_one_attention(shape: tuple[int, int, int, int], device: str, dtype: torch.dtype) -> None:
    """Against torch's own over all places with a mask, keys copied for each head."""
    rows, n_heads, key_heads, width = shape
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(rows, n_heads, 1, width, generator=generator, dtype=torch.float64)
    key, value = (torch.randn(rows, key_heads, 40, width, generator=generator, dtype=torch.float64) for _ in range(2))
    key[:, :, :30] *= 3
    query, key, value = (each.to(device, dtype) for each in (query, key, value))
    mask = torch.arange(30, 40, device=device) <= 34
    attended, _ = _attend(torch.nn.Identity(), query, key, value, mask[None, None, None], scaling=0.3)
    all_keys, all_values = (each.double().repeat_interleave(n_heads // key_heads, dim=1) for each in (key, value))
    seen = torch.arange(40, device=device)[None, None, None] <= 34
    expected = scaled_dot_product_attention(query.double(), all_keys, all_values, attn_mask=seen, scale=0.3)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-2
    torch.testing.assert_close(attended.double(), expected.transpose(1, 2), rtol=tolerance, atol=tolerance)


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
    monkeypatch.setattr(torch.cuda, "graph", contextlib.nullcontext)
    loaded = without_windows("llama", "cpu")
    cache = filled(loaded)
    with Ablation(loaded.outputs, SETS) as ablation, LayerCounter(loaded, len(PROMPT)) as counter:
        step = StaticStep(loaded, cache)
        step.feed(STEPS[0])
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
    cache = filled(loaded)
    with LayerCounter(loaded, len(PROMPT)) as counter:
        step = StaticStep(loaded, cache)
        for ids in STEPS:
            step.feed(ids)
    assert counter.steps == len(STEPS)

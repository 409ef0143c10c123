"""A blueprint says what will be loaded; and what is refused before anything is."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import (
    HEAD_DIM,
    MODEL_TYPES,
    N_HEADS,
    N_LAYERS,
    REPRESENTATIVES,
    WINDOW,
    drawn,
    load,
    opened,
    random_ids,
    save_checkpoint,
    tiny_config,
    tiny_loaded,
    tiny_model,
)
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from harness.errors import ModelError
from harness.experiment.cost import LayerSize, single_flops
from harness.model.identification.method import AttentionReader
from harness.model.loading.architectures import ARCHITECTURES
from harness.model.loading.blueprints import (
    model_size,
    no_edges,
    one_by_one,
    rotates_by_length,
    usable_attention,
    window,
    windows,
)
from harness.model.performance.shapes import SHAPES

PHI = "phi = model.layers, self_attn.dense"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_it_is_what_is_loaded(model_type: str, tmp_path: Path) -> None:
    """Though there are no weights when it is drawn."""
    folder = save_checkpoint(tmp_path / "tiny", model_type)
    weights = (folder / "model.safetensors").rename(tmp_path / "aside")
    blueprint = opened(str(folder), device_map="cpu").blueprint
    weights.rename(folder / "model.safetensors")
    loaded = load(str(folder), device_map="cpu")
    assert (blueprint.shape, blueprint.attention, blueprint.dtype) == (loaded.shape, loaded.attention, loaded.dtype)
    assert (blueprint.window, blueprint.device_type) == (loaded.window, "cpu")
    assert blueprint.one_by_one == loaded.one_by_one
    assert blueprint.attention == ("eager" if model_type in ("bloom", "gemma2", "gpt_oss") else "sdpa")
    assert loaded.attention == tiny_loaded(model_type).attention


def test_as_asked(checkpoint: Path) -> None:
    blueprint = opened(str(checkpoint), dtype="bfloat16", attention="eager", device_map="cpu").blueprint
    assert (blueprint.dtype, blueprint.attention, blueprint.device_type) == ("bfloat16", "eager", "cpu")
    assert opened(str(checkpoint), device_map="cpu", quantization="8bit").blueprint.dtype == "float16"


@pytest.mark.parametrize(("declared", "dtype"), [("bfloat16", "bfloat16"), (None, "float32")])
def test_auto_is_the_configs_own_dtype(declared: str | None, dtype: str, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "tiny")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"dtype": declared}))
    assert opened(str(folder), dtype="auto").blueprint.dtype == dtype
    assert load(str(folder), dtype="auto", device_map="cpu").dtype == dtype


def test_several_processes_are_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ModelError, match=r"^WORLD_SIZE=2: several processes .* expected one, without torchrun"):
        opened(str(checkpoint))
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert opened(str(checkpoint)).blueprint.shape.n_layers == N_LAYERS


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"device_map": '{"model": '}, r"device map '{\"model\": ': .*; expected a name as 'auto', or JSON"),
        ({"dtype": "int8"}, "dtype 'int8'; expected one of auto, "),
        ({"attention": "none"}, "cannot be loaded: ValueError: "),
        ({"quantization": "2bit"}, "quantization '2bit'; expected 8bit or 4bit"),
        ({"architectures": ("llama = a, b",)}, "architectures: 'llama' is known already"),
    ],
)
def test_what_cannot_be_had(checkpoint: Path, asked: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        opened(str(checkpoint), **asked)
    assert "\n" not in str(caught.value)


def test_an_architecture_of_the_users(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "phi",
        hidden_size=32,
        intermediate_size=16,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        vocab_size=259,
    )
    folder = save_checkpoint(tmp_path / "phi")
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]  # the library's
    with pytest.raises(ModelError, match=r"model_type 'phi': .* --ablation-architectures 'phi = model.layers, self"):
        opened(str(folder))
    with pytest.raises(ModelError, match=r"PhiForCausalLM: nothing at 'model.layers.0.self_attn.o_proj'; .* of 'phi'"):
        opened(str(folder), architectures=("phi = model.layers, self_attn.o_proj",))
    blueprint = opened(str(folder), architectures=(PHI,), device_map="cpu").blueprint
    assert blueprint.one_by_one == "no test has branched the layers of phi"
    loaded = load(str(folder), architectures=(PHI,), device_map="cpu")
    assert loaded.shape == blueprint.shape
    assert [output.head_dim for output in loaded.outputs] == [8] * N_LAYERS
    assert loaded.device == torch.device("cpu")


def test_reasons() -> None:
    falcon, llama = tiny_config("falcon"), tiny_config("llama")
    falcon.alibi = True
    assert one_by_one(falcon, ARCHITECTURES["falcon"]) == "its positions are a bias made for each row of a batch"
    llama.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert (
        one_by_one(llama, ARCHITECTURES["llama"]) == "its rotary frequencies depend on how many tokens are fed at once"
    )
    bloom = ARCHITECTURES["bloom"]
    assert one_by_one(tiny_config("bloom"), bloom) == "its positions are a bias made for each row of a batch"


def test_rotation_by_length_may_differ_between_kinds_of_layers() -> None:
    config = tiny_config("gemma3_text")
    assert not rotates_by_length(config)
    config.rope_parameters["full_attention"]["rope_type"] = "longrope"
    assert rotates_by_length(config)


def test_a_soft_cap_is_never_left_out() -> None:
    """Under sdpa transformers 5.17 computed Gemma 2 without its cap, and said nothing."""
    assert usable_attention(tiny_config("gemma2"), None) == "eager"
    assert usable_attention(tiny_config("gemma2"), "flex_attention") == "flex_attention"
    assert usable_attention(tiny_config("llama"), None) is None
    assert usable_attention(tiny_config("llama"), "sdpa") == "sdpa"
    with pytest.raises(ModelError, match=r"attention 'sdpa': gemma2 soft-caps .* expected 'eager'"):
        usable_attention(tiny_config("gemma2"), "sdpa")


def test_windows() -> None:
    assert window(tiny_config("gpt2")) == window(tiny_config("llama")) == 640
    assert window(AutoConfig.for_model("bloom")) is None


def test_of_a_model_that_sees_pictures_its_language_model_counts() -> None:
    """Gemma 3 of 4B and more; its own config has none of this."""
    text = tiny_config("gemma3_text")
    text.rope_parameters["full_attention"] |= {"rope_type": "dynamic", "factor": 2.0}
    text.attn_logit_softcapping = 2.0
    config = AutoConfig.for_model("gemma3", text_config=text.to_dict())
    assert window(config) == 640
    assert rotates_by_length(config)
    assert usable_attention(config, None) == "eager"


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_windows_are_as_far_as_each_layer_looks(model_type: str) -> None:
    """Measured: how many positions the last of 2 x `WINDOW` tokens gives any weight."""
    loaded, n_tokens = tiny_loaded(model_type), 2 * WINDOW
    weights = AttentionReader(loaded, n_tokens).read(random_ids(n_tokens), lambda layer: layer[:, -1:])
    seen = (weights.wanted[:, :, -1] > 0).any(dim=1).sum(dim=1).tolist()
    declared = windows(loaded.model.config, N_LAYERS)
    assert [n_tokens if each is None else each for each in declared] == seen


def test_only_some_architectures_cannot_lose_edges() -> None:
    said = {model_type: no_edges(tiny_config(model_type), ARCHITECTURES[model_type]) for model_type in MODEL_TYPES}
    assert {model_type for model_type, reason in said.items() if reason} == {"bloom", "falcon"}


HIDDEN, INNER, KEY_HEADS = 24, 32, 2


def test_a_tiny_llama_by_hand() -> None:
    size = model_size(tiny_loaded("llama").model)
    query, key = HIDDEN * N_HEADS * HEAD_DIM, HIDDEN * KEY_HEADS * HEAD_DIM
    attention, rest = query + 2 * key, query + 3 * HIDDEN * INNER
    layer = LayerSize(attention, rest, width=N_HEADS * HEAD_DIM, cached=2 * 2 * 8, held=attention + rest + 2 * HIDDEN)
    assert size.layers == (layer,) * N_LAYERS
    assert size.bytes_per_number == 4
    assert size.n_weights == sum(weight.numel() for weight in tiny_loaded("llama").model.parameters())


def test_of_a_mixture_a_token_meets_the_experts_that_it_is_sent_to() -> None:
    """2 of 4 experts: half of their weights, and all of the router's."""
    model = tiny_loaded("mixtral").model
    layer = model.get_submodule("model.layers.0")
    experts = sum(weight.numel() for name, weight in layer.named_parameters() if ".experts." in name)
    others = sum(
        weight.numel() for name, weight in layer.named_parameters() if ".experts." not in name and weight.dim() > 1
    )
    first = model_size(model).layers[0]
    assert first.attention + first.rest == others + experts // 2
    assert first.held == sum(weight.numel() for weight in layer.parameters())


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "qwen3", "opt"])
def test_operations_are_those_that_torch_counts(model_type: str) -> None:
    """Torch counts the whole square of attention where half is needed, and the head over the vocabulary."""
    model, n = tiny_model(model_type), 40
    model.set_attn_implementation("eager")  # torch does not count a CPU's fused attention
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=torch.tensor([random_ids(n)]), use_cache=False, logits_to_keep=1)
    size = model_size(model)
    square = sum(2 * layer.width * n * n for layer in size.layers)
    unembedding = 2 * model.config.vocab_size * model.get_submodule("lm_head").get_parameter("weight").shape[1]
    assert counter.get_total_flops() == single_flops(size, n) + square + unembedding


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_a_config_is_enough(model_type: str) -> None:
    config = tiny_config(model_type)
    assert model_size(drawn(config), bytes_per_number=4.0) == model_size(tiny_loaded(model_type).model)


@pytest.mark.parametrize(
    ("name", "billions", "cached"), [("llama-3-8b", 8.03, 65_536 * 2), ("llama-3.3-70b", 70.55, 163_840 * 2)]
)
def test_true_shapes(name: str, billions: float, cached: int) -> None:
    """Meta's own numbers of parameters; keys and values of 8 heads of 128 in each layer, in two bytes."""
    size = model_size(drawn(SHAPES[name]), bytes_per_number=2.0)
    assert size.n_weights / 1e9 == pytest.approx(billions, abs=0.005)
    assert size.cached_bytes == cached

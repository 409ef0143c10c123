"""A blueprint says what will be loaded; and what is refused before anything is."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import MODEL_TYPES, N_HEADS, N_LAYERS, load, opened, save_checkpoint, tiny_loaded
from transformers import AutoConfig, AutoModelForCausalLM

from harness.errors import ModelError
from harness.model.loading.traits import one_by_one

PHI = "phi = model.layers, self_attn.dense"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_it_is_what_is_loaded(model_type: str, tmp_path: Path) -> None:
    """Though there are no weights when it is drawn."""
    folder = save_checkpoint(tmp_path / "tiny", model_type)
    weights = (folder / "model.safetensors").rename(tmp_path / "aside")
    blueprint = opened(str(folder), device_map="cpu").blueprint
    weights.rename(folder / "model.safetensors")
    loaded = load(str(folder), device_map="cpu")
    assert (blueprint.shape, blueprint.attention, blueprint.dtype) == (loaded.shape, loaded.attention, loaded.dtype)
    assert (blueprint.window, blueprint.device_type) == (loaded.window, "cpu")
    assert blueprint.one_by_one == one_by_one(loaded.model.config)
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
    with pytest.raises(ModelError, match=r"model_type 'phi': .* ablation_architectures = phi = model.layers, self"):
        opened(str(folder))
    with pytest.raises(ModelError, match=r"PhiForCausalLM: nothing at 'model.layers.0.self_attn.o_proj'; .* of 'phi'"):
        opened(str(folder), architectures=("phi = model.layers, self_attn.o_proj",))
    blueprint = opened(str(folder), architectures=(PHI,), device_map="cpu").blueprint
    assert blueprint.one_by_one == "no test has branched the layers of phi"
    loaded = load(str(folder), architectures=(PHI,), device_map="cpu")
    assert loaded.shape == blueprint.shape
    assert [output.head_dim for output in loaded.outputs] == [8] * N_LAYERS
    assert loaded.device == torch.device("cpu")

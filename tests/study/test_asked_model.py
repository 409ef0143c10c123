"""Settings become arguments of the model floor: each of them, and a settled revision."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import save_checkpoint
from transformers import AutoConfig, AutoModelForCausalLM

from harness.demo import MODEL_FOLDER
from harness.errors import ModelError
from harness.model.loading.checkpoints import digest
from harness.settings import Settings
from harness.study.asked_model import fingerprints, load_model, load_tokenizer, model_place, read_blueprint

PHI = ("phi = model.layers, self_attn.dense",)


@pytest.fixture(scope="module")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model outside the table, with the tokenizer of the others."""
    folder = save_checkpoint(tmp_path_factory.mktemp("models") / "phi")
    sizes = {"hidden_size": 32, "intermediate_size": 16, "vocab_size": 259}
    config = AutoConfig.for_model("phi", num_hidden_layers=2, num_attention_heads=4, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]  # the library's
    return folder


def test_as_the_settings_say(phi: Path) -> None:
    settings = Settings(model=str(phi), architectures=PHI, dtype="bfloat16", attn="eager", device_map='{"": "cpu"}')
    blueprint, loaded = read_blueprint(settings), load_model(settings, None)
    assert (blueprint.dtype, blueprint.attention) == (loaded.dtype, loaded.attention) == ("bfloat16", "eager")
    assert blueprint.shape == loaded.shape
    assert loaded.shape.id == "phi"
    assert load_tokenizer(settings, None).decode([65]) == loaded.tokenizer.decode([65])
    with pytest.raises(ModelError, match="model_type 'phi'"):
        load_model(replace(settings, architectures=()), None)


def test_a_revision_reaches_every_question(phi: Path) -> None:
    settings = Settings(model=str(phi), architectures=PHI)
    for ask in (load_model, load_tokenizer, fingerprints):
        with pytest.raises(ModelError, match="revision 'abc' of a folder"):
            ask(settings, "abc")
    with pytest.raises(ModelError, match="revision 'v1' of a folder"):
        read_blueprint(replace(settings, revision="v1"))


def test_an_adapter_is_checked_and_its_content_known(phi: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs the extra 'lora'")
    settings = Settings(model=str(phi), architectures=PHI, adapter=tmp_path)
    with pytest.raises(ModelError, match=r"holds no adapter_config.json"):
        read_blueprint(settings)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"one")
    read_blueprint(settings)
    one = fingerprints(settings, None)
    assert one == (digest(phi), digest(tmp_path))
    assert fingerprints(replace(settings, adapter=None), None) == (digest(phi), None)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"another")
    assert fingerprints(settings, None) != one


def test_quantised(phi: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra 'quant'")
    settings = Settings(model=str(phi), architectures=PHI, quantization="8bit", device_map="cpu")
    assert read_blueprint(settings).dtype == "float16"
    assert load_model(settings, None).model.is_loaded_in_8bit


def test_the_demo() -> None:
    assert model_place(Settings()) == str(MODEL_FOLDER)
    assert model_place(Settings(model="owner/name")) == "owner/name"

"""Models loaded from checkpoints made here: as asked, where there is room, with every weight in its place."""

import gc
import json
import tempfile
from pathlib import Path

import pytest
import torch
from as_the_plain_loop import assert_same
from tiny_models import (
    END_TOKEN_IDS,
    HEAD_DIM,
    N_HEADS,
    N_LAYERS,
    cut_weights,
    load,
    random_ids,
    random_prompt,
    save_checkpoint,
    tiny_model,
)
from transformers.utils import logging as transformers_logging

from harness.errors import ModelError
from harness.experiment.heads import Head, ModelShape
from harness.model.generation import engine, reference
from harness.model.intervention.ablation import Ablation
from harness.model.loading.loaded_model import check_fit, check_window


def test_a_folder_without_the_network(checkpoint: Path) -> None:
    loaded = load(str(checkpoint), device_map="cpu")
    assert loaded.shape == ModelShape(N_LAYERS, N_HEADS, HEAD_DIM, "tiny-llama", None)
    assert loaded.end_token_ids == frozenset(END_TOKEN_IDS)
    assert (loaded.attention, loaded.dtype, loaded.window) == ("sdpa", "float32", 640)
    assert loaded.device == loaded.model.device == torch.device("cpu")
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.tokenizer.decode(loaded.tokenizer("Ünïcode 7").input_ids) == "Ünïcode 7"
    ids = torch.tensor([random_ids(9)])
    assert torch.equal(loaded.model(ids).logits, tiny_model("llama")(ids).logits)


def test_the_gpu_if_there_is_one(checkpoint: Path) -> None:
    assert load(str(checkpoint)).device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_dtype_as_asked(checkpoint: Path) -> None:
    for asked in ("bfloat16", "float64"):
        loaded = load(str(checkpoint), dtype=asked, device_map="cpu")
        assert loaded.dtype == asked
        assert loaded.model.dtype == getattr(torch, asked)
    with pytest.raises(ModelError, match=r"dtype 'int8'; expected one of auto, bfloat16"):
        load(str(checkpoint), dtype="int8")


def test_dtype_by_default_on_a_cpu_is_float32(copy: Path) -> None:
    tiny_model("llama").bfloat16().save_pretrained(copy)
    assert load(str(copy), device_map="cpu").dtype == "float32"
    assert load(str(copy), device_map="cpu", dtype="auto").dtype == "bfloat16"


def test_attention_as_asked_and_where_sdpa_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    assert load(str(checkpoint), attention="eager").attention == "eager"
    gemma = str(save_checkpoint(tmp_path / "gemma", "gemma2"))
    assert load(gemma).attention == "eager"
    with pytest.raises(ModelError, match=r"attention 'sdpa': gemma2 soft-caps .* expected 'eager'"):
        load(gemma, attention="sdpa")
    with pytest.raises(ModelError, match=r"cannot be loaded: ValueError: .*no_such_attention"):
        load(str(checkpoint), attention="no_such_attention")


def test_quiet_and_everything_set_back(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load(str(checkpoint))
    assert capfd.readouterr() == ("", "")
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


def test_window(checkpoint: Path) -> None:
    loaded = load(str(checkpoint))
    check_window(loaded, "a/b", 640)
    with pytest.raises(ModelError, match="a/b: 641 tokens, new ones included; expected at most 640"):
        check_window(loaded, "a/b", 641)


ON_DISK = json.dumps(
    {
        **dict.fromkeys(("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb"), "cpu"),
        **dict.fromkeys(("model.layers.1", "model.layers.2", "lm_head"), "disk"),
    }
)


@pytest.mark.parametrize("model_type", ["llama", "mixtral", "deepseek_v3", "gpt_oss"])
@pytest.mark.parametrize("halved", [False, True])
def test_weights_left_on_disk(model_type: str, halved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as they lie, or put into a folder of their own where the library stacks experts or changes their dtype."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = save_checkpoint(tmp_path / "tiny", model_type)
    if halved:
        tiny_model(model_type).bfloat16().save_pretrained(folder)
    resident = load(str(folder), device_map="cpu")
    loaded = load(str(folder), device_map=ON_DISK)
    assert sum(parameter.is_meta for parameter in loaded.model.parameters()) > N_LAYERS
    assert loaded.device.type == "cpu"
    assert any(tmp_path.glob("retrieval-heads-*"))
    prompt, heads = random_prompt(20), frozenset({Head(0, 1), Head(2, 0), Head(2, 3)})
    for run_row in (engine.run_row, reference.run_row):
        got, expected = (
            run_row(each, prompt, [frozenset(), heads, frozenset({Head(1, 2)})], None, max_new_tokens=4)
            for each in (loaded, resident)
        )
        assert_same(got, expected, 1e-5)  # what comes and goes is not fused
    ids = torch.tensor([random_ids(20)])
    with torch.inference_mode(), Ablation(loaded.outputs, [heads]):
        ablated = loaded.model(ids).logits
    with torch.inference_mode():
        assert torch.equal(ablated, cut_weights(resident.model, heads)(ids).logits)
    del loaded
    gc.collect()
    assert not list(tmp_path.glob("retrieval-heads-*"))


def test_devices_that_are_full(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` puts on disk what memory does not hold."""
    monkeypatch.setattr("transformers.integrations.accelerate.get_max_memory", lambda *_: {"cpu": 60_000})
    loaded = load(str(checkpoint), device_map="auto")
    assert any(parameter.is_meta for parameter in loaded.model.parameters())
    ids = torch.tensor([random_ids(9)])
    assert torch.equal(loaded.model(ids).logits, tiny_model("llama")(ids).logits)
    monkeypatch.undo()
    whole = load(str(checkpoint), device_map="auto")
    assert not any(parameter.is_meta for parameter in whole.model.parameters())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(checkpoint: Path, dtype: str) -> None:
    loaded = load(str(checkpoint), dtype=dtype, device_map="cpu")
    ids, heads = torch.tensor([random_ids(20)]), frozenset({Head(0, 1), Head(2, 0), Head(2, 3)})
    with torch.inference_mode(), Ablation(loaded.outputs, [heads]):
        ablated = loaded.model(ids).logits
    assert ablated.dtype == getattr(torch, dtype)
    with torch.inference_mode():
        assert torch.equal(ablated, cut_weights(loaded.model, heads)(ids).logits)


def test_a_gpu_that_is_not_there(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"^device map 'cuda:1': torch sees no GPU here; expected 'auto' or 'cpu'$"):
        load(str(checkpoint), device_map="cuda:1")


def found(*unexpected: str) -> dict[str, set[str]]:
    return {"missing_keys": set(), "mismatched_keys": set(), "unexpected_keys": set(unexpected)}


@pytest.mark.parametrize("key", ["model.layers.3.mlp.up.weight", "layers.0.self_attn.q_proj.bias"])
def test_weights_that_the_model_has_no_place_for(key: str) -> None:
    """With the base model's name before them, or saved from it without."""
    with pytest.raises(ModelError, match=f"'me': 1 weights of its layers have no place in its config, first {key}"):
        check_fit("me", found("lm_head.scale", key), layers="model.layers")


@pytest.mark.parametrize(
    "key",
    ["vision_tower.encoder.layers.0.mlp.weight", "model.layers.0.attn.masked_bias", "model.layers.4.mlp.weight"],
)
def test_what_a_checkpoint_may_hold_besides(key: str) -> None:
    """A tower for pictures, a buffer of old, and layers behind the last that predict further tokens."""
    check_fit("me", found(key), layers="model.layers", optional_from=4)


def test_which_misfit_is_named() -> None:
    report = found("model.layers.7.weight") | {"mismatched_keys": {("b", (2, 3), (2, 4)), ("a", (1,), (2,))}}
    with pytest.raises(
        ModelError, match=r"'me': 2 weights have another shape than by its config, first a: \(1,\); exp"
    ):
        check_fit("me", report, layers="model.layers")
    with pytest.raises(ModelError, match=r"'me': 1 weights are missing from its files, first c; expected all"):
        check_fit("me", report | {"missing_keys": {"c"}}, layers="model.layers")

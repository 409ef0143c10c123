"""Weights in 8 and 4 bits: what is zeroed is exact, and engine and plain loop agree; and what is refused."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from tiny_models import N_HEADS, N_LAYERS, random_ids, random_prompt, save_checkpoint, tiny_config
from transformers import AutoModelForCausalLM, PreTrainedModel

from harness.errors import AblationError, ModelError
from harness.experiment.heads import Head
from harness.model.generation import engine, reference
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.surgery import can_be_cut, heads_forgotten, weights_cut
from harness.model.loading import quantization
from harness.model.loading.loaded_model import LoadedModel, load_model, read_blueprint
from harness.model.loading.model_size import config_size

pytest.importorskip("bitsandbytes", reason="needs the extra 'quant'")

WIDTH = 16
HEADS = frozenset({Head(0, 1), Head(2, 0), Head(2, 3)})
IDS = torch.tensor([random_ids(20)])


def save_wide_checkpoint(folder: Path) -> Path:
    """Some kernels for CPUs take widths that are multiples of 64 only."""
    config = tiny_config("llama")
    config.hidden_size = config.intermediate_size = N_HEADS * WIDTH
    config.head_dim = WIDTH
    save_checkpoint(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]  # the library's
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_wide_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


@pytest.fixture(scope="module", params=["4bit", "8bit"])
def loaded(request: pytest.FixtureRequest, checkpoint: Path) -> LoadedModel:
    return load_model(str(checkpoint), device_map="cpu", quantization=request.param)


@torch.inference_mode()
def logits_of(model: PreTrainedModel) -> torch.Tensor:
    """Prefill and one more token."""
    first = model(input_ids=IDS[:, :-1], use_cache=True)
    second = model(input_ids=IDS[:, -1:], past_key_values=first.past_key_values, use_cache=True)
    return torch.cat([first.logits, second.logits], dim=1)


def test_projections_are_quantised(loaded: LoadedModel) -> None:
    assert {str(output.module.weight.dtype) for output in loaded.outputs} <= {"torch.int8", "torch.uint8"}
    assert [output.head_dim for output in loaded.outputs] == [WIDTH] * N_LAYERS


def test_equal_to_a_projection_that_forgets_the_heads(loaded: LoadedModel) -> None:
    before = logits_of(loaded.model)
    with Ablation(loaded.outputs, [HEADS]):
        ablated = logits_of(loaded.model)
    with heads_forgotten(loaded.outputs, [HEADS]):
        assert torch.equal(ablated, logits_of(loaded.model))
    assert not torch.equal(ablated, before)
    assert torch.equal(logits_of(loaded.model), before)


def test_the_engine_is_the_plain_loop(loaded: LoadedModel) -> None:
    sets = [frozenset[Head](), HEADS, frozenset({Head(1, 2)})]
    prompt = random_prompt(20)
    got = engine.run_row(loaded, prompt, sets, None, max_new_tokens=4)
    expected = reference.run_row(loaded, prompt, sets, None, max_new_tokens=4)
    assert [each.all_ids for each in got] == [each.all_ids for each in expected]
    for one, other in zip(got, expected, strict=True):
        # some kernels for CPUs compute in bfloat16 whatever they are given
        assert one.gold_logprob == pytest.approx(other.gold_logprob, rel=1e-2)


def test_8_bits_are_computed_one_by_one(checkpoint: Path) -> None:
    reason = "how 8-bit products are rounded depends on what is computed together"
    assert read_blueprint(str(checkpoint), quantization="8bit").one_by_one == reason
    assert read_blueprint(str(checkpoint), quantization="4bit").one_by_one is None


def test_weights_of_packed_numbers_are_not_cut(loaded: LoadedModel) -> None:
    assert not can_be_cut(loaded.outputs)
    with pytest.raises(AblationError, match="its weight is quantised"), weights_cut(loaded.outputs, HEADS):
        pass


def test_a_checkpoint_that_is_quantised_already(checkpoint: Path, tmp_path: Path) -> None:
    """It loads as it is, and is not quantised again."""
    folder = save_wide_checkpoint(tmp_path / "packed")
    in_4_bits = load_model(str(checkpoint), device_map="cpu", quantization="4bit")
    in_4_bits.model.save_pretrained(folder)
    again = load_model(str(folder), device_map="cpu")
    assert torch.equal(logits_of(again.model), logits_of(in_4_bits.model))
    with pytest.raises(ModelError, match="quantization '8bit': the checkpoint is quantised already"):
        load_model(str(folder), quantization="8bit")
    config = folder / "config.json"
    content = json.loads(config.read_text())
    content["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    config.write_text(json.dumps(content))
    assert read_blueprint(str(folder)).one_by_one is not None


def test_widths_that_the_kernels_do_not_take(tmp_path: Path) -> None:
    """On a CPU; else what they say would come out of the middle of a run."""
    narrow = save_checkpoint(tmp_path / "narrow")
    load_model(str(narrow), device_map="cpu", quantization="8bit")
    message = (
        r"narrow': its quantised weights cannot be computed with here: RuntimeError: .*; expected widths that the kern"
    )
    with pytest.raises(ModelError, match=message) as caught:
        load_model(str(narrow), device_map="cpu", quantization="4bit")
    assert "\n" not in str(caught.value)


def test_a_package_that_is_not_installed(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(quantization, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(ModelError, match=r"'4bit': the package bitsandbytes is not installed; .*heads\[quant\]'$"):
        load_model(str(checkpoint), quantization="4bit")


def test_its_size_is_told_before_it_is_loaded(loaded: LoadedModel) -> None:
    """Scales, which the library keeps beside the weights, are counted for 4 bits; in 8 there is one a row."""
    size = config_size(loaded.model.config, bytes_per_number=float(loaded.model.dtype.itemsize))
    held = sum(weight.nbytes for weight in loaded.model.parameters())
    scales = size.n_quantized * 4 / 64 if size.bytes_per_quantized < 1 else 0
    assert 0 < size.n_quantized < size.n_weights
    assert size.weight_bytes == held + scales

"""LoRA around the projections: ablation against surgery that cuts the adapter too; and what is refused.

Weights in 8 and 4 bits: what is zeroed is exact, and engine and plain loop agree; and what is refused.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    HEAD_DIM,
    N_HEADS,
    N_LAYERS,
    cut_weights,
    load,
    opened,
    random_ids,
    random_prompt,
    save_checkpoint,
    tiny_config,
    tiny_model,
    wrap,
)
from transformers import AutoModelForCausalLM, PreTrainedModel

from harness.errors import AblationError, ModelError
from harness.experiment.heads import Head
from harness.model.generation import engine, reference
from harness.model.identification.direct_path import logit_directions, output_rows
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.surgery import can_be_cut, heads_forgotten, weights_cut
from harness.model.loading import altered_weights as adapters
from harness.model.loading import altered_weights as quantization
from harness.model.loading.altered_weights import check_adapter
from harness.model.loading.architectures import base_layer
from harness.model.loading.loaded_model import LoadedModel

peft = pytest.importorskip("peft", reason="needs the extra 'lora'")
# peft asks this of any model that it wraps
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

HEADS = frozenset({Head(0, 1), Head(2, 0), Head(2, 3)})
IDS = torch.tensor([random_ids(20)])
TARGETS = {"llama": ["o_proj", "q_proj"], "gpt2": ["c_proj"], "qwen3_moe": ["o_proj"], "gpt_neox": ["dense"]}


def save_adapter(folder: Path, model_type: str, **settings: object) -> Path:
    """A LoRA of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = peft.LoraConfig(
            r=3,
            target_modules=TARGETS[model_type],
            init_lora_weights=False,
            fan_in_fan_out=model_type == "gpt2",
            **settings,
        )
        peft.get_peft_model(tiny_model(model_type), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """A checkpoint and an adapter of an architecture, made once."""
    root = tmp_path_factory.mktemp("adapters")

    def of(model_type: str) -> tuple[Path, Path]:
        base, adapter = root / model_type, root / f"{model_type}-lora"
        if not base.exists():
            save_checkpoint(base, model_type)
            save_adapter(adapter, model_type)
        return base, adapter

    return of


Places = Callable[[str], tuple[Path, Path]]


def adapted(places: Places, model_type: str = "llama") -> LoadedModel:
    base, adapter = places(model_type)
    return load(str(base), device_map="cpu", adapter=adapter)


@torch.inference_mode()
def logits_of(model: PreTrainedModel) -> torch.Tensor:
    """Prefill and one more token."""
    first = model(input_ids=IDS[:, :-1], use_cache=True)
    second = model(input_ids=IDS[:, -1:], past_key_values=first.past_key_values, use_cache=True)
    return torch.cat([first.logits, second.logits], dim=1)


@pytest.mark.parametrize("model_type", TARGETS)
def test_equal_to_surgery_on_weights_and_adapter(model_type: str, places: Places) -> None:
    loaded = adapted(places, model_type)
    before = logits_of(loaded.model)
    with Ablation(loaded.outputs, [HEADS]):
        ablated = logits_of(loaded.model)
    with weights_cut(loaded.outputs, HEADS):
        assert torch.equal(ablated, logits_of(loaded.model))
    assert torch.equal(logits_of(loaded.model), before)
    assert not torch.equal(ablated, before)
    assert [output.head_dim for output in loaded.outputs] == [HEAD_DIM] * N_LAYERS


def test_the_adapters_own_columns_matter(places: Places) -> None:
    """Cutting the base alone is another model."""
    loaded = adapted(places)
    with Ablation(loaded.outputs, [HEADS]):
        ablated = logits_of(loaded.model)
    for output in loaded.outputs:
        for head in HEADS:
            if head.layer == output.layer:
                columns = slice(head.head * HEAD_DIM, (head.head + 1) * HEAD_DIM)
                cast(torch.Tensor, base_layer(output.module).weight)[:, columns] = 0
    assert (logits_of(loaded.model) - ablated).abs().max() > 1e-3


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_equal_to_the_merged_weights(model_type: str, places: Places) -> None:
    base, adapter = places(model_type)
    whole = load(str(base), device_map="cpu").model
    merged = peft.PeftModel.from_pretrained(whole, adapter).merge_and_unload()
    loaded = adapted(places, model_type)
    assert (logits_of(loaded.model) - logits_of(tiny_model(model_type))).abs().max() > 0.1
    torch.testing.assert_close(logits_of(loaded.model), logits_of(merged), rtol=0, atol=1e-4)
    with Ablation(loaded.outputs, [HEADS]):
        ablated = logits_of(loaded.model)
    torch.testing.assert_close(ablated, logits_of(cut_weights(merged, HEADS)), rtol=0, atol=1e-4)


def test_heads_write_into_logits_through_the_adapter_too(places: Places) -> None:
    base, adapter = places("llama")
    merged = peft.PeftModel.from_pretrained(load(str(base), device_map="cpu").model, adapter).merge_and_unload()
    found, expected = (logit_directions(loaded, None, 65) for loaded in (adapted(places), wrap(merged)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_engine_is_the_plain_loop(places: Places) -> None:
    loaded = adapted(places)
    sets = [frozenset[Head](), HEADS, frozenset({Head(1, 2)})]
    got = engine.run_row(loaded, random_prompt(20), sets, None, max_new_tokens=4)
    expected = reference.run_row(loaded, random_prompt(20), sets, None, max_new_tokens=4)
    assert [each.all_ids for each in got] == [each.all_ids for each in expected]
    for one, other in zip(got, expected, strict=True):
        assert one.gold_logprob == pytest.approx(other.gold_logprob, abs=1e-4)


def test_nothing_learns(places: Places) -> None:
    loaded = adapted(places)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_parts_elsewhere(places: Places) -> None:
    base, adapter = places("llama")
    device_map = {"model.embed_tokens": "cpu", "model.layers": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}
    with pytest.raises(ModelError, match="parts of the model are offloaded; expected all of it on devices"):
        load(str(base), device_map=json.dumps(device_map | {"lm_head": "disk"}), adapter=adapter)


class TestRefused:
    @pytest.fixture
    def adapter(self, places: Places, tmp_path: Path) -> Path:
        """A copy to spoil."""
        for file in places("llama")[1].iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        return tmp_path

    def configure(self, adapter: Path, **values: object) -> None:
        file = adapter / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    def test_no_adapter(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"none: holds no adapter_config.json; expected the folder of a LoRA"):
            check_adapter(tmp_path / "none")

    def test_no_weights(self, adapter: Path) -> None:
        (adapter / "adapter_model.safetensors").unlink()
        with pytest.raises(ModelError, match=r"holds no adapter_model.safetensors"):
            check_adapter(adapter)

    @pytest.mark.parametrize("content", ["{", "[]"])
    def test_a_broken_config(self, adapter: Path, content: str) -> None:
        (adapter / "adapter_config.json").write_text(content)
        with pytest.raises(ModelError, match=r"adapter_config.json: .*; expected JSON") as caught:
            check_adapter(adapter)
        assert "\n" not in str(caught.value)

    def test_another_kind(self, adapter: Path) -> None:
        self.configure(adapter, peft_type="IA3")
        with pytest.raises(ModelError, match="IA3; expected plain LoRA; merge it"):
            check_adapter(adapter)
        self.configure(adapter, peft_type="LORA", alora_invocation_tokens=[5])
        with pytest.raises(ModelError, match="LORA with alora_invocation_tokens; expected plain LoRA; merge it"):
            check_adapter(adapter)

    def test_dora(self, tmp_path: Path) -> None:
        """Its magnitudes are left out, without a word, by the loader of transformers 5.23."""
        adapter = save_adapter(tmp_path / "dora", "llama", use_dora=True)
        with pytest.raises(ModelError, match="LORA with use_dora; expected plain LoRA; merge it into the weights"):
            check_adapter(adapter)

    def test_no_peft(self, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        find = importlib.util.find_spec
        monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == "peft" else find(name))
        with pytest.raises(ModelError, match=r"the package peft is not installed; .*heads\[lora\]'$"):
            check_adapter(adapter)

    def test_another_models(self, adapter: Path, places: Places) -> None:
        base, _ = places("gpt_neox")
        with pytest.raises(ModelError, match=r"gpt_neox.*: cannot be loaded: .*Target modules"):
            load(str(base), adapter=adapter)

    def test_missing_weights(self, adapter: Path, places: Places) -> None:
        """They would be random numbers."""
        weights = load_file(adapter / "adapter_model.safetensors")
        del weights[min(weights)]
        save_file(weights, adapter / "adapter_model.safetensors")
        with pytest.raises(ModelError, match=r"1 of its weights and the model's do not fit, first model.layers.0"):
            load(str(places("llama")[0]), adapter=adapter)

    def test_of_a_model_of_another_width(self, places: Places, tmp_path: Path) -> None:
        config = tiny_config("llama")
        config.hidden_size = 40
        wider = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # the library's
        peft.get_peft_model(wider, peft.LoraConfig(r=3, target_modules=["o_proj"])).save_pretrained(tmp_path)
        message = (
            r"3 of its weights and the model's do not fit, first model.layers.0.self_attn.o_proj.lora_B.default.weight"
        )
        with pytest.raises(ModelError, match=message) as caught:
            load(str(places("llama")[0]), adapter=tmp_path)
        assert "\n" not in str(caught.value)

    def test_an_adapter_in_the_models_place(self, adapter: Path) -> None:
        message = "holds an adapter; expected a whole checkpoint; name the model that it was made for, and this folder"
        with pytest.raises(ModelError, match=message):
            load(str(adapter))


pytest.importorskip("bitsandbytes", reason="needs the extra 'quant'")

WIDTH = 16
QUANTIZATION_HEADS = frozenset({Head(0, 1), Head(2, 0), Head(2, 3)})
QUANTIZATION_IDS = torch.tensor([random_ids(20)])


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
    return load(str(checkpoint), device_map="cpu", quantization=request.param)


@torch.inference_mode()
def quantization_logits_of(model: PreTrainedModel) -> torch.Tensor:
    """Prefill and one more token."""
    first = model(input_ids=QUANTIZATION_IDS[:, :-1], use_cache=True)
    second = model(input_ids=QUANTIZATION_IDS[:, -1:], past_key_values=first.past_key_values, use_cache=True)
    return torch.cat([first.logits, second.logits], dim=1)


def test_projections_are_quantised(loaded: LoadedModel) -> None:
    assert {str(output.module.weight.dtype) for output in loaded.outputs} <= {"torch.int8", "torch.uint8"}
    assert [output.head_dim for output in loaded.outputs] == [WIDTH] * N_LAYERS


def test_equal_to_a_projection_that_forgets_the_heads(loaded: LoadedModel) -> None:
    before = quantization_logits_of(loaded.model)
    with Ablation(loaded.outputs, [QUANTIZATION_HEADS]):
        ablated = quantization_logits_of(loaded.model)
    with heads_forgotten(loaded.outputs, [QUANTIZATION_HEADS]):
        assert torch.equal(ablated, quantization_logits_of(loaded.model))
    assert not torch.equal(ablated, before)
    assert torch.equal(quantization_logits_of(loaded.model), before)


@torch.inference_mode()
def test_heads_write_into_logits_through_packed_weights(loaded: LoadedModel) -> None:
    """What the projection makes of some input, read by the token's row; 8 bits round the inputs too."""
    found, row = logit_directions(loaded, None, 65), output_rows(loaded.model)[65].float()
    for output, direction in zip(loaded.outputs, found, strict=True):
        inputs = torch.randn(1, 7, WIDTH * N_HEADS, generator=torch.Generator().manual_seed(1)).to(loaded.model.dtype)
        slow = output.module(inputs)[0].float() @ row
        torch.testing.assert_close(inputs[0].float() @ direction.flatten(), slow, rtol=0, atol=0.05 * slow.abs().max())


def test_the_engine_is_the_plain_loop_of_quantization(loaded: LoadedModel) -> None:
    sets = [frozenset[Head](), QUANTIZATION_HEADS, frozenset({Head(1, 2)})]
    prompt = random_prompt(20)
    got = engine.run_row(loaded, prompt, sets, None, max_new_tokens=4)
    expected = reference.run_row(loaded, prompt, sets, None, max_new_tokens=4)
    assert [each.all_ids for each in got] == [each.all_ids for each in expected]
    for one, other in zip(got, expected, strict=True):
        # some kernels for CPUs compute in bfloat16 whatever they are given
        assert one.gold_logprob == pytest.approx(other.gold_logprob, rel=1e-2)


def test_8_bits_are_computed_one_by_one(checkpoint: Path) -> None:
    reason = "how 8-bit products are rounded depends on what is computed together"
    assert opened(str(checkpoint), quantization="8bit").blueprint.one_by_one == reason
    assert opened(str(checkpoint), quantization="4bit").blueprint.one_by_one is None


def test_weights_of_packed_numbers_are_not_cut(loaded: LoadedModel) -> None:
    assert not can_be_cut(loaded.outputs)
    with pytest.raises(AblationError, match="its weight is quantised"), weights_cut(loaded.outputs, QUANTIZATION_HEADS):
        pass


def test_a_checkpoint_that_is_quantised_already(checkpoint: Path, tmp_path: Path) -> None:
    """It loads as it is, and is not quantised again."""
    folder = save_wide_checkpoint(tmp_path / "packed")
    in_4_bits = load(str(checkpoint), device_map="cpu", quantization="4bit")
    in_4_bits.model.save_pretrained(folder)
    again = load(str(folder), device_map="cpu")
    assert torch.equal(quantization_logits_of(again.model), quantization_logits_of(in_4_bits.model))
    with pytest.raises(ModelError, match="quantization '8bit': the checkpoint is quantised already"):
        load(str(folder), quantization="8bit")
    config = folder / "config.json"
    content = json.loads(config.read_text())
    content["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    config.write_text(json.dumps(content))
    assert opened(str(folder)).blueprint.one_by_one is not None


def test_widths_that_the_kernels_do_not_take(tmp_path: Path) -> None:
    """On a CPU; else what they say would come out of the middle of a run."""
    narrow = save_checkpoint(tmp_path / "narrow")
    load(str(narrow), device_map="cpu", quantization="8bit")
    message = (
        r"narrow': its quantised weights cannot be computed with here: RuntimeError: .*; expected widths that the kern"
    )
    with pytest.raises(ModelError, match=message) as caught:
        load(str(narrow), device_map="cpu", quantization="4bit")
    assert "\n" not in str(caught.value)


def test_a_package_that_is_not_installed(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(quantization, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(ModelError, match=r"'4bit': the package bitsandbytes is not installed; .*heads\[quant\]'$"):
        load(str(checkpoint), quantization="4bit")


def test_its_size_is_told_before_it_is_loaded(loaded: LoadedModel) -> None:
    """Scales, which the library keeps beside the weights, are counted for 4 bits; in 8 there is one a row."""
    size = loaded.size
    held = sum(weight.nbytes for weight in loaded.model.parameters())
    scales = size.n_quantized * 4 / 64 if size.bytes_per_quantized < 1 else 0
    assert 0 < size.n_quantized < size.n_weights
    assert size.weight_bytes == held + scales

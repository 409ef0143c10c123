"""Checkpoints with heads cut out, loaded by plain transformers, against the hooks; and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_writing import save_gguf
from safetensors.torch import load_file
from tiny_models import (
    HEAD_DIM,
    N_HEADS,
    N_LAYERS,
    REPRESENTATIVES,
    opened,
    random_ids,
    save_checkpoint,
    tiny_loaded,
    tiny_model,
    tiny_tokenizer,
)
from transformers import AutoModelForCausalLM, PreTrainedModel

from harness.demo import MODEL_FOLDER
from harness.demo.filings import demo_rows
from harness.errors import HeadsError, ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import MeanValues
from harness.model.generation.reference import run_row
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.projection_input import ZERO, Mean, Replacement
from harness.model.loading.checkpoint import Checkpoint
from harness.model.loading.cut_checkpoint import write_cut
from harness.model.loading.loaded_model import load_model
from harness.retrieval.prompts import build_prompt
from harness.retrieval.tasks import EDGAR_TASKS

HEADS = frozenset({Head(0, 1), Head(2, 0), Head(2, 3)})
IDS = torch.tensor([random_ids(20)])
MEANS = MeanValues(np.random.default_rng(3).normal(size=(N_LAYERS, N_HEADS * HEAD_DIM)))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    """A checkpoint of an architecture in several shards, made once."""
    made: dict[str, Checkpoint] = {}

    def of(model_type: str) -> Checkpoint:
        if model_type not in made:
            folder = tmp_path_factory.mktemp(model_type)
            tiny_model(model_type).save_pretrained(folder, max_shard_size="40KB")
            tiny_tokenizer().save_pretrained(folder)
            (folder / "LICENSE").write_text("as you like")
            made[model_type] = opened(str(folder))
        return made[model_type]

    return of


def plain(folder: Path) -> PreTrainedModel:
    """By transformers alone."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model


@torch.inference_mode()
def logits_of(model: PreTrainedModel) -> torch.Tensor:
    first = model(input_ids=IDS[:, :-1], use_cache=True)
    second = model(input_ids=IDS[:, -1:], past_key_values=first.past_key_values, use_cache=True)
    return torch.cat([first.logits, second.logits], dim=1)


def hooked(model_type: str, replacement: Replacement = ZERO) -> torch.Tensor:
    loaded = tiny_loaded(model_type)
    with Ablation(loaded.outputs, [HEADS], replacement):
        return logits_of(loaded.model)


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_zeroed_heads_are_the_hooks_to_the_last_bit(
    model_type: str, source: Callable[[str], Checkpoint], tmp_path: Path
) -> None:
    checkpoint, out = source(model_type), tmp_path / "cut"
    write_cut(checkpoint, HEADS, out)
    assert torch.equal(logits_of(plain(out)), hooked(model_type))
    folder = checkpoint.source.folder
    shards = sorted(file.name for file in folder.glob("*.safetensors"))
    assert len(shards) > 1
    assert sorted(file.name for file in out.glob("*.safetensors")) == shards
    changed = set()
    for name in shards:
        before, after = load_file(folder / name), load_file(out / name)
        assert before.keys() == after.keys()
        changed |= {key for key in before if not torch.equal(before[key], after[key])}
    assert len(changed) == 2  # layers 0 and 2
    assert (out / "LICENSE").read_text() == "as you like"
    assert not [*tmp_path.glob(".*")]


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gpt_oss", "gemma3"])
def test_means_as_a_bias_are_the_hooks(model_type: str, source: Callable[[str], Checkpoint], tmp_path: Path) -> None:
    """Llama's and Gemma's projections get biases, in the shards of their weights; the others have some."""
    write_cut(source(model_type), HEADS, tmp_path / "cut", means=MEANS)
    torch.testing.assert_close(logits_of(plain(tmp_path / "cut")), hooked(model_type, Mean(MEANS)), rtol=0, atol=2e-5)
    config = json.loads((tmp_path / "cut" / "config.json").read_text())
    assert config["ablated_heads"]["mode"] == "mean"
    assert config.get("text_config", config).get("attention_bias", False) == (model_type != "gpt2")
    index = json.loads((tmp_path / "cut" / "model.safetensors.index.json").read_text())
    sizes = {
        name: tensor.nbytes
        for file in (tmp_path / "cut").glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
    assert index["weight_map"].keys() == sizes.keys()
    assert index["metadata"]["total_size"] == sum(sizes.values())


def test_config_and_card_say_what_was_cut(tmp_path: Path) -> None:
    checkpoint = opened(str(save_checkpoint(tmp_path / "tiny")))
    write_cut(checkpoint, HEADS, tmp_path / "cut")
    config = json.loads((tmp_path / "cut" / "config.json").read_text())
    assert config["ablated_heads"] == {
        "mode": "zero",
        "heads": [[0, 1], [2, 0], [2, 3]],
        "source": "tiny",
        "revision": None,
    }
    card = (tmp_path / "cut" / "README.md").read_text()
    assert "# tiny without 3 of its attention heads" in card
    assert "| 0 | 1 |\n| 2 | 0, 3 |" in card
    assert opened(str(tmp_path / "cut")).content_hash() != checkpoint.content_hash()


@pytest.mark.filterwarnings("ignore:The attention mask")
def test_completions_of_the_demo_are_the_hooks(tmp_path: Path) -> None:
    """By `generate` of plain transformers, with heads without which the demo answers otherwise."""
    heads = frozenset(Head(layer, head) for layer in (5, 6) for head in range(16))
    write_cut(opened(str(MODEL_FOLDER)), heads, tmp_path / "cut")
    model, loaded = plain(tmp_path / "cut"), load_model(opened(str(MODEL_FOLDER)))
    generate: Any = model.generate
    changed = 0
    for row in demo_rows(1, n_sentences=2)[:4]:
        prompt = build_prompt(row, EDGAR_TASKS[row.task], loaded.tokenizer, depth=0.5)
        untouched, ablated = run_row(loaded, prompt, [frozenset(), heads], None, max_new_tokens=8)
        ids = torch.tensor([prompt.token_ids])
        written = generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
        assert tuple(written[0, ids.shape[1] :].tolist())[: len(ablated.token_ids)] == ablated.token_ids
        changed += untouched.token_ids != ablated.token_ids
    assert changed


def test_what_cannot_be_cut_is_refused(tmp_path: Path, source: Callable[[str], Checkpoint]) -> None:
    tiny = save_checkpoint(tmp_path / "tiny")
    out = tmp_path / "cut"

    def refused(model: Path | Checkpoint, *, means: MeanValues | None = None, heads: frozenset[Head] = HEADS) -> str:
        with pytest.raises((ModelError, HeadsError)) as raised:
            write_cut(model if isinstance(model, Checkpoint) else opened(str(model)), heads, out, means=means)
        assert not [*tmp_path.glob(".*")]
        return str(raised.value)

    assert "layer 3, but the model has 3 layers (0-2)" in refused(tiny, heads=frozenset({Head(3, 0)}))
    assert "has no bias and qwen2 lets it have none" in refused(save_checkpoint(tmp_path / "q", "qwen2"), means=MEANS)
    out.mkdir()
    (out / "mine").touch()
    assert refused(tiny) == f"--out {out}: is there already; expected a new folder, or an empty one; name another"
    (out / "mine").unlink()
    out.rmdir()
    save_gguf(tmp_path / "tiny.gguf")
    assert "a GGUF file, whose weights are packed; expected a checkpoint of full weights" in refused(
        tmp_path / "tiny.gguf"
    )
    config = json.loads((tiny / "config.json").read_text())
    quantised = config | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
    (tiny / "config.json").write_text(json.dumps(quantised))
    assert "quantised weights, whose columns cannot be cut exactly" in refused(tiny)
    (tiny / "config.json").write_text(json.dumps(config))
    weights = (tiny / "model.safetensors").read_bytes()
    (tiny / "model.safetensors").write_bytes(weights[:1000])
    assert "its weights cannot be read: " in refused(tiny)
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    assert "no model.safetensors nor model.safetensors.index.json; expected weights as safetensors" in refused(tiny)
    assert not out.exists()

"""What is read of a checkpoint beside its weights, and every way in which one can be spoilt."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import (
    HEAD_DIM,
    N_HEADS,
    N_LAYERS,
    VOCABULARY,
    load,
    opened,
    random_ids,
    tiny_model,
)

from harness.errors import ModelError
from harness.experiment.heads import ModelShape


def edit(file: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_shape_from_the_config_alone(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert opened(str(copy)).blueprint.shape == ModelShape(N_LAYERS, N_HEADS, HEAD_DIM, "spoilt", None)
    assert opened(str(copy)).tokenizer.eos_token == "</s>"


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "expected"),
    [
        ([5, 6, 7], 8, "</s>", {5, 6, 7, 8, 257}),
        (5, [8], "</s>", {5, 8, 257}),
        (None, [8, 9], None, {8, 9}),
        ([1], [1], "<end>", {1, 258}),
        (None, None, "</s>", {257}),
        (None, None, None, set()),
    ],
)
def test_end_tokens_are_all_that_are_named(
    copy: Path, generation: object, config: object, tokenizer: object, expected: set[int]
) -> None:
    edit(copy / "generation_config.json", lambda content: content.update(eos_token_id=generation))
    edit(copy / "config.json", lambda content: content.update(eos_token_id=config))
    edit(copy / "tokenizer_config.json", lambda content: content.update(eos_token=tokenizer))
    assert load(str(copy)).end_token_ids == expected


def remove(*names: str) -> Callable[[Path], object]:
    return lambda folder: [(folder / name).rename(folder / f"{name}.aside") for name in names]


def write(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def configure(**values: object) -> Callable[[Path], object]:
    return lambda folder: edit(folder / "config.json", lambda content: content.update(values))


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove("config.json"), "holds no config.json"),
        (remove("model.safetensors"), "holds no weights"),
        (remove("tokenizer.json"), "holds no tokenizer"),
        (write("config.json", "{"), "cannot be loaded: .*config.json"),
        (write("config.json", "{}"), "cannot be loaded: .*model_type"),
        (configure(model_type="no_such_model"), "cannot be loaded: .*`no_such_model`"),
        (configure(model_type="mamba"), r"model_type 'mamba': .*; expected one of bloom, .*; say where"),
        (write("tokenizer.json", "{"), "cannot be loaded: "),
        (truncate, "cannot be loaded: SafetensorError"),
        (write("model.safetensors", ""), "cannot be loaded: SafetensorError"),
        (
            configure(num_hidden_layers=N_LAYERS + 1),
            r"9 weights are missing from its files, first model.layers.3",
        ),
        (
            configure(intermediate_size=48),
            r"9 weights have another shape .* first model.layers.0.mlp.down_proj.weight: \(24, 32\); expected \(24, 4",
        ),
        (
            configure(num_hidden_layers=2),
            "9 weights of its layers have no place in its config, first model.layers.2.input_layernorm.weight",
        ),
    ],
)
def test_a_spoilt_checkpoint_gets_one_line(copy: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(copy)
    with pytest.raises(ModelError, match=message) as caught:
        load(str(copy))
    assert "\n" not in str(caught.value)
    assert "spoilt" in str(caught.value) or "mamba" in str(caught.value)


def test_shape_of_an_architecture_outside_the_table(copy: Path) -> None:
    configure(model_type="mamba")(copy)
    with pytest.raises(ModelError, match="model_type 'mamba'"):
        opened(str(copy))


def test_a_tokenizer_without_offsets(copy: Path) -> None:
    """ByT5 has no fast tokenizer: it is plain Python, and knows no character offsets."""
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").touch()
    (copy / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    with pytest.raises(ModelError, match="ByT5Tokenizer, gives no character offsets; expected a fast tokenizer"):
        load(str(copy))


def test_a_tokenizer_of_another_model(copy: Path) -> None:
    """Of a larger vocabulary; a token that is only added to it, as one for pictures, does no harm."""
    tokenizer = opened(str(copy)).tokenizer
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.save_pretrained(copy)
    assert max(load(str(copy)).tokenizer.get_vocab().values()) == VOCABULARY
    edit(copy / "tokenizer.json", lambda content: content["model"]["vocab"].update({"ab": 300}))  # type: ignore[index]
    with pytest.raises(ModelError, match="its tokenizer has tokens up to 300; expected none beyond 258, as its"):
        load(str(copy))


def test_a_folder_has_no_revisions(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="revision 'main' of a folder; expected none"):
        opened(str(checkpoint), revision="main")


def test_fingerprint(checkpoint: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert opened(str(checkpoint)).content_hash() == opened(str(copy)).content_hash()
    configure(rms_norm_eps=1e-3)(copy)
    assert opened(str(checkpoint)).content_hash() != opened(str(copy)).content_hash()


def test_shards(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    tiny_model("llama").save_pretrained(copy, max_shard_size="8KB")
    shards = sorted(copy.glob("model-*.safetensors"))
    assert len(shards) > 5
    ids = torch.tensor([random_ids(9)])
    assert torch.equal(load(str(copy)).model(ids).logits, tiny_model("llama")(ids).logits)
    shards[3].unlink()
    with pytest.raises(ModelError, match=f"cannot be loaded: .*{shards[3].name}") as caught:
        load(str(copy))
    assert "\n" not in str(caught.value)

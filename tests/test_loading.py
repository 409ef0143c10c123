"""Loading checkpoints made here, from folders and a hub of our own, and every way in which that can fail."""

import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from tiny_models import (
    END_TOKEN_IDS,
    HEAD_DIM,
    N_HEADS,
    N_LAYERS,
    random_ids,
    save_checkpoint,
    tiny_model,
    tiny_tokenizer,
)
from transformers.utils import logging as transformers_logging

from harness.errors import ModelError
from harness.experiment.heads import ModelShape
from harness.model.loading import (
    check_window,
    fingerprint,
    load_model,
    load_shape,
    load_tokenizer,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


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
    loaded = load_model(str(checkpoint), device_map="cpu")
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
    assert load_model(str(checkpoint)).device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_shape_from_the_config_alone(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert load_shape(str(copy)) == ModelShape(N_LAYERS, N_HEADS, HEAD_DIM, "spoilt", None)
    assert load_tokenizer(str(copy)).eos_token == "</s>"


def test_dtype_as_asked(checkpoint: Path) -> None:
    for asked in ("bfloat16", "float64"):
        loaded = load_model(str(checkpoint), dtype=asked, device_map="cpu")
        assert loaded.dtype == asked
        assert loaded.model.dtype == getattr(torch, asked)
    with pytest.raises(ModelError, match=r"dtype 'int8'; expected one of auto, bfloat16"):
        load_model(str(checkpoint), dtype="int8")


def test_dtype_by_default_on_a_cpu_is_float32(copy: Path) -> None:
    tiny_model("llama").bfloat16().save_pretrained(copy)
    assert load_model(str(copy), device_map="cpu").dtype == "float32"
    assert load_model(str(copy), device_map="cpu", dtype="auto").dtype == "bfloat16"


def test_attention_as_asked_and_where_sdpa_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    assert load_model(str(checkpoint), attention="eager").attention == "eager"
    gemma = str(save_checkpoint(tmp_path / "gemma", "gemma2"))
    assert load_model(gemma).attention == "eager"
    with pytest.raises(ModelError, match=r"attention 'sdpa': gemma2 soft-caps .* expected 'eager'"):
        load_model(gemma, attention="sdpa")
    with pytest.raises(ModelError, match=r"cannot be loaded: ValueError: .*no_such_attention"):
        load_model(str(checkpoint), attention="no_such_attention")


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "expected"),
    [
        ([5, 6, 7], 8, "</s>", {5, 6, 7}),
        (5, [8], "</s>", {5}),
        (None, [8, 9], "</s>", {8, 9}),
        (None, None, "</s>", {257}),
        (None, None, None, set()),
    ],
)
def test_end_tokens(copy: Path, generation: object, config: object, tokenizer: object, expected: set[int]) -> None:
    edit(copy / "generation_config.json", lambda content: content.update(eos_token_id=generation))
    edit(copy / "config.json", lambda content: content.update(eos_token_id=config))
    edit(copy / "tokenizer_config.json", lambda content: content.update(eos_token=tokenizer))
    assert load_model(str(copy)).end_token_ids == expected


def test_quiet_and_everything_set_back(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load_model(str(checkpoint))
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
        (configure(intermediate_size=48), "cannot be loaded: RuntimeError"),
    ],
)
def test_a_spoilt_checkpoint_gets_one_line(copy: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(copy)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(str(copy))
    assert "\n" not in str(caught.value)
    assert "spoilt" in str(caught.value) or "mamba" in str(caught.value)


def test_shape_of_an_architecture_outside_the_table(copy: Path) -> None:
    configure(model_type="mamba")(copy)
    with pytest.raises(ModelError, match="model_type 'mamba'"):
        load_shape(str(copy))


def test_a_tokenizer_without_offsets(copy: Path) -> None:
    """ByT5 has no fast tokenizer: it is plain Python, and knows no character offsets."""
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").touch()
    (copy / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    with pytest.raises(ModelError, match="ByT5Tokenizer, gives no character offsets; expected a fast tokenizer"):
        load_model(str(copy))


def test_a_folder_has_no_revisions(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="revision 'main' of a folder; expected none"):
        load_shape(str(checkpoint), revision="main")


def test_window(checkpoint: Path) -> None:
    loaded = load_model(str(checkpoint))
    check_window(loaded, "a/b", 640)
    with pytest.raises(ModelError, match="a/b: 641 tokens, new ones included; expected at most 640"):
        check_window(loaded, "a/b", 641)


def test_fingerprint(checkpoint: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fingerprint(str(checkpoint)) == fingerprint(str(copy))
    configure(rms_norm_eps=1e-3)(copy)
    assert fingerprint(str(checkpoint)) != fingerprint(str(copy))


class Hub(http.server.BaseHTTPRequestHandler):
    """The small part of the hub that loading asks: one good model, a gated one, and no other."""

    folder: Path

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(None)

    def answer(self, body: bytes | None) -> None:
        _, _, rest = self.path.partition("/owner/")
        model, _, rest = rest.partition("/resolve/")
        revision, _, name = rest.partition("/")
        file = self.folder / name
        if model == "good" and revision not in ("main", COMMIT):
            self.reply(404, {"X-Error-Code": "RevisionNotFound"}, b"", body)
        elif model == "good" and file.is_file():
            content = file.read_bytes()
            self.reply(200, {"ETag": f'"{len(content)}-{name}"', "X-Repo-Commit": COMMIT}, content, body)
        elif model.startswith("good"):
            self.reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"", body)
        elif model.startswith("gated"):
            self.reply(401, {"X-Error-Code": "GatedRepo"}, b"", body)
        else:
            self.reply(401, {"X-Error-Code": "RepoNotFound"}, b"", body)

    def reply(self, status: int, headers: dict[str, str], content: bytes, body: bytes | None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content if body is None else body)

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def hub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on this machine, and an empty cache of its models."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("_Hub", (Hub,), {"folder": checkpoint}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("hub")
def test_a_model_of_the_hub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its revision becomes a commit; once in the cache it needs no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with redirect_stderr(io.StringIO()):
        loaded = load_model("owner/good")
    assert (loaded.shape.id, loaded.shape.revision) == ("owner/good", COMMIT)
    assert fingerprint("owner/good") == fingerprint(str(checkpoint))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert load_shape("owner/good") == loaded.shape
    assert load_tokenizer("owner/good").eos_token == tiny_tokenizer().eos_token


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("model", "revision", "message"),
    [
        ("owner/gated", None, r"model 'owner/gated': gated, .* environment variable HF_TOKEN"),
        ("owner/unknown", None, "model 'owner/unknown': no such folder, and no such model on the hub"),
        ("owner/good", "v9", "model 'owner/good': no such revision"),
    ],
)
def test_what_the_hub_refuses(model: str, revision: str | None, message: str) -> None:
    for load in (load_model, load_shape, load_tokenizer, fingerprint):
        with pytest.raises(ModelError, match=message) as caught:
            load(model, revision=revision)
        assert "\n" not in str(caught.value)


def test_unknown_id_when_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for load in (load_model, load_shape, load_tokenizer, fingerprint):
        with pytest.raises(ModelError, match="not in the local cache, and the hub cannot be reached"):
            load("owner/model")


def test_a_gpu_that_is_not_there(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"^device map 'cuda:1': torch sees no GPU here; expected 'auto' or 'cpu'$"):
        load_model(str(checkpoint), device_map="cuda:1")

"""Models of a hub, of our own on this machine: one commit, the network only where needed, every refusal in one line."""

import http.server
import io
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from hashlib import sha256
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from tiny_models import load, opened, random_ids, save_checkpoint, tiny_model, tiny_tokenizer

from harness.errors import ModelError
from harness.model.loading.checkpoint import Checkpoint
from harness.model.loading.loaded_model import load_model
from harness.model.loading.sources import explain

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a folder; not to be written to."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


class Hub(http.server.BaseHTTPRequestHandler):
    """The small part of the hub that loading asks: some good models, a gated one, and no other."""

    folders: Mapping[str, Path]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(None)

    def answer(self, body: bytes | None) -> None:
        _, _, rest = self.path.partition("/owner/")
        model, _, rest = rest.partition("/resolve/")
        revision, _, name = rest.partition("/")
        self.asked.append(self.path)
        good = model in self.folders
        file = self.folders.get(model, Path()) / name
        if good and revision not in ("main", COMMIT):
            self.reply(404, {"X-Error-Code": "RevisionNotFound"}, b"", body)
        elif good and file.is_file():
            content = file.read_bytes()
            # the hub names large files by their hash
            tag = sha256(content).hexdigest() if name.endswith(".safetensors") else f"{len(content)}-{name}"
            self.reply(200, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, content, body)
        elif good:
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
def hub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub on this machine, and an empty cache of its models; what it was asked."""
    sharded, bare, asked = tmp_path / "sharded", tmp_path / "bare", list[str]()
    shutil.copytree(checkpoint, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(bare, sharded)
    tiny_model("llama").save_pretrained(sharded, max_shard_size="20KB")
    folders = {"good": checkpoint, "sharded": sharded, "bare": bare}
    handler = type("_Hub", (Hub,), {"folders": folders, "asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("model", ["good", "sharded"])
def test_a_model_of_the_hub(model: str, hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its content is known before it is loaded; what was fetched is all that loading needs, without the network."""
    with redirect_stderr(io.StringIO()):
        content = opened(f"owner/{model}").content_hash()
    n_asked = len(hub)
    assert n_asked > 0
    assert opened(f"owner/{model}", revision=COMMIT).content_hash() == content
    assert len(hub) == n_asked, "a commit that is here is not asked for again"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    loaded = load(f"owner/{model}")
    assert (loaded.shape.id, loaded.shape.revision) == (f"owner/{model}", COMMIT)
    offline = opened(f"owner/{model}")
    assert offline.blueprint.shape == loaded.shape
    assert offline.tokenizer.eos_token == tiny_tokenizer().eos_token
    assert offline.content_hash() == content
    ids = torch.tensor([random_ids(9)])
    assert torch.equal(loaded.model(ids).logits, tiny_model("llama")(ids).logits)


@pytest.mark.usefixtures("hub")
def test_content_is_the_same_as_of_a_folder(checkpoint: Path) -> None:
    with redirect_stderr(io.StringIO()):
        assert opened("owner/good").content_hash() == opened(str(checkpoint)).content_hash()


def test_a_dry_run_fetches_no_weights(hub: list[str]) -> None:
    with pytest.raises(ModelError, match="holds no weights"):
        opened("owner/good").content_hash(fetched=False)
    assert not [path for path in hub if path.endswith(".safetensors")]


@pytest.mark.usefixtures("hub")
def test_a_download_that_never_came_to_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    opened("owner/good")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for read in (load_model, Checkpoint.content_hash):
        with pytest.raises(
            ModelError, match="its weights are not in the local cache, and the hub is not asked"
        ) as caught:
            read(opened("owner/good"))
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("hub")
def test_a_model_of_the_hub_without_weights() -> None:
    with redirect_stderr(io.StringIO()), pytest.raises(ModelError, match=r"^model 'owner/bare': holds no weights; exp"):
        opened("owner/bare").content_hash()


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
    with pytest.raises(ModelError, match=message) as caught:
        opened(model, revision=revision)
    assert "\n" not in str(caught.value)


def test_unknown_id_when_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="not in the local cache, and the hub cannot be reached"):
        opened("owner/model")


def test_whatever_a_library_says_becomes_one_line() -> None:
    error = explain("me", RuntimeError("\n  the first line \nand more\n"))
    assert str(error) == "model 'me': cannot be loaded: RuntimeError: the first line"
    assert str(explain("me", KeyError())) == "model 'me': cannot be loaded: KeyError: "


def test_errors_in_a_ring_come_to_an_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "first" in str(explain("me", first))

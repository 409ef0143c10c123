"""What a checkpoint's folder must hold, errors in one line, and the hash of its content.

Models of a hub, of our own on this machine: one commit, the network only where it is needed, every refusal.
"""

import http.server
import io
import json
import os
import pwd
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import huggingface_hub.constants
import pytest
import torch
from tiny_models import load, opened, random_ids, save_checkpoint, tiny_model, tiny_tokenizer

from harness.errors import ModelError
from harness.model.loading.checkpoint import Checkpoint
from harness.model.loading.checkpoints import check_fit, check_folder, digest, explain, local_folder
from harness.model.loading.loaded_model import load_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the names of a checkpoint's files, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = tmp_path / "model"
    made.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "merges.txt"):
        (made / name).write_text(name)
    return made


def test_folders_and_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_folder("owner/name") == Path("owner/name")
    assert local_folder("~/owner") == tmp_path / "owner"
    assert local_folder("owner/another") is None
    assert local_folder("gpt2") is None


@pytest.mark.parametrize("path", ["./gone", "../gone", "~/gone", "/gone", "a/b/c", "a\\b", ""])
def test_a_path_that_leads_nowhere(path: str) -> None:
    with pytest.raises(ModelError, match=r"no such folder; expected a checkpoint's folder or a hub id"):
        local_folder(path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(ModelError, match="not a folder"):
        local_folder(str(file))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", r"holds no config.json; expected config.json \(config.json\)"),
        ("model.safetensors", r"holds no weights; expected weights \(\*.safetensors or"),
        ("tokenizer.json", r"holds no tokenizer; expected a tokenizer \(tokenizer.json or"),
    ],
)
def test_what_a_folder_lacks(folder: Path, missing: str, message: str) -> None:
    check_folder(folder, weights=True)
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=message):
        check_folder(folder, weights=True)


def test_weights_are_not_always_needed(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    check_folder(folder, weights=False)


def test_whatever_a_library_says_becomes_one_line() -> None:
    error = explain("me", RuntimeError("\n  the first line \nand more\n"))
    assert str(error) == "model 'me': cannot be loaded: RuntimeError: the first line"
    assert str(explain("me", KeyError())) == "model 'me': cannot be loaded: KeyError: "


def test_errors_in_a_ring_come_to_an_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "first" in str(explain("me", first))


def test_digest_follows_content_and_names_alone(folder: Path) -> None:
    before = digest(folder)
    assert len(before) == 64
    (folder / "README.md").write_text("no part of a model")
    (folder / "retrieval_heads.json").write_text("{}")
    os.utime(folder / "config.json", (1, 1))
    assert digest(folder) == before
    moved = folder.rename(folder.with_name("moved"))
    assert digest(moved) == before
    digests = {before}
    for name in ("model.safetensors", "config.json", "merges.txt", "tokenizer_config.json"):
        (moved / name).write_text(f"another {name}")
        digests.add(digest(moved))
    (moved / "model.safetensors").rename(moved / "model2.safetensors")
    digests.add(digest(moved))
    assert len(digests) == 6


def test_digest_sees_what_was_made_to_look_unchanged(folder: Path) -> None:
    before, weights = digest(folder), folder / "model.safetensors"
    times = (weights.stat().st_atime_ns, weights.stat().st_mtime_ns)
    weights.write_text("model.SAFETENSORS")
    os.utime(weights, ns=times)
    assert digest(folder) != before


@pytest.mark.parametrize("shard", ["parts/one.safetensors", "one.bin"])
def test_digest_follows_an_index(folder: Path, shard: str) -> None:
    """Loading does; such weights could be changed and the old answers were found."""
    (folder / "model.safetensors").unlink()
    (folder / "parts").mkdir()
    (folder / shard).write_text("weights")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard, "b": shard}}))
    before = digest(folder)
    (folder / shard).write_text("other weights")
    assert digest(folder) != before


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": 1}', '{"weight_map": {"a": "gone"}}'])
def test_digest_leaves_a_broken_index_to_loading(folder: Path, index: str) -> None:
    (folder / "model.safetensors.index.json").write_text(index)
    assert digest(folder) == digest(folder)


def test_digest_reads_a_file_once(folder: Path, tmp_path: Path) -> None:
    """The cache answers for path, size and times: seen by a lie put into it."""
    before = digest(folder)
    cache = tmp_path / "cache" / "retrieval-heads" / "file-hashes.json"
    hashes = json.loads(cache.read_text())
    assert len(hashes) == 4
    cache.write_text(json.dumps(dict.fromkeys(hashes, "lie")))
    assert digest(folder) != before
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    assert digest(folder) == before
    assert len(json.loads(cache.read_text())) == 8
    assert [path.name for path in cache.parent.iterdir()] == ["file-hashes.json"]


def test_a_user_without_a_home_has_no_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number which no user has."""
    before = digest(folder)

    def nobody(_uid: int) -> NoReturn:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.chdir(folder)
    assert digest(folder) == before
    with pytest.raises(ModelError, match="model '~/mine': no such folder"):
        local_folder("~/mine")
    assert not (folder / "~").exists()


def test_a_pipe_in_a_folder_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "generation_config.json")
    with pytest.raises(ModelError, match=r"generation_config\.json: a pipe, device or socket; expected files"):
        check_folder(folder, weights=True)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', "[" * 100_000])
def test_a_broken_cache_is_no_obstacle(folder: Path, tmp_path: Path, content: str) -> None:
    before = digest(folder)
    cache = tmp_path / "cache" / "retrieval-heads" / "file-hashes.json"
    cache.write_text(content)
    assert digest(folder) == before
    assert len(json.loads(cache.read_text())) == 4


def test_a_cache_that_cannot_be_written_is_no_obstacle(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert digest(folder) == digest(folder)


def test_digest_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        digest(folder)


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

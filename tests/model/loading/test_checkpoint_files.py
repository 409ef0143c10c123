"""What a checkpoint's folder must hold, and the hash of its content; both known without torch."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from harness.errors import ModelError
from harness.model.loading.checkpoint_files import check_config, check_folder, digest, local_folder, weight_map


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("[1]", "no 'weight_map' from tensors to files"),
        ('{"weight_map": {"a": 1}}', "no 'weight_map' from tensors to files"),
        ('{"weight_map": {}, "weight_map": {}}', "the key 'weight_map' twice"),
        ('{"weight_map": {"a": "../b.safetensors"}}', "names '../b.safetensors'; expected files in the checkpoint's"),
        (
            '{"weight_map": {"a": "/b.safetensors"}}',
            "names '/b.safetensors'; expected files in the checkpoint's folder",
        ),
    ],
)
def test_an_index_that_is_none(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"^mine: model\.safetensors\.index\.json") as error:
        weight_map(tmp_path / "model.safetensors.index.json", "mine")
    assert message in str(error.value)


def test_an_index_may_name_files_in_folders_below(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "parts/1.safetensors"}}')
    assert weight_map(index, "mine") == {"a": "parts/1.safetensors"}


@pytest.mark.parametrize("path", ["./gone", "../gone", "~/gone", "/gone", "a/b/c", "a\\b", "", "/" + 300 * "x"])
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


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"num_hidden_layers": 10**9}, r"config.json: num_hidden_layers 1,000,000,000; expected at most 2,000"),
        ({"num_attention_heads": 10**9}, r"num_attention_heads 1,000,000,000; expected at most 20,000"),
        ({"text_config": {"n_layer": 10**6}}, r"n_layer 1,000,000; expected at most 2,000"),
        ([{"num_local_experts": 10**6}], r"num_local_experts 1,000,000; expected at most 20,000"),
    ],
)
def test_a_config_of_no_model_is_refused_before_it_is_drawn(folder: Path, config: object, words: str) -> None:
    """A thousand million layers filled the memory."""
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"^model 'x': .*{words}; correct the config"):
        check_config("model 'x'", folder)


@pytest.mark.parametrize("config", ["{", '{"num_hidden_layers": 2000, "vocab_size": 1000000000}'])
def test_other_configs_are_left_to_loading(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    check_config("model 'x'", folder)


def test_a_config_nested_too_deeply(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match=r"config\.json: nested too deeply"):
        check_config("model 'x'", folder)


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


def test_neither_needs_torch() -> None:
    """A study that computes nothing looks its model up by its content."""
    program = (
        "import sys, harness.model.loading.checkpoint_files; print({'torch', 'transformers'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

"""The files that a checkpoint is made of: their names, what a folder must hold, and the hash of their content.

Knows nothing of hubs, architectures or what the files say; imports neither torch nor transformers, so that what is
known of a content can be looked up by it in no time.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.errors import ModelError, plain
from harness.files import at_home, is_file, is_folder, is_there, read_bytes, strict_json, write_text

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json")
CONFIGS = ("config.json", "generation_config.json", ADAPTER_CONFIG, "quantize_config.json")
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
TOKENIZER_EXTRAS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.*",
    "additional_chat_templates/*",
)

MOST_LAYERS = 2_000
MOST_PARTS = 20_000
"""Of a layer: heads, experts and the like."""

_COUNTS = re.compile(r"(^|_)(n|num)_(\w+_)?(layers?|heads?|experts|blocks)$|_layers$")
_CHUNK = 1 << 24
_READERS = 4
"""Files that are read at once: a thread hashes about a gigabyte a second, and disks of servers give more."""
_SHA256 = re.compile("[0-9a-f]{64}")


def local_folder(path_or_id: str) -> Path | None:
    """The folder that is meant, or `None` if this is an id on the hub.

    Raises:
        ModelError: a path, by its look, where there is no folder.
    """
    path = at_home(path_or_id)
    if path_or_id and is_folder(path):
        return path
    path_like = path_or_id.startswith((".", "~", "/")) or path_or_id.count("/") > 1 or "\\" in path_or_id
    if not path_or_id or path_like or is_there(path):
        got = "not a folder" if is_file(path) else "no such folder"
        raise ModelError(
            f"model {path_or_id!r}: {got}; expected a checkpoint's folder or a hub id as 'owner/name', or a GGUF file"
        )
    return None


def check_folder(folder: Path, *, weights: bool) -> None:
    """Raise a ModelError that names what a checkpoint's folder lacks; weights count only if needed.

    An adapter's folder is no checkpoint: transformers would load the model that it names, from elsewhere.
    """
    if (folder / ADAPTER_CONFIG).is_file():
        raise ModelError(
            f"model folder {folder}: holds an adapter; expected a whole checkpoint; name the model that it was made "
            "for, and this folder with --ablation-adapter"
        )
    check_files(f"model folder {folder}", folder)
    wanted = [("config.json", CONFIGS[:1]), ("a tokenizer", VOCABULARIES)]
    if weights:
        wanted.insert(1, ("weights", WEIGHTS))
    for what, patterns in wanted:
        if not any(next(folder.glob(pattern), None) for pattern in patterns):
            raise ModelError(
                f"model folder {folder}: holds no {what.removeprefix('a ')}; expected {what} "
                f"({' or '.join(patterns)}); save {what} there"
            )


def check_config(where: str, folder: Path) -> None:
    """Raise a ModelError where a config names more layers or parts than any model has.

    To read such a config, or to draw such a model, would take all time and memory before anything else could be said.
    """
    file = folder / CONFIGS[0]
    if not file.is_file():
        return
    try:
        config = json.loads(read_bytes(file))
    except RecursionError:
        raise ModelError(f"{where}: {file.name}: nested too deeply; expected a model's config") from None
    except ValueError:
        return  # loading says what is wrong with it
    for name, value in _numbers(config):
        most = MOST_LAYERS if "layer" in name else MOST_PARTS
        if _COUNTS.search(name) and value > most:
            raise ModelError(f"{where}: {file.name}: {name} {value:,}; expected at most {most:,}; correct the config")


def _numbers(value: object, name: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number in a config, by the name that it has there."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(part, str(key))
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(part, name)
    elif isinstance(value, int):
        yield name, value


def check_files(where: str, folder: Path) -> None:
    """Raise a ModelError where a folder's entry is neither a file nor a folder: to read it may take for ever."""
    for entry in sorted(folder.iterdir()):
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            raise ModelError(f"{where}: {entry.name}: a pipe, device or socket; expected files; remove it")


def digest(folder: Path) -> str:
    """Content hash (sha256, hex) of a checkpoint's weights, config and tokenizer files, by name.

    Weights are those known by their names, and those that an index names, wherever they lie. Each file's hash is kept
    in a small cache by its path, size and times of change; without a writable cache the files are read again.

    Raises:
        ModelError: the folder holds no weights.
    """
    patterns = (*WEIGHTS, *CONFIGS, *VOCABULARIES, *TOKENIZER_EXTRAS)
    known = {file.relative_to(folder).as_posix() for pattern in patterns for file in folder.glob(pattern)}
    files = {name: folder / name for name in sorted(known | _shards(folder)) if (folder / name).is_file()}
    if not any(file.match(pattern) for file in files.values() for pattern in WEIGHTS):
        raise ModelError(f"model folder {folder}: holds no weights; expected {' or '.join(WEIGHTS)}")
    hashes = _hashes(files)
    total = hashlib.sha256()
    for name, value in hashes.items():
        total.update(f"{name}\n{value}\n".encode())
    return total.hexdigest()


def digest_file(file: Path) -> str:
    """Content hash (sha256, hex) of the one file that is a whole checkpoint, whatever its name."""
    return _hashes({file.name: file})[file.name]


def _hashes(files: Mapping[str, Path]) -> dict[str, str]:
    """Each file's hash by its name; several files are read at once."""
    cache_file = _cache_file()
    cache = _read_cache(cache_file)
    keys = {name: _key(file) for name, file in files.items()}
    unknown = {keys[name]: file for name, file in files.items() if keys[name] not in cache}
    if unknown:
        with ThreadPoolExecutor(_READERS) as readers:
            fresh = dict(zip(unknown, readers.map(_file_hash, unknown.values()), strict=True))
        cache |= fresh
        _write_cache(cache_file, _read_cache(cache_file) | fresh)
    return {name: cache[key] for name, key in keys.items()}


def _key(file: Path) -> str:
    """What a file's hash is kept under."""
    status = file.stat()
    # the time of modification can be set back, as copying with `cp -p` does; that of the last change cannot
    return f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"


def weight_map(index: Path, where: str) -> dict[str, str]:
    """Which file each tensor is in, by an index of shards; `where` is what messages name.

    Raises:
        ModelError: no such index, or a file outside of the index's folder.
    """
    try:
        document = strict_json(read_bytes(index).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{where}: {index.name} cannot be read: {error}; expected an index of shards") from None
    found = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise ModelError(f"{where}: {index.name}: no 'weight_map' from tensors to files; expected an index of shards")
    for name in found.values():
        if Path(name).is_absolute() or ".." in Path(name).parts or not name:
            raise ModelError(f"{where}: {index.name}: names {plain(name)!r}; expected files in the checkpoint's folder")
    return found


def _shards(folder: Path) -> set[str]:
    """The files that the folder's indices name: they are what is loaded, and may lie in folders of their own."""
    names: set[str] = set()
    for index in folder.glob("*.index.json"):
        # whatever is wrong with an index, loading says
        with contextlib.suppress(ModelError):
            names |= set(weight_map(index, folder.name).values())
    return names


def _file_hash(file: Path) -> str:
    """Of its content; a large file in the hub's cache is kept there under this very hash."""
    kept = file.resolve()
    if kept.parent.name == "blobs" and _SHA256.fullmatch(kept.name):
        return kept.name
    content = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            content.update(chunk)
    return content.hexdigest()


def _cache_file() -> Path | None:
    """Where the cache is; a user without a home has none."""
    home = at_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return None if home.parts[:1] == ("~",) else home / "retrieval-heads" / "file-hashes.json"


def _read_cache(cache_file: Path | None) -> dict[str, str]:
    """Hashes by 'path|size|modified|changed'; empty when there are none or they cannot be read."""
    if cache_file is None:
        return {}
    try:
        known = json.loads(read_bytes(cache_file))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {key: value for key, value in known.items() if isinstance(value, str)}


def _write_cache(cache_file: Path | None, hashes: dict[str, str]) -> None:
    """Keep the hashes, atomically; a cache that cannot be written costs time only, and says nothing."""
    if cache_file is None:
        return
    try:
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(cache_file, json.dumps(hashes, indent=0))
    except OSError:
        return

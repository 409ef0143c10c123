"""A checkpoint in a folder, in a GGUF file or on the Hugging Face hub: where its files come from, what must be there,
what it contains.

What a revision stands for is settled once; all files then come from that commit. A folder is read as it lies, without
the network. Whatever a library says meanwhile becomes one `ModelError` of one line. Knows nothing of architectures, and
loads no weights.
"""

import contextlib
import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from logging import ERROR
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from harness.errors import ModelError
from harness.files import at_home, read_bytes, write_text
from harness.model.loading.gguf_files import alone, gguf_file, read_content

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

_CHUNK = 1 << 24
_SHA256 = re.compile("[0-9a-f]{64}")


def local_folder(path_or_id: str) -> Path | None:
    """The folder that is meant, or `None` if this is an id on the hub.

    Raises:
        ModelError: a path, by its look, where there is no folder.
    """
    path = at_home(path_or_id)
    if path_or_id and path.is_dir():
        return path
    path_like = path_or_id.startswith((".", "~", "/")) or path_or_id.count("/") > 1 or "\\" in path_or_id
    if not path_or_id or path_like or path.exists():
        got = "not a folder" if path.is_file() else "no such folder"
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


def check_files(where: str, folder: Path) -> None:
    """Raise a ModelError where a folder's entry is neither a file nor a folder: to read it may take for ever."""
    for entry in sorted(folder.iterdir()):
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            raise ModelError(f"{where}: {entry.name}: a pipe, device or socket; expected files; remove it")


def check_fit(
    path_or_id: str, report: Mapping[str, set[Any]], *, layers: str, optional_from: int | None = None
) -> None:
    """Raise a ModelError unless files and config are of one model, by what transformers reports of loading.

    What does not fit would be random numbers, or left out. Of weights that the model has no place for those of its
    `layers`, a path in it, count: a checkpoint may hold a tower for pictures too. Layers from `optional_from` on may
    be left out.
    """
    where = f"model {path_or_id!r}"
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"{where}: {len(missing)} weights are missing from its files, first {missing[0]}; expected all that its "
            "config declares; they would be random numbers"
        )
    if others := sorted(report["mismatched_keys"]):
        name, got, expected = others[0]
        raise ModelError(
            f"{where}: {len(others)} weights have another shape than by its config, first {name}: {tuple(got)}; "
            f"expected {tuple(expected)}; is config.json another model's?"
        )
    base, _, inner = layers.partition(".")
    of_layer = re.compile(rf"(?:{re.escape(base)}\.)?{re.escape(inner)}\.(\d+)\.(?:.*\.)?(?:weight|bias)")
    unused = [
        key
        for key in sorted(report["unexpected_keys"])
        if (found := of_layer.fullmatch(key)) and (optional_from is None or int(found[1]) < optional_from)
    ]
    if unused:
        raise ModelError(
            f"{where}: {len(unused)} weights of its layers have no place in its config, first {unused[0]}; expected a "
            "place for each; is config.json another model's?"
        )


def explain(path_or_id: str, error: Exception) -> ModelError:
    """One line for whatever a library raised while it loaded this model."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    where = f"model {path_or_id!r}"
    if isinstance(error, ModelError):
        return error
    # a gated repository is also a repository not found: the narrower comes first
    if any(isinstance(link, GatedRepoError) for link in chain):
        return ModelError(
            f"{where}: gated, and no token with access to it was given; expected one in the environment "
            "variable HF_TOKEN; ask for access on the model's page, then set it or run 'hf auth login'"
        )
    if any(isinstance(link, RevisionNotFoundError) for link in chain):
        return ModelError(f"{where}: no such revision; expected a branch, tag or commit of it")
    if any(isinstance(link, RepositoryNotFoundError) for link in chain):
        return ModelError(
            f"{where}: no such folder, and no such model on the hub; expected a folder or an id as "
            "'owner/name'; if it is private, set HF_TOKEN"
        )
    if any(isinstance(link, LocalEntryNotFoundError) for link in chain):
        return ModelError(
            f"{where}: no such folder, not in the local cache, and the hub cannot be reached; expected a "
            "folder or a cached model when offline"
        )
    lines = str(error).strip().splitlines() or [""]
    return ModelError(f"{where}: cannot be loaded: {type(error).__name__}: {lines[0].strip()}")


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
    """Each file's hash by its name."""
    cache_file = _cache_file()
    cache = _read_cache(cache_file)
    found: dict[str, str] = {}
    fresh: dict[str, str] = {}
    for name, file in files.items():
        status = file.stat()
        # the time of modification can be set back, as copying with `cp -p` does; that of the last change cannot
        key = f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
        if key not in cache:
            fresh[key] = cache[key] = _file_hash(file)
        found[name] = cache[key]
    if fresh:
        _write_cache(cache_file, _read_cache(cache_file) | fresh)
    return found


def _shards(folder: Path) -> set[str]:
    """The files that the folder's indices name: they are what is loaded, and may lie in folders of their own."""
    names: set[str] = set()
    for index in folder.glob("*.index.json"):
        # whatever is wrong with an index, loading says
        with contextlib.suppress(ValueError, LookupError, AttributeError, TypeError):
            names |= {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
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


WEIGHTS_IN_ORDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Of these the first that is there is loaded, by the rule of transformers."""

CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model's files come from.

    `asked` is what the user wrote, `place` and `revision` what the Auto classes are given: every file of a
    hub's model comes from one commit. `folder` holds the config, and what else is on this machine. `name` is
    for reports: a folder's own name, not the path to it. `gguf` is the file in `folder` that holds everything.
    """

    asked: str
    name: str
    place: str
    folder: Path
    revision: str | None
    local: bool
    gguf: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """What the Auto classes are given beside the place."""
        return {} if self.gguf is None else {"gguf_file": self.gguf}

    @property
    def gguf_path(self) -> Path | None:
        """The GGUF file, where it is one."""
        return None if self.gguf is None else self.folder / self.gguf


def find(path_or_id: str, revision: str | None) -> Source:
    """The folder, the GGUF file, or the commit that a revision of a hub's model stands for now.

    Raises:
        ModelError: no such folder, file or model, nothing in it, a revision of a folder, or a hub that refuses.
    """
    file = gguf_file(path_or_id)
    folder = local_folder(path_or_id) if file is None else file.parent
    if folder is not None:
        if revision is not None:
            kind = "folder" if file is None else "file"
            raise ModelError(
                f"model {path_or_id!r}: revision {revision!r} of a {kind}; expected none, or a model's id on the hub"
            )
        if file is not None:
            read_content(file)
            return Source(path_or_id, file.name, str(folder), folder, None, local=True, gguf=file.name)
        check_folder(folder, weights=False)
        return Source(path_or_id, folder.resolve().name, str(folder), folder, None, local=True)
    unresolved = Source(path_or_id, path_or_id, path_or_id, Path(), revision, local=False)
    with quiet(unresolved):
        config_file = cached_file(path_or_id, "config.json", revision=revision)
    snapshot = Path(str(config_file)).parent
    return replace(unresolved, folder=snapshot, revision=snapshot.name)


def fetch(source: Source) -> None:
    """Bring every file that loading may read into the local cache; a folder has them all.

    Raises:
        ModelError: the hub's model has no weights that are known here, the hub refuses, or it may not be asked.
    """
    if source.local:
        return
    by_name = [name for name in (*CONFIGS, *VOCABULARIES, *TOKENIZER_EXTRAS) if "*" not in name]
    with quiet(source):
        for name in (*by_name, *CHAT_TEMPLATES):
            _optional(source, name)
        weights = next((file for name in WEIGHTS_IN_ORDER if (file := _optional(source, name))), None)
        if weights is not None and weights.suffix == ".json":
            index: dict[str, dict[str, str]] = json.loads(weights.read_text(encoding="utf-8"))
            for shard in sorted(set(index["weight_map"].values())):
                cached_file(source.place, shard, revision=source.revision)
    if weights is None and constants.HF_HUB_OFFLINE:
        raise ModelError(
            f"model {source.asked!r}: its weights are not in the local cache, and the hub is not asked when offline; "
            "expected them there; unset HF_HUB_OFFLINE once, or name a folder"
        )
    if weights is None:
        raise ModelError(
            f"model {source.asked!r}: holds no weights; expected {' or '.join(WEIGHTS_IN_ORDER)}; choose another "
            "revision, or convert it"
        )


def _optional(source: Source, name: str) -> Path | None:
    """The file, where the commit has it; what is known to be missing is not asked for again."""
    found = cached_file(
        source.place,
        name,
        revision=source.revision,
        _commit_hash=source.revision,
        _raise_exceptions_for_missing_entries=False,
    )
    return None if found is None else Path(str(found))


@contextmanager
def opened(source: Source) -> Iterator[str]:
    """The place that the Auto classes are given, as long as they read: a GGUF file's shows nothing beside it."""
    with quiet(source), nullcontext() if source.gguf_path is None else alone(source.gguf_path) as shown:
        yield source.place if shown is None else str(shown)


@contextmanager
def quiet(source: Source) -> Iterator[None]:
    """No chatter of the libraries, and their errors as ours; everything is set back on the way out.

    Bars stay for the hub: its files may take an hour.
    """
    verbosity, hub_verbosity = transformers_logging.get_verbosity(), hub_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(ERROR)
    hub_logging.set_verbosity(ERROR)
    if source.local and bars:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the library's
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise explain(source.asked, error) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if source.local and bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # the library's

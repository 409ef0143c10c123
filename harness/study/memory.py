"""Memory: what earlier sessions found out of a model and its tokenizer, so that what is stored needs neither again.

To load a tokenizer, or to draw a model from its config, takes seconds of imports before anything is done. What came of
that is kept in the store, under a hash of all that it may depend on: the content of the model's files, the settings,
the versions of programs, this package's own source, and the GPUs that are to be seen. Whatever of that changes, it is
found out anew; where a hash cannot be told, nothing is remembered, and whoever opens the model says what is wrong.

Knows nothing of what is remembered, and imports neither torch nor transformers.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar, cast

import harness
from harness.demo import MODEL_FOLDER
from harness.experiment.store import Store, remembered
from harness.files import at_home, is_file
from harness.settings import DEMO, Settings

Plain = TypeVar("Plain", str, int, list[Any], dict[str, Any])
"""What JSON gives back as it was."""

APART = frozenset({"reports", "run", "store", "refresh", "dry_run", "bench", "no_texts", "annotate"})
"""Settings that say where things go and what is shown."""
PROGRAMS = (
    *("torch", "transformers", "tokenizers", "jinja2", "huggingface-hub", "safetensors", "gguf", "bitsandbytes"),
    "matplotlib",
)
"""Programs that have a say in what is found out."""
DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "WORLD_SIZE")
DEVICE_FILES = ("nvidia[0-9]*", "nvidiactl", "kfd", "dxg")
"""What a machine shows of GPUs below /dev: NVIDIA's, AMD's, and those of WSL."""
_DRIVER = Path("/proc/driver/nvidia/version")


def model_place(settings: Settings) -> str:
    """The folder, file or hub id to load: the embedded model's folder for the demo."""
    return str(MODEL_FOLDER) if settings.model == DEMO else settings.model


class Memory:
    """What is known of the model that the settings ask for; nothing at first where none was kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._new = False

    def recall(self, kind: str, name: str, find: Callable[[], Plain]) -> Plain:
        """What is known by this name; where nothing is, it is found now, and known from now on."""
        known = self._known.setdefault(kind, {})
        if name not in known:
            known[name] = find()
            self._new = True
        return cast(Plain, known[name])

    def note(self, kind: str, name: str, found: Plain) -> None:
        """From now on this alone is known of its kind."""
        self._known[kind] = {name: found}
        self._new = True

    def knows(self, kind: str, name: str) -> bool:
        """Whether something is known by this name."""
        return name in self._known.get(kind, {})

    def keep(self, store: Store) -> None:
        """Put what was found out since into the store."""
        if self._new and self._key is not None:
            store.remember(self._key, json.dumps(self._known))
            self._new = False

    def forget(self) -> None:
        """Know nothing any more."""
        self._known.clear()
        self._new = True

    @cached_property
    def _key(self) -> str | None:
        if self._settings.dry_run or not sys.platform.startswith("linux"):
            return None  # weights may be missing, or GPUs come and go without a sign
        contents = _contents(self._settings)
        if contents is None:
            return None
        parts = {
            "contents": contents,
            "settings": {
                field.name: repr(getattr(self._settings, field.name))
                for field in fields(self._settings)
                if field.name not in APART
            },
            "programs": [sys.version, *map(_version, PROGRAMS)],
            "source": _source(),
            "devices": _devices(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _known(self) -> dict[str, dict[str, Any]]:
        text = None if self._key is None else remembered(self._settings.store_file, self._key)
        known: dict[str, dict[str, Any]] = {} if text is None else json.loads(text)
        return known


def _contents(settings: Settings) -> list[str | None] | None:
    """Hashes of the model's files and of its adapter's, and where they lie; `None` where they cannot be told."""
    from harness.model.loading.checkpoint_files import digest, digest_file, local_folder

    place = model_place(settings)
    adapter = settings.adapter
    try:
        of_adapter = None if adapter is None else digest(adapter)
        file = at_home(place)
        if file.suffix.lower() == ".gguf" and is_file(file):
            return [str(file.resolve()), digest_file(file), of_adapter]
        folder = local_folder(place) or _snapshot(place, settings.revision)
        return None if folder is None else [str(folder.resolve()), digest(folder), of_adapter]
    except Exception:  # the hub's library has many errors; all are told where the model is opened
        return None


def _snapshot(model: str, revision: str | None) -> Path | None:
    """The folder of the commit that a hub's revision stands for now, where its files were brought before."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str):
        return None
    return Path(hf_hub_download(model, "config.json", revision=revision)).parent


def _version(program: str) -> str | None:
    try:
        return version(program)
    except PackageNotFoundError:
        return None


def _source() -> str:
    """A hash of this package's own modules."""
    package = Path(harness.__file__).parent
    total = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        total.update(f"{file.relative_to(package).as_posix()}\n".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def _devices() -> list[str | None]:
    """What is to be seen of GPUs without a library that finds them."""
    files = sorted(str(file) for pattern in DEVICE_FILES for file in Path("/dev").glob(pattern))
    driver = _DRIVER.read_text(encoding="utf-8", errors="replace") if is_file(_DRIVER) else None
    return [*files, driver, *map(os.environ.get, DEVICE_VARIABLES)]

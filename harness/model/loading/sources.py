"""Where a model's files come from: a folder, or one commit of a model on the Hugging Face hub.

What a revision stands for is settled once; all files then come from that commit. A folder is read as it lies, without
the network. Whatever a library says meanwhile becomes one `ModelError` of one line.

Knows nothing of what the files hold, but for the names of weights in their index.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from logging import ERROR
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from harness.errors import ModelError
from harness.model.loading.checkpoints import (
    CONFIGS,
    TOKENIZER_EXTRAS,
    VOCABULARIES,
    check_folder,
    explain,
    local_folder,
)

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
    for reports: a folder's own name, not the path to it.
    """

    asked: str
    name: str
    place: str
    folder: Path
    revision: str | None
    local: bool


def find(path_or_id: str, revision: str | None) -> Source:
    """The folder, or the commit that a revision of a hub's model stands for now.

    Raises:
        ModelError: no such folder or model, nothing in it, a revision of a folder, or a hub that refuses.
    """
    folder = local_folder(path_or_id)
    if folder is not None:
        if revision is not None:
            raise ModelError(
                f"model {path_or_id!r}: revision {revision!r} of a folder; expected none, or a model's id on the hub"
            )
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

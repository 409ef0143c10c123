"""Where a checkpoint's files come from: a folder, a GGUF file, or one commit of a model on the Hugging Face hub.

What a revision stands for is settled once; all files then come from that commit. A folder is read as it lies, without
the network. Whatever a library says meanwhile becomes one `ModelError` of one line. Knows nothing of what the files
say, but for the names of weights in their index.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from logging import ERROR
from pathlib import Path

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
from harness.model.loading.checkpoint_files import (
    CONFIGS,
    TOKENIZER_EXTRAS,
    VOCABULARIES,
    check_folder,
    local_folder,
    weight_map,
)
from harness.model.loading.gguf_files import alone, gguf_file, read_content

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
            for shard in sorted(set(weight_map(weights, f"model {source.asked!r}").values())):
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

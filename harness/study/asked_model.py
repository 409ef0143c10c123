"""The model that the settings ask for: what is known of it, its tokenizer, its content, and the model itself.

The one place where settings become arguments of the model floor, which is imported inside functions only. Once a
revision is settled, whoever asks again names its commit: a branch may move during a run.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from harness.demo import MODEL_FOLDER
from harness.experiment.cost import ModelSize
from harness.experiment.heads import Blueprint
from harness.retrieval.prompts import Tokenizer
from harness.settings import DEMO, Settings

if TYPE_CHECKING:
    from harness.model.loading.loaded_model import LoadedModel


def model_place(settings: Settings) -> str:
    """The folder or hub id to load: the embedded model's folder for the demo."""
    return str(MODEL_FOLDER) if settings.model == DEMO else settings.model


def read_blueprint(settings: Settings) -> Blueprint:
    """What will be loaded. Raises ModelError where that can be known to fail."""
    from harness.model.loading import loaded_model as loading
    from harness.model.loading.altered_weights import check_adapter

    blueprint = loading.read_blueprint(
        model_place(settings),
        revision=settings.revision,
        dtype=settings.dtype,
        device_map=settings.device_map,
        attention=settings.attn,
        quantization=settings.quantization,
        architectures=settings.architectures,
    )
    if settings.adapter is not None:
        check_adapter(settings.adapter)
    return blueprint


def quantized_file(settings: Settings) -> str | None:
    """How a GGUF file keeps its quantised weights; `None` where they are none, or no file's. Raises ModelError."""
    from harness.model.loading.gguf_files import gguf_file, read_content

    file = gguf_file(model_place(settings))
    return None if file is None else read_content(file).quantized


def load_tokenizer(settings: Settings, revision: str | None) -> Tokenizer:
    """The model's tokenizer, loaded without the model. Raises ModelError."""
    from harness.model.loading import loaded_model as loading

    return loading.load_tokenizer(model_place(settings), revision=revision)


def fingerprints(settings: Settings, revision: str | None) -> tuple[str, str | None]:
    """Content hashes of the model's files, and of its adapter's; a dry run fetches none. Raises ModelError."""
    from harness.model.loading import loaded_model as loading
    from harness.model.loading.checkpoints import digest

    return (
        loading.fingerprint(model_place(settings), revision=revision, fetched=not settings.dry_run),
        None if settings.adapter is None else digest(Path(settings.adapter)),
    )


def load_size(settings: Settings, blueprint: Blueprint, dtype: str) -> ModelSize:
    """How large the model is in a dtype, by its config alone."""
    from harness.model.loading import loaded_model as loading

    return loading.load_size(
        model_place(settings),
        revision=blueprint.shape.revision,
        dtype=dtype,
        quantization=settings.quantization,
        architectures=settings.architectures,
    )


def load_model(settings: Settings, revision: str | None, *, device_map: str | None = None) -> "LoadedModel":
    """The model, ready for inference; `device_map` in place of the settings' own. Raises ModelError."""
    from harness.model.loading import loaded_model as loading
    from harness.model.loading.entry_check import check_entry

    loaded = loading.load_model(
        model_place(settings),
        revision=revision,
        dtype=settings.dtype,
        device_map=device_map or settings.device_map,
        attention=settings.attn,
        quantization=settings.quantization,
        adapter=settings.adapter,
        architectures=settings.architectures,
    )
    if settings.architectures:
        check_entry(loaded)
    return loaded

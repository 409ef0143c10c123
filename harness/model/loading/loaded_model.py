"""A model and its tokenizer from a folder or from the Hugging Face hub, by the Auto classes of transformers.

The same way for the embedded demo and for a 70B checkpoint. Models come for inference only: evaluation mode,
no gradients. What records depend on is settled before weights are read (`read_blueprint`, by building the model
without memory for its weights), and the loaded model is checked against it. Whatever a library says is wrong
becomes one `ModelError` of one line.

Knows nothing of prompts or of what is ablated.
"""

import shutil
import tempfile
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from harness.errors import ModelError
from harness.experiment import heads as blueprint
from harness.experiment.cost import ModelSize
from harness.experiment.heads import Blueprint, ModelShape
from harness.model.loading import traits
from harness.model.loading.altered_weights import add_adapter, quantization_config, try_out
from harness.model.loading.architectures import (
    Architecture,
    AttentionOutput,
    architecture_of,
    attention_outputs,
    shape_of,
    with_entries,
)
from harness.model.loading.blueprints import ModelRequest, draw_blueprint
from harness.model.loading.checkpoints import (
    Source,
    check_fit,
    check_folder,
    digest,
    digest_file,
    fetch,
    find,
    opened,
    quiet,
)
from harness.model.loading.devices import device_map_of, room_of
from harness.model.loading.gguf_files import full_weights, read_content
from harness.model.loading.model_size import config_size


@dataclass(frozen=True, eq=False, slots=True)
class LoadedModel:
    """A model ready for inference, and what was found out about it.

    `attention` is the implementation that is used, which may be another than the one hoped for. `device` is
    where token ids go. `end_token_ids` are all that any of its files names; empty if none does.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    outputs: tuple[AttentionOutput, ...]
    shape: ModelShape
    end_token_ids: frozenset[int]
    attention: str
    dtype: str
    device: torch.device

    @property
    def window(self) -> int | None:
        """The most positions that the model was made for; `None` where its config sets no limit."""
        return traits.window(self.model.config)


def check_window(loaded: LoadedModel, row_id: str, n_tokens: int) -> None:
    """Raise a ModelError that names the row unless the model's window holds this many tokens."""
    blueprint.check_window(loaded.window, loaded.shape.id, row_id, n_tokens)


def load_model(
    path_or_id: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    device_map: str | None = None,
    attention: str | None = None,
    quantization: str | None = None,
    adapter: Path | None = None,
    architectures: Sequence[str] = (),
) -> LoadedModel:
    """Load a causal language model with its tokenizer.

    A local folder or GGUF file is read as it lies, without the network. `dtype` defaults to float32 on a CPU and to the
    checkpoint's own ("auto") on a GPU; `device_map` to the GPU if there is one, else the CPU ("auto" spreads
    over all devices and, where they are full, memory and disk; JSON says where each module goes); `attention`
    to sdpa, or eager where the model refuses sdpa. `quantization` is `8bit` or `4bit`, by bitsandbytes;
    `adapter` the folder of a LoRA adapter, which stays beside the weights; `architectures` are entries beside
    the table, as `with_entries` reads them.

    Raises:
        ModelError: no such model, files or weights missing or broken, a gated model without a token, a
            tokenizer without character offsets, an architecture outside the table, an unknown dtype, a package
            that is not installed, an adapter that does not fit, an attention that the model refuses, a process
            that is one of several, or a model that is not as its blueprint said.
    """
    source = find(path_or_id, revision)
    config, entries = _load_config(source, architectures)
    expected = draw_blueprint(source, config, entries, ModelRequest(dtype, device_map, attention, quantization))
    if source.local and source.gguf is None:
        check_folder(source.folder, weights=True)
    fetch(source)
    tokenizer = _load_tokenizer(source)
    _check_vocabulary(source, config, tokenizer)
    model, report = _load_weights(source, config, expected, device_map, quantization)
    check_fit(
        source.asked,
        report,
        layers=architecture_of(config, architectures=entries).layers,
        optional_from=_optional_from(config),
    )
    if adapter is not None:
        with quiet(source):
            add_adapter(model, adapter)
    model.requires_grad_(False).train(False)
    device = _input_device(model)
    try_out(model, device, f"model {source.asked!r}")
    outputs = attention_outputs(model, architectures=entries)
    loaded = LoadedModel(
        model=model,
        tokenizer=tokenizer,
        outputs=outputs,
        shape=shape_of(outputs, model_id=source.name, revision=source.revision),
        end_token_ids=_end_tokens(source, model, tokenizer),
        attention=str(model.config._attn_implementation),
        dtype=str(model.dtype).removeprefix("torch."),
        device=device,
    )
    _check_as_expected(loaded, expected)
    return loaded


def _load_weights(
    source: Source, config: PreTrainedConfig, expected: Blueprint, device_map: str | None, quantization: str | None
) -> tuple[PreTrainedModel, Mapping[str, set[Any]]]:
    """The model, and which weights had no match; what is offloaded to disk lies there as long as the model lives."""
    placed = device_map_of(device_map) or ("cuda" if expected.device_type == "cuda" else None)
    with opened(source) as place, _offload_folder() as offloaded:
        pair: tuple[PreTrainedModel, dict[str, set[Any]]] = AutoModelForCausalLM.from_pretrained(  # type: ignore[assignment]  # a pair, as asked
            place,
            config=config,
            revision=source.revision,
            dtype=getattr(torch, expected.dtype),
            device_map=placed,
            max_memory=room_of(device_map),
            offload_folder=offloaded,
            attn_implementation=expected.attention,
            quantization_config=full_weights() if source.gguf else quantization_config(quantization, expected.dtype),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report
            trust_remote_code=False,
            **source.named,
        )
        weakref.finalize(pair[0], shutil.rmtree, offloaded, ignore_errors=True)
    return pair


def read_blueprint(
    path_or_id: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    device_map: str | None = None,
    attention: str | None = None,
    quantization: str | None = None,
    architectures: Sequence[str] = (),
) -> Blueprint:
    """What `load_model`, asked the same, will load; no weights are read, nor looked for.

    Raises:
        ModelError: whatever of `load_model`'s errors can be known from the config.
    """
    source = find(path_or_id, revision)
    config, entries = _load_config(source, architectures)
    return draw_blueprint(source, config, entries, ModelRequest(dtype, device_map, attention, quantization))


def load_tokenizer(path_or_id: str, *, revision: str | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer alone.

    Raises:
        ModelError: no such model, no tokenizer in it, or one that gives no character offsets ("slow").
    """
    return _load_tokenizer(find(path_or_id, revision))


def load_size(
    path_or_id: str,
    *,
    revision: str | None = None,
    dtype: str,
    quantization: str | None = None,
    architectures: Sequence[str] = (),
) -> ModelSize:
    """The model's size by its config alone, its numbers kept in `dtype` but for the weights that are quantised.

    Raises:
        ModelError: no such model, no readable config, or an architecture outside the table.
    """
    config, entries = _load_config(find(path_or_id, revision), architectures)
    kept: torch.dtype = getattr(torch, dtype)
    return config_size(config, bytes_per_number=float(kept.itemsize), quantization=quantization, architectures=entries)


def fingerprint(path_or_id: str, *, revision: str | None = None, fetched: bool = True) -> str:
    """Content hash of weights, config and tokenizer files; `fetched`: a hub's are brought into the local cache first.

    Raises:
        ModelError: no such model, or it has no weights.
    """
    source = find(path_or_id, revision)
    if fetched:
        fetch(source)
    return digest(source.folder) if source.gguf_path is None else digest_file(source.gguf_path)


@contextmanager
def _offload_folder() -> Iterator[Path]:
    """Where transformers may put weights that fit nowhere else and cannot be read as their files lie.

    It makes the folder if it needs one. With the model goes the folder; so it does where loading fails.
    """
    folder = Path(tempfile.gettempdir()) / f"retrieval-heads-{uuid.uuid4().hex}"
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _optional_from(config: PreTrainedConfig) -> int | None:
    """The first layer that a checkpoint may hold and the model leaves out: those that predict further tokens."""
    text = config.get_text_config()
    return int(text.num_hidden_layers) if getattr(text, "num_nextn_predict_layers", None) else None


def _check_as_expected(loaded: LoadedModel, expected: Blueprint) -> None:
    """Records are kept under the blueprint's words: they must be true of the model."""
    for what, got, wanted in (
        ("attention", loaded.attention, expected.attention),
        ("dtype", loaded.dtype, expected.dtype),
        ("shape", loaded.shape, expected.shape),
    ):
        if got != wanted:
            raise ModelError(
                f"model {loaded.shape.id!r}: loaded with {what} {got}; expected {wanted}, as its config says; ask "
                "for one that it takes"
            )


def _load_config(source: Source, architectures: Sequence[str]) -> tuple[PreTrainedConfig, Mapping[str, Architecture]]:
    """The config of a model whose architecture is in the table, and the table."""
    entries = with_entries(architectures)
    with opened(source) as place:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            place, revision=source.revision, trust_remote_code=False, **source.named
        )
    if source.gguf_path is not None:
        config.dtype = getattr(torch, read_content(source.gguf_path).dtype)
    architecture_of(config, architectures=entries)
    return config, entries


def _load_tokenizer(source: Source) -> PreTrainedTokenizerFast:
    with opened(source) as place:
        tokenizer = AutoTokenizer.from_pretrained(
            place, revision=source.revision, trust_remote_code=False, **source.named
        )
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(
            f"model {source.asked!r}: its tokenizer, a {type(tokenizer).__name__}, gives no character "
            "offsets; expected a fast tokenizer (tokenizer.json); convert it and save it beside the weights"
        )
    return tokenizer


def _check_vocabulary(source: Source, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    """Raise a ModelError for a tokenizer of another model, whose tokens are more than the model knows.

    Added ones may be: some tokenizers serve models that see pictures, and others that do not.
    """
    known, added = int(config.get_text_config().vocab_size), tokenizer.added_tokens_decoder
    last = max((number for number in tokenizer.get_vocab().values() if number not in added), default=-1)
    if last >= known:
        raise ModelError(
            f"model {source.asked!r}: its tokenizer has tokens up to {last}; expected none beyond {known - 1}, as its "
            "config says; put its own tokenizer there"
        )


def _end_tokens(source: Source, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """All end tokens that the generation config, the config, the tokenizer or a GGUF file names.

    Each may lack some: a chat model whose config knows only the end of a text would answer on into the next turn.
    """
    found = set() if source.gguf_path is None else set(read_content(source.gguf_path).end_token_ids)
    for place in (model.generation_config, model.config, model.config.get_text_config(), tokenizer):
        declared: int | list[int] | None = getattr(place, "eos_token_id", None)
        if declared is not None:
            found |= {declared} if isinstance(declared, int) else set(declared)
    return frozenset(found)


def _input_device(model: PreTrainedModel) -> torch.device:
    """Where token ids go; an offloaded embedding has no device, and its hooks take ids from anywhere."""
    device = next(model.get_input_embeddings().parameters()).device
    return torch.device("cpu") if device.type == "meta" else device

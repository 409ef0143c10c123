"""A model and its tokenizer from a folder or from the Hugging Face hub, by the Auto classes of transformers.

The same way for the embedded demo and for a 70B checkpoint. Models come for inference only: evaluation mode,
no gradients. Whatever a library says is wrong with them becomes one `ModelError` of one line.

Knows nothing of prompts or of what is ablated.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from logging import ERROR
from pathlib import Path

import torch
from huggingface_hub.utils import logging as hub_logging
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from harness.errors import ModelError
from harness.experiment.cost import ModelSize
from harness.experiment.heads import ModelShape
from harness.model.architectures import AttentionOutput, architecture_of, attention_outputs, shape_of
from harness.model.checkpoints import check_folder, digest, explain, local_folder
from harness.model.model_size import config_size

DTYPES = ("auto", "bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True, eq=False, slots=True)
class LoadedModel:
    """A model ready for inference, and what was found out about it.

    `attention` is the implementation that is used, which may be another than the one hoped for. `device` is
    where token ids go. `end_token_ids` are all of the generation config's; empty if the model has none.
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
        return getattr(self.model.config, "max_position_embeddings", None)


def check_window(loaded: LoadedModel, row_id: str, n_tokens: int) -> None:
    """Raise a ModelError that names the row unless the model's window holds this many tokens."""
    if loaded.window is not None and n_tokens > loaded.window:
        raise ModelError(
            f"{row_id}: {n_tokens} tokens, new ones included; expected at most {loaded.window}, the window "
            f"of {loaded.shape.id}; use shorter documents"
        )


def load_model(
    path_or_id: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    device_map: str | None = None,
    attention: str | None = None,
) -> LoadedModel:
    """Load a causal language model with its tokenizer.

    A local folder is read as it lies, without the network. `dtype` defaults to float32 on a CPU and to the
    checkpoint's own ("auto") on a GPU; `device_map` to the GPU if there is one, else the CPU ("auto" spreads
    over all devices); `attention` to sdpa, or eager where the model refuses sdpa.

    Raises:
        ModelError: no such model, files or weights missing or broken, a gated model without a token, a
            tokenizer without character offsets, an architecture outside the table, an unknown dtype, or an
            attention that the model refuses.
    """
    on_gpu = torch.cuda.is_available() and device_map != "cpu"
    dtype = dtype or ("auto" if on_gpu else "float32")
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r}; expected one of {', '.join(DTYPES)}")
    if (device_map or "").startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device map {device_map!r}: torch sees no GPU here; expected 'auto' or 'cpu'")
    source = _find(path_or_id, revision)
    tokenizer = _load_tokenizer(source)
    config = _load_config(source)
    implementation = usable_attention(config, attention)
    if source.local:
        check_folder(source.folder, weights=True)
    with _quiet(source):
        pair: tuple[PreTrainedModel, dict[str, set[str]]] = AutoModelForCausalLM.from_pretrained(  # type: ignore[assignment]  # a pair, as asked
            source.place,
            config=config,
            revision=source.revision,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            device_map=device_map or ("cuda" if on_gpu else None),
            attn_implementation=implementation,
            output_loading_info=True,
            trust_remote_code=False,
        )
    model, report = pair
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise ModelError(
            f"model {path_or_id!r}: {len(lacking)} weights are missing from its files, first {lacking[0]}; "
            "expected all that its config declares; they would be random numbers"
        )
    model.requires_grad_(False)
    outputs = attention_outputs(model)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        outputs=outputs,
        shape=shape_of(outputs, model_id=source.name, revision=source.revision),
        end_token_ids=_end_tokens(model, tokenizer),
        attention=str(model.config._attn_implementation),
        dtype=str(model.dtype).removeprefix("torch."),
        device=_input_device(model),
    )


def usable_attention(config: PreTrainedConfig, asked: str | None) -> str | None:
    """The attention to ask transformers for; `None` is its own choice, sdpa or else eager.

    A model that soft-caps its attention (Gemma 2) gets eager: sdpa cannot, and transformers up to 5.17 at
    least leaves the cap out without a word.

    Raises:
        ModelError: sdpa was asked for by name, for such a model.
    """
    if getattr(config, "attn_logit_softcapping", None) is None:
        return asked
    if asked == "sdpa":
        raise ModelError(
            f"attention 'sdpa': {config.model_type} soft-caps its attention, which sdpa cannot; expected 'eager'"
        )
    return asked or "eager"


def load_tokenizer(path_or_id: str, *, revision: str | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer alone.

    Raises:
        ModelError: no such model, no tokenizer in it, or one that gives no character offsets ("slow").
    """
    return _load_tokenizer(_find(path_or_id, revision))


def load_size(path_or_id: str, *, revision: str | None = None, dtype: str | None = None) -> ModelSize:
    """The model's size by its config alone, its numbers kept in `dtype`, by default the config's own.

    Raises:
        ModelError: no such model, no readable config, or an architecture outside the table.
    """
    config = _load_config(_find(path_or_id, revision))
    named = config.dtype if dtype in (None, "auto") else dtype
    kept = getattr(torch, named) if isinstance(named, str) else named or torch.float32
    return config_size(config, bytes_per_number=float(kept.itemsize))


def load_shape(path_or_id: str, *, revision: str | None = None) -> ModelShape:
    """Layers and heads as the config declares them; no weights are read. `head_dim` where the config says it.

    Raises:
        ModelError: no such model, no readable config, or an architecture outside the table.
    """
    source = _find(path_or_id, revision)
    config = _load_config(source)
    return ModelShape(
        n_layers=int(config.num_hidden_layers),
        n_heads=int(config.num_attention_heads),
        head_dim=getattr(config, architecture_of(config).head_dim, None),
        id=source.name,
        revision=source.revision,
    )


def fingerprint(path_or_id: str, *, revision: str | None = None) -> str:
    """Content hash of weights, config and tokenizer files; of a hub's model, of its files in the local cache.

    Raises:
        ModelError: no such model, or its weights are not here yet.
    """
    return digest(_find(path_or_id, revision).folder)


@dataclass(frozen=True, slots=True)
class _Source:
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


def _find(path_or_id: str, revision: str | None) -> _Source:
    """The folder, or the commit that a revision of a hub's model stands for now."""
    folder = local_folder(path_or_id)
    if folder is not None:
        if revision is not None:
            raise ModelError(
                f"model {path_or_id!r}: revision {revision!r} of a folder; expected none, or a model's id on the hub"
            )
        check_folder(folder, weights=False)
        return _Source(path_or_id, folder.resolve().name, str(folder), folder, None, local=True)
    unresolved = _Source(path_or_id, path_or_id, path_or_id, Path(), revision, local=False)
    with _quiet(unresolved):
        config_file = cached_file(path_or_id, "config.json", revision=revision)
    snapshot = Path(str(config_file)).parent
    return replace(unresolved, folder=snapshot, revision=snapshot.name)


def _load_config(source: _Source) -> PreTrainedConfig:
    """The config of a model whose architecture is in the table."""
    with _quiet(source):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            source.place, revision=source.revision, trust_remote_code=False
        )
    architecture_of(config)
    return config


def _load_tokenizer(source: _Source) -> PreTrainedTokenizerFast:
    with _quiet(source):
        tokenizer = AutoTokenizer.from_pretrained(source.place, revision=source.revision, trust_remote_code=False)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(
            f"model {source.asked!r}: its tokenizer, a {type(tokenizer).__name__}, gives no character "
            "offsets; expected a fast tokenizer (tokenizer.json); convert it and save it beside the weights"
        )
    return tokenizer


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """All end tokens: the generation config's, else the config's, else the tokenizer's."""
    for source in (model.generation_config, model.config, tokenizer):
        declared: int | list[int] | None = getattr(source, "eos_token_id", None)
        if declared is not None:
            return frozenset([declared] if isinstance(declared, int) else declared)
    return frozenset()


def _input_device(model: PreTrainedModel) -> torch.device:
    """Where token ids go; an offloaded embedding has no device, and its hooks take ids from anywhere."""
    device = next(model.get_input_embeddings().parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


@contextmanager
def _quiet(source: _Source) -> Iterator[None]:
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

"""A checkpoint's model, its weights read by the Auto classes of transformers.

The same way for the embedded demo and for a 70B checkpoint. Models come for inference only: evaluation mode,
no gradients. What records depend on is settled before weights are read (`checkpoint`), and the loaded model is checked
against it. Whatever a library says is wrong becomes one `ModelError` of one line.

A prompt is fed in pieces where feeding it whole would take memory of positions x positions: attention with weights
written out (eager), and windows, whose masks are, cost that; a piece costs piece x positions.

Knows nothing of prompts or of what is ablated.
"""

import re
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from harness.errors import ModelError
from harness.experiment import heads as blueprint
from harness.experiment.cost import ModelSize
from harness.experiment.heads import Blueprint, ModelShape
from harness.model.loading import blueprints
from harness.model.loading.altered_weights import add_adapter, quantization_config, try_out
from harness.model.loading.architectures import (
    ARCHITECTURES,
    Architecture,
    AttentionOutput,
    attention_outputs,
    check_entry,
    shape_of,
)
from harness.model.loading.blueprints import rotates_by_length
from harness.model.loading.checkpoint import Checkpoint
from harness.model.loading.device_speed import relative_speeds
from harness.model.loading.devices import choose_kernels, choose_segments, device_map_of, gpus_of, move_once, room_of
from harness.model.loading.gguf_files import check_biases, full_weights, read_content
from harness.model.loading.sources import Source, fetch, opened, quiet
from harness.model.loading.spread import spread


@dataclass(frozen=True, eq=False, slots=True)
class LoadedModel:
    """A model ready for inference, and what was found out about it.

    `size` is that of its config: weights in few bits are packed, and an adapter stands before the projections.
    `replay_hooks` are told of the rows of each step that is replayed as one graph: no hook of a module runs then.
    `attention` is the implementation that is used, which may be another than the one hoped for. `device` is
    where token ids go. `end_token_ids` are all that any of its files names; empty if none does.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    architecture: Architecture
    outputs: tuple[AttentionOutput, ...]
    shape: ModelShape
    size: ModelSize
    end_token_ids: frozenset[int]
    attention: str
    dtype: str
    device: torch.device
    replay_hooks: list[Callable[[int], None]] = field(default_factory=list)

    @property
    def window(self) -> int | None:
        """The most positions that the model was made for; `None` where its config sets no limit."""
        return blueprints.window(self.model.config)

    @property
    def waits_for_launches(self) -> bool:
        """Whether starting what is computed takes longer than computing it, as on a GPU."""
        return self.device.type == "cuda"

    @property
    def one_by_one(self) -> str | None:
        """Why a row's conditions must each be computed alone, `None` where they need not."""
        return blueprints.one_by_one(self.model.config, self.architecture)


def check_window(loaded: LoadedModel, row_id: str, n_tokens: int) -> None:
    """Raise a ModelError that names the row unless the model's window holds this many tokens."""
    blueprint.check_window(loaded.window, loaded.shape.id, row_id, n_tokens)


def load_model(checkpoint: Checkpoint, *, device_map: str | None = None, work: Sequence[float] = ()) -> LoadedModel:
    """Load a checkpoint's model, as it was asked for; `device_map` in place of the one asked for then.

    `work` is what is done in each layer, by which a model over several GPUs is laid out (`spread`).

    Raises:
        ModelError: weights missing or broken, a gated model without a token, no tokenizer that can be used, a package
            that is not installed, an adapter or an entry of the user's that does not fit, or a model that is not as
            its blueprint said.
    """
    asked, source, config = checkpoint.asked, checkpoint.source, checkpoint.config
    checkpoint.check_weights()
    fetch(source)
    tokenizer = checkpoint.tokenizer
    model, report = _load_weights(checkpoint, device_map or asked.device_map, work)
    check_fit(source.asked, report, layers=checkpoint.architecture.layers, optional_from=_optional_from(config))
    if source.gguf_path is not None:
        check_biases(source.gguf_path, (name for name, _ in model.named_parameters()))
    if asked.adapter is not None:
        with quiet(source):
            add_adapter(model, asked.adapter)
    move_once(model.get_submodule(checkpoint.architecture.layers).children())
    model.requires_grad_(False).train(False)
    device, dtype = _input_device(model), str(model.dtype).removeprefix("torch.")
    if device.type == "cuda":
        choose_kernels()
    try_out(model, device, f"model {source.asked!r}")
    outputs = attention_outputs(model, checkpoint.architecture)
    loaded = LoadedModel(
        model=model,
        tokenizer=tokenizer,
        architecture=checkpoint.architecture,
        outputs=outputs,
        shape=shape_of(outputs, model_id=source.name, revision=source.revision),
        size=checkpoint.size(dtype),
        end_token_ids=_end_tokens(source, model, tokenizer),
        attention=str(model.config._attn_implementation),
        dtype=dtype,
        device=device,
    )
    _check_as_expected(loaded, checkpoint.blueprint)
    if config.model_type not in ARCHITECTURES:
        check_entry(model, outputs, device)
    return loaded


def _load_weights(
    checkpoint: Checkpoint, device_map: str | None, work: Sequence[float]
) -> tuple[PreTrainedModel, Mapping[str, set[Any]]]:
    """The model, and which weights had no match; what is offloaded to disk lies there as long as the model lives."""
    source, expected, bits = checkpoint.source, checkpoint.blueprint, checkpoint.asked.quantization
    placed: Any = device_map_of(device_map) or ("cuda" if expected.device_type == "cuda" else None)
    if len(gpus := gpus_of(device_map)) > 1:
        layers, size = checkpoint.architecture.layers, checkpoint.size(expected.dtype)
        speeds = partial(relative_speeds, dtype=getattr(torch, expected.dtype))
        placed = spread(checkpoint.config, layers, size, gpus, work=work, speeds=speeds) or placed
    choose_segments(placed)
    with opened(source) as place, _offload_folder() as offloaded:
        pair: tuple[PreTrainedModel, dict[str, set[Any]]] = AutoModelForCausalLM.from_pretrained(  # type: ignore[assignment]  # a pair, as asked
            place,
            config=checkpoint.config,
            revision=source.revision,
            dtype=getattr(torch, expected.dtype),
            device_map=placed,
            max_memory=room_of(device_map) if isinstance(placed, str) else None,
            offload_folder=offloaded,
            attn_implementation=expected.attention,
            quantization_config=full_weights() if source.gguf else quantization_config(bits, expected.dtype),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report
            trust_remote_code=False,
            **source.named,
        )
        weakref.finalize(pair[0], shutil.rmtree, offloaded, ignore_errors=True)
    return pair


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


PIECE = 256
"""Tokens fed at once where a whole prompt would take memory that grows with its square."""


def pieces(loaded: LoadedModel, ids: torch.Tensor) -> Iterator[torch.Tensor]:
    """Prompts (rows, positions) whole, where attention takes no memory of positions x positions, else in pieces.

    Where rotary frequencies depend on how much is fed at once, always whole.
    """
    n_positions = ids.shape[1]
    in_pieces = takes_square_memory(loaded, n_positions) and not rotates_by_length(loaded.model.config)
    size = PIECE if in_pieces else max(n_positions, 1)
    for start in range(0, n_positions, size):
        yield ids[:, start : start + size]


def takes_square_memory(loaded: LoadedModel, n_positions: int) -> bool:
    """Whether a prompt of this length, fed whole, takes memory of positions x positions."""
    layers = DynamicCache(config=loaded.model.config).layers
    windows = any(getattr(layer, "sliding_window", n_positions) < n_positions for layer in layers)
    return loaded.attention == "eager" or windows or loaded.architecture.writes_masks

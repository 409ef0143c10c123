"""What a model will be, from its config and what was asked, without its weights; and what its config alone says.

The model is built by transformers itself, with weights that take no memory (torch's meta device): layers, projections
and attention are those that loading will give, and not guessed. Of a model that sees pictures too, what counts is its
language model's config. How large a model is, its modules alone tell: its weights may lie on the `meta` device, or
nowhere.

Knows nothing of where files are, nor of speed or memory that is free.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from harness.errors import ModelError
from harness.experiment.cost import LayerSize, ModelSize
from harness.experiment.heads import Blueprint
from harness.model.loading.altered_weights import BYTES, check_quantization, quantization_of, quantized_weights
from harness.model.loading.architectures import (
    BIASED,
    Architecture,
    AttentionOutput,
    architecture_of,
    attention_outputs,
    shape_of,
)
from harness.model.loading.devices import device_map_of
from harness.model.loading.gguf_files import read_content
from harness.model.loading.sources import Source, quiet

DTYPES = ("auto", "bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The model that a user asked for, and how; `None` where nothing was said.

    `model` is a folder, a GGUF file or an id on the hub. `dtype` defaults to float32 on a CPU and to the checkpoint's
    own ("auto") on a GPU; `device_map` to the GPU if there is one, else the CPU ("auto" spreads over all devices and,
    where they are full, memory and disk; JSON says where each module goes); `attention` to sdpa, or eager where the
    model refuses sdpa. `quantization` is `8bit` or `4bit`, by bitsandbytes; `adapter` the folder of a LoRA adapter,
    which stays beside the weights; `architectures` are entries beside the table, as `with_entries` reads them.
    `elsewhere` tells that it will be loaded on other machines: what the device map says of GPUs is of theirs.
    """

    model: str
    revision: str | None = None
    dtype: str | None = None
    device_map: str | None = None
    attention: str | None = None
    quantization: str | None = None
    adapter: Path | None = None
    architectures: tuple[str, ...] = ()
    elsewhere: bool = False


def draw_blueprint(
    source: Source, config: PreTrainedConfig, architecture: Architecture, asked: ModelRequest
) -> tuple[Blueprint, ModelSize]:
    """The model that a source's config stands for, loaded as asked; and its size.

    Raises:
        ModelError: what was asked for is unknown or not to be had here, the model has not its heads where its
            entry says, or this process is one of several.
    """
    _refuse_many_processes()
    device_map_of(asked.device_map)
    gpus = torch.cuda.is_available() or (asked.elsewhere and asked.device_map is not None)
    on_gpu = gpus and asked.device_map != "cpu"
    if (asked.device_map or "").startswith("cuda") and not on_gpu:
        raise ModelError(f"device map {asked.device_map!r}: torch sees no GPU here; expected 'auto' or 'cpu'")
    check_quantization(asked.quantization, config)
    if source.gguf is not None and asked.quantization is not None:
        raise ModelError(
            f"quantization {asked.quantization!r}: of a GGUF file; expected a folder or hub id; leave it out"
        )
    # both before the model is built, which writes its own dtype into the config
    dtype = _dtype(asked, config, on_gpu=on_gpu)
    gpu_dtype = None if on_gpu or asked.device_map == "cpu" else _dtype(asked, config, on_gpu=True)
    attention = usable_attention(config, asked.attention)
    with quiet(source), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]  # the library's
            config, dtype=getattr(torch, dtype), attn_implementation=attention, trust_remote_code=False
        )
    outputs = attention_outputs(model, architecture)
    blueprint = Blueprint(
        shape=shape_of(outputs, model_id=source.name, revision=source.revision),
        attention=str(model.config._attn_implementation),
        dtype=dtype,
        device_type="cuda" if on_gpu else "cpu",
        window=window(config),
        one_by_one=one_by_one(config, architecture, asked.quantization),
        gpu_dtype=gpu_dtype,
        quantized_file=None if source.gguf_path is None else read_content(source.gguf_path).quantized,
        windows=windows(config, len(outputs)),
        no_edges=no_edges(config, architecture),
    )
    size = model_size(
        model,
        bytes_per_number=float(getattr(torch, dtype).itemsize),
        quantization=asked.quantization,
        architecture=architecture,
    )
    return blueprint, size


def _refuse_many_processes() -> None:
    """Under torchrun each process would hold a part of the heads, and all would write one report."""
    n_processes = os.environ.get("WORLD_SIZE", "1")
    if n_processes not in ("", "1"):
        raise ModelError(
            f"WORLD_SIZE={n_processes}: several processes were started for one model; expected one, without torchrun; "
            "spread a model with --ablation-device-map auto, and rows over processes with -n"
        )


def _dtype(asked: ModelRequest, config: PreTrainedConfig, *, on_gpu: bool) -> str:
    """The dtype's name; `auto` is the config's own, float32 where it names none."""
    default = "float16" if asked.quantization == "8bit" else "auto" if on_gpu else "float32"
    dtype = asked.dtype or default
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r}; expected one of {', '.join(DTYPES)}")
    return str(config.dtype or "float32").removeprefix("torch.") if dtype == "auto" else dtype


def one_by_one(config: PreTrainedConfig, architecture: Architecture, quantization: str | None = None) -> str | None:
    """Why this model's conditions must each be computed alone; `None` where its layers may be branched.

    `quantization` is what is asked for beside the config.
    """
    if getattr(config, "alibi", False):
        return BIASED
    if architecture.one_by_one is not None:
        return architecture.one_by_one
    if rotates_by_length(config):
        return "its rotary frequencies depend on how many tokens are fed at once"
    if "8bit" in (quantization, quantization_of(config)):
        # which columns are left in 16 bits is decided over the whole batch
        return "how 8-bit products are rounded depends on what is computed together"
    return None


def rotates_by_length(config: PreTrainedConfig) -> bool:
    """Whether rotary frequencies depend on how many tokens are fed: pieces would be rotated differently."""
    parameters = getattr(config.get_text_config(), "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds)


def usable_attention(config: PreTrainedConfig, asked: str | None) -> str | None:
    """The attention to ask transformers for; `None` is its own choice, sdpa or else eager.

    A model that soft-caps its attention (Gemma 2) gets eager: sdpa cannot, and transformers up to 5.17 at
    least leaves the cap out without a word.

    Raises:
        ModelError: sdpa was asked for by name, for such a model.
    """
    if getattr(config.get_text_config(), "attn_logit_softcapping", None) is None:
        return asked
    if asked == "sdpa":
        raise ModelError(
            f"attention 'sdpa': {config.model_type} soft-caps its attention, which sdpa cannot; expected 'eager'"
        )
    return asked or "eager"


def window(config: PreTrainedConfig) -> int | None:
    """The most positions that the model was made for; `None` where its config sets no limit."""
    declared: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return declared


def windows(config: PreTrainedConfig, n_layers: int) -> tuple[int | None, ...]:
    """How many positions each layer attends to at most, itself included; `None` without a limit.

    Where a config names no kinds of layers, its sliding window is every layer's.
    """
    text = config.get_text_config()
    width: int | None = getattr(text, "sliding_window", None)
    kinds = getattr(text, "layer_types", None) or ["sliding_attention"] * n_layers
    return tuple(width if kind == "sliding_attention" else None for kind in kinds[:n_layers])


def no_edges(config: PreTrainedConfig, architecture: Architecture) -> str | None:
    """Why what single tokens give to this model's heads cannot be taken away; `None` where it can."""
    if not architecture.own_attention:
        return None
    return f"{config.model_type} computes attention itself, not through the library's attention interface"


_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""How configs call the number of experts of a layer."""


def model_size(
    model: PreTrainedModel,
    *,
    bytes_per_number: float | None = None,
    quantization: str | None = None,
    architecture: Architecture | None = None,
) -> ModelSize:
    """The size of a model as its config describes it: neither packed into few bits, nor with an adapter.

    `bytes_per_number` and `quantization` are given where weights will be kept in another way than they are here; the
    config may say by itself that they are quantised.

    Raises:
        ModelError: an architecture outside the table.
    """
    architecture = architecture or architecture_of(model.config)
    outputs = attention_outputs(model, architecture)
    layers = model.get_submodule(architecture.layers)
    cached = _cached_numbers(model.config, outputs[0])
    size = ModelSize(
        layers=tuple(
            _layer_size(layer, output, cached, model.config)
            for layer, output in zip(layers.children(), outputs, strict=True)
        ),
        n_weights=sum(parameter.numel() for parameter in model.parameters()),
        bytes_per_number=bytes_per_number or float(model.dtype.itemsize),
    )
    quantization = quantization or quantization_of(model.config)
    if quantization is None:
        return size
    return replace(size, n_quantized=quantized_weights(model), bytes_per_quantized=BYTES[quantization])


def _cached_numbers(config: PreTrainedConfig, output: AttentionOutput) -> int:
    """Numbers that one position of one layer keeps: a key and a value for each head that has its own."""
    key_heads = int(getattr(config.get_text_config(), "num_key_value_heads", None) or output.n_heads)
    return 2 * key_heads * output.head_dim


def _layer_size(layer: nn.Module, output: AttentionOutput, cached: int, config: PreTrainedConfig) -> LayerSize:
    """Matrices alone count: biases and norms cost nothing beside them."""
    projection = sum(parameter.numel() for parameter in output.module.parameters() if parameter.dim() > 1)
    before = rest = 0.0
    prefix, _, _ = output.name.partition(f".{output.layer}.")
    attention = output.name.removeprefix(f"{prefix}.{output.layer}.").rpartition(".")[0]
    for name, parameter in layer.named_parameters():
        if parameter.dim() < 2:
            continue
        if name.startswith(f"{attention}."):
            before += parameter.numel()
        else:
            rest += parameter.numel() * _share(name, config)
    return LayerSize(
        attention=round(before - projection),
        rest=round(rest + projection),
        width=output.n_heads * output.head_dim,
        cached=cached,
        held=sum(parameter.numel() for parameter in layer.parameters()),
    )


def _share(name: str, config: PreTrainedConfig) -> float:
    """Which part of a matrix a token meets: of experts, those that it is sent to."""
    if ".experts." not in f".{name}.":
        return 1.0
    config = config.get_text_config()
    n_experts = next((int(number) for each in _EXPERTS if (number := getattr(config, each, None))), 1)
    return int(getattr(config, "num_experts_per_tok", None) or n_experts) / n_experts

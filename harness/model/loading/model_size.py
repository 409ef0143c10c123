"""How large a model is, from its modules alone: its weights may lie on torch's `meta` device, or nowhere.

Knows nothing of speed or memory that is free.
"""

from dataclasses import replace

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from harness.experiment.cost import LayerSize, ModelSize
from harness.model.loading.altered_weights import BYTES, quantization_of, quantized_weights
from harness.model.loading.architectures import (
    Architecture,
    AttentionOutput,
    architecture_of,
    attention_outputs,
)

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
    )


def _share(name: str, config: PreTrainedConfig) -> float:
    """Which part of a matrix a token meets: of experts, those that it is sent to."""
    if ".experts." not in f".{name}.":
        return 1.0
    config = config.get_text_config()
    n_experts = next((int(number) for each in _EXPERTS if (number := getattr(config, each, None))), 1)
    return int(getattr(config, "num_experts_per_tok", None) or n_experts) / n_experts

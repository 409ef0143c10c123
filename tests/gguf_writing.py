"""A tiny random Qwen2 as a GGUF file, written by the format's own package."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from gguf.constants import MODEL_ARCH
from gguf.tensor_mapping import get_tensor_name_map
from tiny_models import N_HEADS, N_LAYERS, SPECIAL_TOKENS, VOCABULARY, tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

ARCHITECTURE = "qwen2"
"""Its tensors stand in a GGUF file as they do in a folder; a Llama's queries and keys are turned."""

NOTHING = MappingProxyType[str, Any]({})
TEMPLATE = "{% for message in messages %}<s>{{ message['content'] }}{% endfor %}<end>"


def save_gguf(file: Path, kind: str = "F32", changed: Mapping[str, Any] = NOTHING, architecture: str = "qwen2") -> Path:
    """The file; `changed` are entries to add, or with `None` to leave out."""
    model = tiny_model(ARCHITECTURE)
    config, tokens = model.config, tiny_tokenizer().convert_ids_to_tokens(list(range(VOCABULARY)))
    entries: dict[str, Any] = {
        "qwen2.context_length": config.max_position_embeddings,
        "qwen2.block_count": N_LAYERS,
        "qwen2.embedding_length": config.hidden_size,
        "qwen2.feed_forward_length": config.intermediate_size,
        "qwen2.attention.head_count": N_HEADS,
        "qwen2.attention.head_count_kv": config.num_key_value_heads,
        "qwen2.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "qwen2.rope.freq_base": float(config.rope_parameters["rope_theta"]),
        "tokenizer.ggml.model": "gpt2",
        # a byte that no text has makes room for the one merge that a vocabulary must have here
        "tokenizer.ggml.tokens": ["Ġa" if token == "À" else token for token in tokens],
        "tokenizer.ggml.token_type": [1] * 256 + [3] * len(SPECIAL_TOKENS),
        "tokenizer.ggml.merges": ["Ġ a"],
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.ggml.eos_token_id": 257,
        "tokenizer.chat_template": TEMPLATE,
    } | dict(changed)
    writer = GGUFWriter(file, architecture)
    for name, value in entries.items():
        match value:
            case int():
                writer.add_uint32(name, value)
            case float():
                writer.add_float32(name, value)
            case str():
                writer.add_string(name, value)
            case list():
                writer.add_array(name, value)
    _add_tensors(writer, model, GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def quantized_model(kind: str) -> PreTrainedModel:
    """The oracle: the same model with every matrix rounded as this kind keeps it."""
    model = tiny_model(ARCHITECTURE)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            kept = quants.quantize(parameter.numpy(), GGMLQuantizationType[kind])
            parameter.copy_(torch.from_numpy(quants.dequantize(kept, GGMLQuantizationType[kind]).copy()))
    return model


def _add_tensors(writer: GGUFWriter, model: PreTrainedModel, kind: GGMLQuantizationType) -> None:
    """Matrices of this kind, all else in 32 bits."""
    names = get_tensor_name_map(MODEL_ARCH.QWEN2, N_LAYERS)
    for name, tensor in model.state_dict().items():
        base, _, suffix = name.rpartition(".")
        called = f"{names.get_name(base)}.{suffix}"
        if tensor.dim() > 1 and kind is not GGMLQuantizationType.F32:
            writer.add_tensor(called, quants.quantize(tensor.numpy(), kind), raw_dtype=kind)
        else:
            writer.add_tensor(called, tensor.numpy())

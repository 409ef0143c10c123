"""Weights that are not as the checkpoint has them: in fewer bits, or with an adapter put around them.

`8bit`: LLM.int8() (Dettmers et al. 2022, https://arxiv.org/abs/2208.07339) by bitsandbytes; inputs are rounded to 8
bits as well, so a zeroed head changes how finely the others of its position are rounded. `4bit`: NF4 (Dettmers et al.
2023, https://arxiv.org/abs/2305.14314); inputs stay as they are. Which modules are quantised is the library's choice;
`quantized_weights` counts by its rule.

A LoRA adapter (Hu et al. 2021, https://arxiv.org/abs/2106.09685) is put around a loaded model's projections by peft,
and stays beside the weights. Where it is around an output projection, its own first matrix reads the same input, and
loses a zeroed head with it. Every weight of an adapter must have its place in the model.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from harness.errors import ModelError
from harness.model.loading.checkpoint_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_files

UNLIKE_LORA = ("use_dora", "alora_invocation_tokens")
"""Settings of peft's that make of LoRA what transformers does not load whole (5.23), or calls in another way."""


def check_adapter(folder: Path) -> None:
    """Raise a ModelError unless the folder holds a LoRA adapter, and peft is here to load it; reads no weights."""
    where = f"adapter {folder}"
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{where}: holds no {name}; expected the folder of a LoRA adapter, as peft saves it")
    check_files(where, folder)
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        kind, beside = config.get("peft_type"), [name for name in UNLIKE_LORA if config.get(name)]
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{where}: {ADAPTER_CONFIG}: {error}; expected JSON; save the adapter again") from None
    if kind != "LORA" or beside:
        got = " with ".join([str(kind), *beside])
        raise ModelError(f"{where}: {got}; expected plain LoRA; merge it into the weights and name the result")
    if find_spec("peft") is None:
        raise ModelError(
            f"{where}: the package peft is not installed; expected it; pip install 'retrieval-heads[lora]'"
        )


def add_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Put the adapter around the model's projections, all of its weights and nothing else.

    Raises:
        ModelError: as `check_adapter`; an adapter of another model; a model of which parts are offloaded, whose
            weights peft would not find.
    """
    check_adapter(folder)
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ModelError(
            f"adapter {folder}: parts of the model are offloaded; expected all of it on devices; use more devices, or "
            "merge the adapter into the weights"
        )
    # weights of another shape are in the report then
    report = model.load_adapter(str(folder), ignore_mismatched_sizes=True)
    if report is None:
        raise ModelError(f"adapter {folder}: transformers does not say what it loaded; expected 5.23; upgrade it")
    reshaped = {name for name, *_ in report.mismatched_keys}
    astray = sorted({*report.missing_keys, *report.unexpected_keys, *reshaped})
    if astray:
        raise ModelError(
            f"adapter {folder}: {len(astray)} of its weights and the model's do not fit, first {astray[0]}; expected "
            "an adapter of this model"
        )


BYTES = MappingProxyType({"8bit": 1.0, "4bit": 0.5 + 4 / 64})
"""Of one weight; in 4 bits each 64 share a scale of four bytes."""

QUANTIZATIONS = tuple(BYTES)


def check_quantization(name: str | None, config: PreTrainedConfig) -> None:
    """Raise a ModelError unless this model can be quantised here as asked; `None` asks for nothing."""
    if name is None:
        return
    where = f"quantization {name!r}"
    if name not in QUANTIZATIONS:
        raise ModelError(f"{where}; expected {' or '.join(QUANTIZATIONS)}")
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(f"{where}: the checkpoint is quantised already; expected one that is not; leave it out")
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            f"{where}: the package bitsandbytes is not installed; expected it; pip install 'retrieval-heads[quant]'"
        )


def quantization_config(name: str | None, dtype: str) -> BitsAndBytesConfig | None:
    """What transformers is told; `dtype` is what 4-bit weights are computed in."""
    if name is None:
        return None
    if name == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]  # the library's
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]  # the library's
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, dtype)
    )


def quantization_of(config: PreTrainedConfig) -> str | None:
    """How bitsandbytes has the weights that a config describes: as the file says, or as the library has read it."""
    declared = getattr(config, "quantization_config", None)
    said = declared if isinstance(declared, dict) else vars(declared or object)
    return next((name for name in QUANTIZATIONS if said.get(f"load_in_{name}") or said.get(f"_load_in_{name}")), None)


def quantized_weights(model: PreTrainedModel) -> int:
    """How many of a plain model's weights would be quantised: of all linear layers but that over the vocabulary."""
    kept: nn.Module | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # the library's
    quantized = (module for module in model.modules() if isinstance(module, nn.Linear) and module is not kept)
    return sum(module.weight.numel() for module in quantized)


@torch.inference_mode()
def try_out(model: PreTrainedModel, device: torch.device, where: str) -> None:
    """Feed one token to a quantised model: which shapes they do not take, its kernels only say then.

    Raises:
        ModelError: they do not take this model's.
    """
    if not getattr(model, "is_quantized", False):
        return
    try:
        model(input_ids=torch.tensor([[0]], device=device))
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{where}: its quantised weights cannot be computed with here: {type(error).__name__}: {said}; expected "
            "widths that the kernels take, on a CPU multiples of 64; use other bits, or none"
        ) from error

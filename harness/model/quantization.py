"""Weights in 8 or 4 bits, by bitsandbytes through the quantisation config of transformers.

`8bit`: LLM.int8() (Dettmers et al. 2022, https://arxiv.org/abs/2208.07339); inputs are rounded to 8 bits as well, so a
zeroed head changes how finely the others of its position are rounded. `4bit`: NF4 (Dettmers et al. 2023,
https://arxiv.org/abs/2305.14314); inputs stay as they are.

Knows nothing of which modules are quantised: that is the library's choice.
"""

from importlib.util import find_spec

import torch
from transformers import BitsAndBytesConfig, PreTrainedConfig

from harness.errors import ModelError

QUANTIZATIONS = ("8bit", "4bit")


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

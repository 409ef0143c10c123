"""LoRA adapters (Hu et al. 2021, https://arxiv.org/abs/2106.09685), put around a loaded model's projections by peft.

An adapter stays beside the weights, so these are what they were. Where it is around an output projection, its own
first matrix reads the same input, and loses a zeroed head with it.

Knows nothing of base models, but that every weight of the adapter must have its place in one.
"""

import json
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedModel

from harness.errors import ModelError
from harness.model.loading.checkpoints import ADAPTER_CONFIG, ADAPTER_WEIGHTS

UNLIKE_LORA = ("use_dora", "alora_invocation_tokens")
"""Settings of peft's that make of LoRA what transformers does not load whole (5.23), or calls in another way."""


def check_adapter(folder: Path) -> None:
    """Raise a ModelError unless the folder holds a LoRA adapter, and peft is here to load it; reads no weights."""
    where = f"adapter {folder}"
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{where}: holds no {name}; expected the folder of a LoRA adapter, as peft saves it")
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        kind, beside = config.get("peft_type"), [name for name in UNLIKE_LORA if config.get(name)]
    except (ValueError, AttributeError) as error:
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

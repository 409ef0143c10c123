"""Devices: which there are, and where a device map puts a model.

Knows nothing of models.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress

import torch

from harness.errors import ModelError
from harness.experiment.locks import gpu_names
from harness.files import strict_json

_ONE = re.compile(r"(cuda:?)?\d*|cpu|disk")
_SEVERAL = re.compile(r"cuda:\d+(\s*,\s*cuda:\d+)+")


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process sees, by names that all processes of the machine share."""
    n_visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return gpu_names(n_visible, os.environ.get("CUDA_VISIBLE_DEVICES"))


def uploaded(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """These values on a device; a GPU is not waited for, as a copy from memory that may be paged out would be."""
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


LONG = 4096
"""Tokens of a prompt and its answer from which on the shared engine reads it by cuDNN's attention, on cards where that
is the fastest."""

KERNELS = f"flash, efficient, math; long prompts by cudnn in buckets from {LONG} tokens on"
"""Kernels that may compute sdpa attention on a GPU: all of torch's but cuDNN's, and that one for long prompts alone.

cuDNN's makes a plan for every new number of rows and positions, about 50 ms each on an H100 (torch 2.11), where
flash takes 0.02 ms for a prompt of 230 tokens and 1.3 ms for one of 7,000 (cuDNN's, once planned, 0.03 and 0.7 ms a
layer). In a study nearly every prompt has another length; only long ones are filled up to one of a few. Kernels are
named once, and not measured in a run: they round differently, and the same study is to give the same report.
"""


def choose_kernels() -> None:
    """Let cuDNN's attention on this process' GPUs compute only what asks for it by its name."""
    torch.backends.cuda.enable_cudnn_sdp(False)


ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""What somebody says in the environment of how torch takes a GPU's memory."""


def choose_segments(placed: str | Mapping[str, str | int] | None) -> None:
    """Take a GPU's memory in segments that grow where a model lies on one alone, unless somebody has said otherwise.

    Where a model nearly fills a card, blocks of fixed sizes leave fragments, none of which holds what is asked for next
    (https://docs.pytorch.org/docs/stable/notes/cuda.html, `expandable_segments`). Of segments that grow, copies to
    another card failed (torch 2.11: invalid argument). `placed` is where the model goes, as the library that puts it
    there is told; it is to be called before.
    """
    if placed is None or set(ALLOCATOR) & set(os.environ) or sys.platform != "linux" or not torch.cuda.is_available():
        return
    places = {placed} if isinstance(placed, str) else set(placed.values())
    alone = len(places - {"cpu", "disk"}) == 1 and all(_ONE.fullmatch(str(place)) for place in places)
    set_allocator = getattr(torch._C, "_accelerator_setAllocatorSettings", None)
    if set_allocator is not None:  # torch 2.8 has it by another name
        with suppress(RuntimeError, ValueError):  # an allocator that does not know it stays as it is
            set_allocator(f"expandable_segments:{alone}")


def attention_with_kernels(attention: str, device_type: str) -> str:
    """How attention is computed, as records are kept under: on a GPU sdpa's kernels are named too."""
    return f"{attention} ({KERNELS})" if (attention, device_type) == ("sdpa", "cuda") else attention


def device_names(model: torch.nn.Module) -> str:
    """The names of the cards that a model's weights lie on; of other devices the kind, as `cpu`.

    Weights that wait on a disk lie nowhere, and are not told.
    """
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type != "meta"}
    names = {torch.cuda.get_device_name(each) if each.type == "cuda" else each.type for each in devices}
    return ", ".join(sorted(names))


def move_once(layers: Iterable[torch.nn.Module]) -> None:
    """Move what a layer is handed where it enters the layer, and not again where it enters each of its parts.

    The library that spreads a model over devices looks at every module's arguments, which takes time at each call. Of
    layers whose weights are not all on one GPU nothing is changed.
    """
    for layer in layers:
        whole = {parameter.device.type for parameter in layer.parameters()} == {"cuda"}
        if whole and len({parameter.device for parameter in layer.parameters()}) == 1:
            for part in layer.modules():
                if part is not layer and hasattr(part, "_hf_hook"):
                    from accelerate.hooks import remove_hook_from_module  # type: ignore[import-untyped]  # has no types

                    remove_hook_from_module(part)


def device_map_of(text: str | None) -> str | dict[str, str | int] | None:
    """A device map's name, or where each module goes, from JSON; several GPUs are `auto`, within `room_of`.

    Raises:
        ModelError: it begins as JSON does, and is none.
    """
    if text is not None and _SEVERAL.fullmatch(text.strip()):
        return "auto"
    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        places = strict_json(text)
        if not isinstance(places, dict) or any(type(place) not in {str, int} for place in places.values()):
            raise ValueError("a place that is neither a device's name nor a number")
    except ValueError as error:
        raise ModelError(
            f'device map {text!r}: {error}; expected a name as \'auto\', or JSON as {{"model.layers.0": "cpu"}}'
        ) from None
    return places


def room_of(text: str | None) -> dict[int, int] | None:
    """Free bytes of each GPU where a device map names several, as `cuda:0,cuda:3`; no others are used, and no disk.

    `None` where it names none, or one.
    """
    if text is None or not _SEVERAL.fullmatch(text.strip()):
        return None
    return {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in map(int, re.findall(r"\d+", text))}


def gpus_of(text: str | None) -> dict[int, int]:
    """The same of all GPUs where a device map is `auto`; none where it leaves no choice."""
    if text == "auto" and torch.cuda.is_available():
        return {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())}
    return room_of(text) or {}

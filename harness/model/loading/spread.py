"""A model over several GPUs: which of its parts lies where.

What fits on one GPU beside a row's keys and values is put on one. What does not is dealt out layer by layer
(`placement`), by what rows do in each layer and by how fast the GPUs are, as measured; what the model runs before its
layers lies with the first of them, what it runs after them with the last, and an output matrix that is the embedding's
lies with that. Where all GPUs together are too small, and where weights stand outside of parts that can be named, the
library that loads finds places, on the CPU too.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from harness.errors import ModelError
from harness.experiment.cost import ModelSize, layer_bytes, outside_bytes
from harness.model.loading.placement import Parts, balanced

ROWS = 0.1
"""Of a GPU's free memory, what rows need at least."""

DeviceMap = dict[str, str]
"""Devices by the names of modules; all of the model's where the name is empty."""


def spread(  # of a model its config and path of decoder layers, how large it is; where it may go
    config: PreTrainedConfig,
    layers: str,
    size: ModelSize,
    free: Mapping[int, float],
    *,
    work: Sequence[float] = (),
    speeds: Callable[[Sequence[int]], Mapping[int, float]],
) -> DeviceMap | None:
    """Where a model's parts go on these GPUs, of which so many bytes are free; `None` where the library is to find out.

    `work[l]` is what rows do in layer l, in any unit, by default alike. `speeds` measures GPUs, the fastest at 1; it is
    asked where there is a choice. Embedding and output matrix count as memory alone: they are looked up, and read once
    for each new token (of the 70B shape 0.01 of a row's 6.5 s at an H200's pace).
    """
    roomiest = max(free, key=lambda gpu: free[gpu])
    if size.weight_bytes <= (1 - ROWS) * free[roomiest]:
        return {"": f"cuda:{roomiest}"}
    ends, n_layers = outside_bytes(size) / 2, len(size.layers)
    parts = Parts(layer_bytes(size), ends, ends, tuple(work) or (1.0,) * n_layers)
    gpus = sorted(free)
    measured = speeds(gpus)
    try:
        places = balanced(parts, [(1 - ROWS) * free[gpu] for gpu in gpus], [measured[gpu] for gpu in gpus])
    except ModelError:
        return None
    with torch.device("meta"):
        drawn: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # the library's
    return device_map_of_layers(drawn, layers, [f"cuda:{gpus[place]}" for place in places])


def device_map_of_layers(model: PreTrainedModel, layers: str, places: Sequence[str]) -> DeviceMap | None:
    """A device for every part of a model, from one for each layer; `None` where a weight belongs to no part.

    What the model runs before its layers is registered before them; angles that all layers are handed lie with it.
    """
    device_map: DeviceMap = {}
    tied = bool(model.config.get_text_config().tie_word_embeddings)
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # the library's
    passed = False
    for name, module in model.named_modules():
        above, _, _ = name.rpartition(".")
        if name == layers:
            passed = True
            device_map |= {f"{layers}.{number}": place for number, place in enumerate(places)}
        # what stands beside the layers, or beside a module that they are in, goes whole
        elif name and above != layers and _is_in(layers, above) and not _is_in(layers, name):
            angles = not any(True for _ in module.parameters())
            last = passed and not angles and not (tied and module is head)
            device_map[name] = places[-1] if last else places[0]
    named = tuple(f"{name}." for name in device_map)
    return device_map if all(name.startswith(named) for name, _ in model.named_parameters()) else None


def _is_in(path: str, module: str) -> bool:
    """Whether a path leads into a module; all lead into the model itself, whose path is empty."""
    return not module or path.startswith(f"{module}.")


def stages_in_words(places: Sequence[str]) -> str:
    """Runs of layers, `layers 0-46 on cuda:0, 47-79 on cuda:1`."""
    runs: list[str] = []
    start = 0
    for end in range(1, len(places) + 1):
        if end == len(places) or places[end] != places[start]:
            runs.append(f"{start if end - start == 1 else f'{start}-{end - 1}'} on {places[start]}")
            start = end
    return f"layers {', '.join(runs)}"

"""How many branches of one prompt fit into memory at once: an estimate, so that few attempts fail.

Knows nothing of trees or tokens; whoever runs out of memory all the same halves the number and goes on.
"""

import torch

from harness.model.loading.loaded_model import LoadedModel

CPU_BYTES = 2**28
"""What branches may take on a CPU, where the memory that is free says little: larger batches are no faster."""

SHARE = 0.8
"""Of a GPU's free memory: the rest is left to fragments and to kernels' own scratch."""


def branches_that_fit(loaded: LoadedModel, n_positions: int) -> int:
    """At least 1; by the memory that is free now on the fullest GPU of the model, or by a fixed budget."""
    devices = {parameter.device for parameter in loaded.model.parameters() if parameter.device.type == "cuda"}
    free = min((_free(device) for device in devices), default=CPU_BYTES)
    return max(1, int(free / _branch_bytes(loaded, n_positions)))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _free(device: torch.device) -> float:
    """Bytes that can be had on a GPU: not in use by anyone, or kept by this process for reuse."""
    unused, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return SHARE * (unused + kept)


def _branch_bytes(loaded: LoadedModel, n_positions: int) -> int:
    """What one branch holds at its worst: its keys and values twice, and one layer's intermediate results."""
    config, shape = loaded.model.config.get_text_config(), loaded.shape
    size = loaded.model.dtype.itemsize
    width = shape.n_heads * (shape.head_dim or 0)
    cache = 2 * sum(each.cached for each in loaded.size.layers)
    inner = int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    layer = 8 * int(config.hidden_size) + 3 * inner + 5 * width
    # eager attention: scores, softmax in float32, and its copy
    scores = shape.n_heads * n_positions * (2 * size + 4) if loaded.attention == "eager" else 0
    return n_positions * (size * (cache + layer) + scores)

"""How fast a device is at best, measured now: large matrix products, and copies of memory.

A benchmark that says "half of what the card can do" needs both from the same minutes as its own figures. Knows
nothing of models.
"""

import time
from collections.abc import Callable

import torch

from harness.experiment.cost import Speed

REPEATS = 7
GPU_SIDE, CPU_SIDE = 8192, 1024
"""Rows and columns of the matrices that are multiplied."""
GPU_BYTES, CPU_BYTES = 2**31, 2**28
"""Bytes that are copied; far more than any cache holds."""


def measure_speed(device: torch.device, dtype: torch.dtype) -> Speed:
    """The best of several: 2 n^3 operations of an n x n product; bytes read plus bytes written of a copy."""
    on_gpu = device.type == "cuda"
    side = GPU_SIDE if on_gpu else CPU_SIDE
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty(side, side, device=device, dtype=dtype)
    seconds = _best(lambda: torch.mm(left, right, out=product), device)
    source = torch.zeros(GPU_BYTES if on_gpu else CPU_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_seconds = _best(lambda: target.copy_(source), device)
    return Speed(flops=2 * side**3 / seconds, bandwidth=2 * source.numel() / copy_seconds)


def finish(device: torch.device) -> None:
    """Wait until a device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _best(work: Callable[[], object], device: torch.device) -> float:
    work()  # kernels are chosen, and memory is taken, at the first call
    finish(device)
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        finish(device)
        best = min(best, time.perf_counter() - began)
    return best

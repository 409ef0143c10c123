"""How fast a device is: at best, and without a pause; and how fast GPUs are beside each other.

A benchmark that says "half of what the card can do" needs a device's speed (large matrix products, and copies of
memory) from the same minutes as its own figures. At best is one product after a pause; a GPU whose power or heat is
limited clocks down under products without a pause, which is what reading long prompts is, so there what it holds is
measured too. A model that is split over unlike GPUs needs to know which of them is the slower, and by how much.

Knows nothing of models.
"""

import time
from collections.abc import Callable, Iterable

import torch

from harness.experiment.cost import Speed

REPEATS = 7
GPU_SIDE, CPU_SIDE = 8192, 1024
"""Rows and columns of the matrices that are multiplied."""
GPU_BYTES, CPU_BYTES = 2**31, 2**28
"""Bytes that are copied; far more than any cache holds."""
PAUSE_SECONDS = 1.0
"""Of a GPU, before its best is measured: until then it may still be as slow as what came before has made it."""
HELD_SECONDS = 2.0
"""Seconds of products before those that are measured, and of these: clocks settle within one."""
ALIKE = 0.05
"""By what part a GPU may be slower than the fastest and count as fast: like cards get the same layers every time."""


def measure_speed(device: torch.device, dtype: torch.dtype) -> Speed:
    """The best of several: 2 n^3 operations of an n x n product; bytes read plus bytes written of a copy."""
    on_gpu = device.type == "cuda"
    multiply, flops = _product(device, dtype)
    if on_gpu:
        finish(device)
        time.sleep(PAUSE_SECONDS)
    seconds = _best(multiply, device)
    source = torch.zeros(GPU_BYTES if on_gpu else CPU_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_seconds = _best(lambda: target.copy_(source), device)
    return Speed(flops=flops / seconds, bandwidth=2 * source.numel() / copy_seconds)


def measure_held_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations a second of the same products one behind the other for `HELD_SECONDS`, after as many seconds of them.

    `None` on a CPU, where nothing but other work slows them down.
    """
    if device.type != "cuda":
        return None
    multiply, flops = _product(device, dtype)
    n_products = max(1, int(HELD_SECONDS / _best(multiply, device)))
    for _ in range(2):
        began = time.perf_counter()
        for _ in range(n_products):
            multiply()
        finish(device)
        seconds = time.perf_counter() - began
    return n_products * flops / seconds


def relative_speeds(gpus: Iterable[int], dtype: torch.dtype) -> dict[int, float]:
    """How fast each GPU multiplies, the fastest at 1: what reading long prompts mostly is.

    It takes eight products a GPU, and leaves its memory free.
    """
    flops = {}
    for gpu in gpus:
        multiply, n = _product(torch.device("cuda", gpu), dtype)
        flops[gpu] = n / _best(multiply, torch.device("cuda", gpu))
        del multiply
    torch.cuda.empty_cache()
    fastest = max(flops.values())
    return {gpu: 1.0 if each > (1 - ALIKE) * fastest else each / fastest for gpu, each in flops.items()}


def _product(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """What multiplies two n x n matrices of random numbers, and the 2 n^3 operations that it takes."""
    side = GPU_SIDE if device.type == "cuda" else CPU_SIDE
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty(side, side, device=device, dtype=dtype)
    return lambda: torch.mm(left, right, out=product), 2.0 * side**3


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

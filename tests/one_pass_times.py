"""What each step between products takes as torch does it, and by its kernel (`harness.model.generation.one_pass`).

    python -m tests.one_pass_times --dtype bfloat16

The seconds in which kernels are made ready, compiled unless that was kept from another time. Then, of a prompt of 7,040
tokens and a 70B shape, or of a piece of 2,560 of them where two parts of an attention are put together: milliseconds,
the median of some turns, each on numbers of its own that nothing has read before. Where there are no kernels, as on a
CPU, the steps alone are timed.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import torch

from harness.model.generation.one_pass import STEPS, _copied, _tried_kernels

TOKENS, PIECE = 7040, 2560
HIDDEN, INNER, HEADS, WIDTH = 8192, 28672, 64, 128
TURNS = 5


def work(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, list[torch.Tensor]]]:
    """The name of each step, and random numbers of these sizes for it."""

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device, dtype=dtype)

    yield "gate", [numbers(TOKENS, INNER), numbers(TOKENS, INNER)]
    yield "scale", [numbers(TOKENS, HIDDEN), numbers(HIDDEN)]
    yield "rotate", [numbers(1, TOKENS, HEADS, WIDTH).transpose(1, 2), *numbers(2, 1, 1, TOKENS, WIDTH)]
    parts = [(numbers(1, PIECE, HEADS, WIDTH).transpose(1, 2), numbers(1, HEADS, PIECE, 1).float()) for _ in range(2)]
    yield "join", [each for part in parts for each in part]


def milliseconds(step: Callable[..., torch.Tensor], tensors: Sequence[torch.Tensor]) -> float:
    """What a step takes, after one turn without the clock."""
    taken = []
    for _ in range(1 + TURNS):
        fresh = _copied(tensors)
        finish(tensors[0].device)
        began = time.perf_counter()
        step(*fresh)
        finish(tensors[0].device)
        taken.append(1e3 * (time.perf_counter() - began))
    return median(taken[1:])


def finish(device: torch.device) -> None:
    """Wait for what a device was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Print a line a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["bfloat16", "float16"], default="bfloat16")
    dtype = getattr(torch, parser.parse_args().dtype)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    began = time.perf_counter()
    kernels = _tried_kernels(device, dtype) if device.type == "cuda" else None
    ready = f"kernels made ready in {time.perf_counter() - began:.1f} s" if kernels else "no kernels"
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU", torch.__version__, dtype, ready)
    for name, tensors in work(device, dtype):
        by_kernel = f"{milliseconds(kernels[name], tensors):8.3f} ms by its kernel" if kernels else "no kernel"
        print(f"{name:7} {milliseconds(STEPS[name], tensors):8.3f} ms step by step, {by_kernel}")


if __name__ == "__main__":
    main()

"""A made-up benchmark: a fake for tests."""

from harness.experiment.bench_result import BenchResult, SideResult
from harness.experiment.cost import Speed

SETTING = {
    "model": "demo",
    "dtype": "float32",
    "attention": "sdpa",
    "device": "a card",
    "n_layers": 8,
    "prompt_tokens": "20-30",
    "max_new_tokens": 20,
}


def make_result(n_conditions: int = 6, *, seconds: float = 4.0, peak: int | None = 2**30) -> BenchResult:
    """The engine takes 1 second for two groups of a row, the baseline `seconds`; the least time is 0.4 s."""
    return BenchResult(
        engine=SideResult("shared", (0.4, 0.6), 23.5, 4.5, 9.0, peak),
        baseline=SideResult("reference", (seconds * 0.4, seconds * 0.6), 48.0, 120.0, 120.0, peak),
        n_rows=2,
        n_conditions=n_conditions,
        n_completions=12,
        n_different=0,
        n_ties=0,
        own_flips=None,
        speed=Speed(1e12, 1e11),
        flops=3e11,
        read_bytes=1e10,
        least_steps=2,
    )

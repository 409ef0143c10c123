"""A benchmark as lines of text. Knows nothing of how it was measured."""

from collections.abc import Iterator, Mapping

from harness.counting import counted
from harness.experiment.bench_result import BenchResult, SideResult

_HEADER = f"{'':<12}{'seconds':>10}{'layer passes':>14}{'short passes':>14}{'peak GiB':>10}"


def bench_lines(setting: Mapping[str, object], result: BenchResult) -> Iterator[str]:
    """What was measured where, both sides, and what follows."""
    model, dtype, attention, device = (setting[name] for name in ("model", "dtype", "attention", "device"))
    adapter = f" with {setting['adapter']}" if setting.get("adapter") else ""
    bits = f"{setting['quantization']} and " if setting.get("quantization") else ""
    yield (
        f"{model}{adapter}, {bits}{dtype}, {attention}, on {device}: {counted(result.n_rows, 'row')} of "
        f"{setting['prompt_tokens']} tokens, up to {counted(result.n_conditions, 'condition')} each, "
        f"{setting['max_new_tokens']} new tokens at most"
    )
    yield _HEADER
    yield _side(result.baseline)
    yield _side(result.engine)
    ratios = result.ratios
    yield f"{result.ratio:.2f} x as fast (rounds: {min(ratios):.2f} to {max(ratios):.2f})"
    slower = 1 / result.fraction_of_floor
    yield (
        f"the least time: {result.floor_seconds:.3f} s at the {result.speed.flops / 1e12:.3g} TFLOP/s and "
        f"{result.speed.bandwidth / 1e9:.3g} GB/s measured now; the engine takes {slower:.2f} x that"
    )
    yield _answers(result)
    if result.identify is not None:
        extra = result.identify.extra_bytes
        memory = "" if extra is None else f", {extra / 2**30:+.2f} GiB at most"
        method, ratio = result.identify.method, result.identify.ratio
        yield f"identify ({method}): {ratio:.2f} x the time of reading the prompts{memory}"


def growth_lines(growth: Mapping[int, BenchResult]) -> Iterator[str]:
    """A line for each number of conditions."""
    if growth:
        yield f"{'conditions':<12}{'engine s':>10}{'baseline s':>12}{'ratio':>8}{'engine GiB':>12}{'baseline GiB':>14}"
    for result in growth.values():
        engine, baseline = result.engine, result.baseline
        yield (
            f"{result.n_conditions:<12}{engine.median_seconds:>10.3f}{baseline.median_seconds:>12.3f}"
            f"{result.ratio:>8.2f}{_gib(engine):>12}{_gib(baseline):>14}"
        )


def _side(side: SideResult) -> str:
    return f"{side.name:<12}{side.median_seconds:>10.3f}{side.layer_passes:>14}{side.steps:>14.1f}{_gib(side):>10}"


def _gib(side: SideResult) -> str:
    return "-" if side.peak_bytes is None else f"{side.peak_bytes / 2**30:.2f}"


def _answers(result: BenchResult) -> str:
    text = f"{result.n_completions - result.n_different} of {result.n_completions} completions equal, token by token"
    if result.n_different:
        text += f"; {result.n_ties} of the others differ at a tie"
    if result.own_flips is not None:
        text += f"; the plain loop differs from itself in a batch of 2 in {result.own_flips}"
    return text

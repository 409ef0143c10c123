"""`bench`: the engine against a plain loop on the same rows and conditions, each row met once, as a table and JSON."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from harness.choices import MethodName
from harness.commands.console import (
    Apart,
    Command,
    Needs,
    add_options,
    check_writable,
    given_settings,
    say,
    show,
    whole_number,
)
from harness.errors import SettingsError, counted
from harness.experiment.bench_result import BenchResult, Measured, SideResult, write_bench, write_document
from harness.experiment.experiments import EXPERIMENTS
from harness.settings import DEMO
from harness.study.benchmark import Request, measure

if TYPE_CHECKING:
    from harness.study.whole import WholeResult

MODEL_OPTIONS = (
    "model",
    "revision",
    "quantization",
    "adapter",
    "template",
    "data",
    "task-file",
    "seq-len",
    "depth",
    "insertion",
    "max-rows",
)
"""The plugin's options that say what a real model is asked; a shape has random weights and prompts."""
BENCH_OPTIONS = (
    *MODEL_OPTIONS,
    *("dtype", "device-map", "attn", "tasks", "heads", "k", "max-new-tokens", "seed", "random-draws", "random-match"),
)
"""The plugin's options that `bench` has too."""
PROMPT_TOKENS = range(6400, 7601)
"""Lengths of a shape's prompts."""
PUBLISHED = ("llama-3-8b", "llama-3.3-70b")
SHAPES = (DEMO, *PUBLISHED)
FIGURES = (".png", ".svg", ".pdf")
BASELINES = ("reference", "plain", "published", "apart")
ONE_FILING = ("middle", "in_place")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "--shape",
        choices=SHAPES,
        default=DEMO,
        help="a published model's shape with random weights, or the model as it is (default: demo)",
    )
    parser.add_argument(
        "--baseline",
        choices=BASELINES,
        default=BASELINES[0],
        help="what to measure against: the plugin's own reference, a plain loop without log-probabilities, that loop "
        "with eager attention and logits of the whole prompt, or the engine handed one row at a time (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--experiments",
        default="within_task",
        metavar="NAMES",
        help="with commas between; the baseline is always there (default: %(default)s)",
    )
    parser.add_argument(
        "--rows",
        type=whole_number(1),
        default=3,
        metavar="N",
        help="rows, each of which either side meets once (default: %(default)s)",
    )
    parser.add_argument(
        "--prompt-tokens",
        type=_lengths,
        metavar="N-N",
        help="lengths of a shape's random prompts, each row another one "
        f"(default: {PROMPT_TOKENS[0]}-{PROMPT_TOKENS[-1]})",
    )
    parser.add_argument(
        "--one-filing",
        choices=ONE_FILING,
        help="a shape's rows are of one filing, with their needles in its middle, or in place in the text that they "
        "share; its prefill is measured by itself too",
    )
    parser.add_argument(
        "--growth", type=_numbers, default=(), metavar="N,N,...", help="also with the first N conditions of each row"
    )
    parser.add_argument(
        "--own-flips", action="store_true", help="also count how often a plain loop differs from itself in a batch of 2"
    )
    parser.add_argument(
        "--identify",
        choices=get_args(MethodName),
        metavar="METHOD",
        help="also measure scoring all heads by this method beside reading the prompts",
    )
    parser.add_argument(
        "--whole",
        type=Path,
        nargs="?",
        const=Path("evals"),
        metavar="FOLDER",
        help="the whole command instead: pytest on this folder of tests (evals) with a fresh store, from the process' "
        "start to its end, beside the baseline on --rows of its rows, scaled by completions",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the growth: a .png, .svg or .pdf file")
    add_options(parser, BENCH_OPTIONS)


def _run(arguments: argparse.Namespace) -> None:
    """Measure, show, and write what was asked for."""
    settings = given_settings(arguments, BENCH_OPTIONS)
    if arguments.figure is not None and arguments.figure.suffix not in FIGURES:
        raise SettingsError(f"--figure: {arguments.figure}; expected a file that ends in {', '.join(FIGURES)}")
    for option in ("json", "figure"):
        if (file := getattr(arguments, option)) is not None:
            check_writable(file, f"--{option}")
    request = Request(
        settings=settings,
        shape=arguments.shape,
        experiments=_experiments(arguments.experiments),
        n_rows=arguments.rows,
        n_tokens=arguments.prompt_tokens or PROMPT_TOKENS,
        baseline=arguments.baseline,
        one_filing=arguments.one_filing,
        growth=arguments.growth,
        own_flips=arguments.own_flips,
        identify=arguments.identify,
    )
    if arguments.whole is not None:
        _run_whole(arguments, request)
        return
    say(f"measuring {arguments.shape}: {counted(arguments.rows, 'row')}, {arguments.experiments}")
    found = measure(request)
    show(bench_lines(found))
    show(growth_lines(found.growth))
    if arguments.json is not None:
        write_bench(arguments.json, found)
        show([f"wrote {arguments.json}"])
    if arguments.figure is not None:
        from harness.findings.figures.plots import draw_growth

        draw_growth(arguments.json, arguments.figure)
        show([f"wrote {arguments.figure}"])


def _run_whole(arguments: argparse.Namespace, request: Request) -> None:
    from harness.study.whole import measure_whole

    if request.shape != DEMO or not arguments.whole.is_dir():
        got = f"--shape {request.shape}" if request.shape != DEMO else f"no folder {arguments.whole}"
        raise SettingsError(f"--whole: {got}; expected a model's own study, and a folder of tests to run")
    given = {name: getattr(arguments, name.replace("-", "_")) for name in BENCH_OPTIONS}
    say(f"measuring the whole command: {', '.join(request.experiments)}; then {request.baseline} on some rows")
    options = [f"--ablation-{name}={value}" for name, value in given.items() if value is not None]
    setting, result = measure_whole(request, arguments.whole, options)
    show(whole_lines(setting, result))
    if arguments.json is not None:
        write_document(arguments.json, {**setting, **result.as_json()})
        show([f"wrote {arguments.json}"])


def whole_lines(setting: Mapping[str, object], result: "WholeResult") -> Iterator[str]:
    """Where a whole command's time goes, and what a loop would take."""
    yield (
        f"{setting['model']}, {setting['dtype']}, on {setting['device']}: {result.command}, "
        f"{counted(result.n_rows, 'row')}, up to {counted(result.n_conditions, 'condition')} each, "
        f"{counted(result.n_completions, 'completion')}"
    )
    yield f"whole command {result.seconds:.1f} s: {result.before:.1f} s before the first row, {result.rows:.1f} s rows,"
    yield f"  {result.after:.1f} s from the last row to the end, report, figures and page written"
    yield (
        f"{result.loop}: {result.loop_rows_seconds:.1f} s for the rows, by {result.loop_completions:,} completions "
        f"of {counted(result.loop_rows, 'row')}; with the same start and end {result.ratio:.2f} x the command"
    )


def _experiments(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in EXPERIMENTS:
            raise SettingsError(f"--experiments: {name!r}; expected one or more of {','.join(EXPERIMENTS)}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(whole_number(1)(part) for part in text.split(","))


def _lengths(text: str) -> range:
    first, _, last = text.partition("-")
    least = whole_number(1)(first)
    return range(least, (whole_number(least)(last) if last else least) + 1)


_HEADER = f"{'':<12}{'seconds':>10}{'layer passes':>14}{'short passes':>14}{'peak GiB':>10}"


def bench_lines(measured: Measured) -> Iterator[str]:
    """What was measured where, both sides, and what follows; of the first new tokens alone too, where it was."""
    setting, result = measured.setting, measured.result
    model, dtype, attention, device = (setting[name] for name in ("model", "dtype", "attention", "device"))
    adapter = f" with {setting['adapter']}" if setting.get("adapter") else ""
    bits = f"{setting['quantization']} and " if setting.get("quantization") else ""
    yield (
        f"{model}{adapter}, {bits}{dtype}, {attention}, on {device}: {counted(result.n_rows, 'row')} of "
        f"{setting['prompt_tokens']} tokens, up to {counted(result.n_conditions, 'condition')} each, "
        f"{setting['max_new_tokens']} new tokens at most"
    )
    yield from _figures(result)
    yield _answers(result)
    if measured.prefill is not None:
        yield f"to the first new token alone, on {counted(measured.prefill.n_rows, 'row')} of another filing"
        yield from _figures(measured.prefill)
    if result.identify is not None:
        extra = result.identify.extra_bytes
        memory = "" if extra is None else f", {extra / 2**30:+.2f} GiB at most"
        method, ratio = result.identify.method, result.identify.ratio
        yield f"identify ({method}): {ratio:.2f} x the time of reading each prompt{memory}"


def _figures(result: BenchResult) -> Iterator[str]:
    """Both sides, and what follows."""
    yield _HEADER
    yield _side(result.baseline)
    yield _side(result.engine)
    ratios = result.ratios
    apart = f" (from {min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    yield f"{result.ratio:.2f} x as fast{apart}"
    slower = 1 / result.fraction_of_floor
    yield (
        f"the least time: {result.floor_seconds:.3f} s at the {result.speed.flops / 1e12:.3g} TFLOP/s and "
        f"{result.speed.bandwidth / 1e9:.3g} GB/s measured now, in {result.least_steps:,} passes; the engine "
        f"takes {slower:.2f} x that"
    )
    if result.held_flops is not None and (held := result.held_floor_seconds) is not None:
        yield (
            f"at the {result.held_flops / 1e12:.3g} TFLOP/s that it holds for seconds: {held:.3f} s; "
            f"the engine takes {result.engine.total_seconds / held:.2f} x that"
        )


def growth_lines(growth: Mapping[int, BenchResult]) -> Iterator[str]:
    """A line for each number of conditions."""
    if growth:
        yield f"{'conditions':<12}{'engine s':>10}{'baseline s':>12}{'ratio':>8}{'engine GiB':>12}{'baseline GiB':>14}"
    for result in growth.values():
        engine, baseline = result.engine, result.baseline
        yield (
            f"{result.n_conditions:<12}{engine.total_seconds:>10.3f}{baseline.total_seconds:>12.3f}"
            f"{result.ratio:>8.2f}{_gib(engine):>12}{_gib(baseline):>14}"
        )


def _side(side: SideResult) -> str:
    return f"{side.name:<12}{side.total_seconds:>10.3f}{side.layer_passes:>14.1f}{side.steps:>14.1f}{_gib(side):>10}"


def _gib(side: SideResult) -> str:
    return "-" if side.peak_bytes is None else f"{side.peak_bytes / 2**30:.2f}"


def _answers(result: BenchResult) -> str:
    text = f"{result.n_completions - result.n_different} of {result.n_completions} completions equal, token by token"
    if result.n_different:
        text += f"; {result.n_ties} of the others differ at a tie"
    if result.own_flips is not None:
        text += f"; the plain loop differs from itself in a batch of 2 in {result.own_flips}"
    return text


BENCH = Command(
    "measure the engine against a plain loop on the same work",
    _add_arguments,
    _run,
    (
        Apart(MODEL_OPTIONS, "shape", "a shape has random weights and prompts", PUBLISHED),
        Needs(("prompt-tokens", "one-filing"), "shape", PUBLISHED),
        Apart(("growth", "own-flips", "identify"), "whole", "it measures the command and nothing within it"),
        Needs(("figure",), "growth"),
        Needs(("figure",), "json"),
        Needs(("random-draws", "random-match"), "experiments", ("random_control",)),
    ),
)

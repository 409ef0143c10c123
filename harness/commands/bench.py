"""`bench`: the engine against a plain loop on the same rows and conditions, as a table and as JSON."""

import argparse
from pathlib import Path

from harness.commands.arguments import add_options, check_writable, given_settings, whole_number
from harness.commands.output import say, show
from harness.counting import counted
from harness.errors import SettingsError
from harness.experiment.bench_result import write_bench
from harness.experiment.conditions import EXPERIMENTS
from harness.findings.bench_table import bench_lines, growth_lines
from harness.settings import DEMO
from harness.study.benchmark import Request, measure

HELP = "measure the engine against a plain loop on the same work"
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
)
"""The plugin's options that say what a real model is asked; a shape has random weights and prompts."""
BENCH_OPTIONS = (
    *MODEL_OPTIONS,
    *("dtype", "device-map", "attn", "tasks", "heads", "k", "max-new-tokens", "seed", "random-draws", "random-match"),
)
"""The plugin's options that `bench` has too."""
PROMPT_TOKENS = 7040
SHAPES = (DEMO, "llama-3-8b", "llama-3.3-70b")
FIGURES = (".png", ".svg", ".pdf")
BASELINES = ("reference", "plain", "published")


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
        help="what to measure against: the plugin's own reference, a plain loop without log-probabilities, or that "
        "loop with eager attention and logits of the whole prompt (default: %(default)s)",
    )
    parser.add_argument(
        "--experiments",
        default="within_task",
        metavar="NAMES",
        help="with commas between; the baseline is always there (default: %(default)s)",
    )
    parser.add_argument("--rows", type=whole_number(1), default=3, metavar="N", help="rows (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=whole_number(1), default=3, metavar="N", help="turns of each side (default: %(default)s)"
    )
    parser.add_argument(
        "--prompt-tokens",
        type=whole_number(1),
        metavar="N",
        help=f"length of a shape's random prompts (default: {PROMPT_TOKENS})",
    )
    parser.add_argument(
        "--growth", type=_numbers, default=(), metavar="N,N,...", help="also with the first N conditions of each row"
    )
    parser.add_argument(
        "--own-flips", action="store_true", help="also count how often a plain loop differs from itself in a batch of 2"
    )
    parser.add_argument(
        "--identify", metavar="METHOD", help="also measure scoring all heads by this method beside reading the prompts"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the growth: a .png, .svg or .pdf file")
    add_options(parser, BENCH_OPTIONS)


def run(arguments: argparse.Namespace) -> None:
    """Measure, show, and write what was asked for."""
    settings = given_settings(arguments, BENCH_OPTIONS)
    _check_beside_shape(arguments)
    if arguments.figure is not None and not (arguments.growth and arguments.json):
        raise SettingsError("--figure: given alone; expected --growth and --json beside it: it is drawn from that file")
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
        rounds=arguments.rounds,
        growth=arguments.growth,
        own_flips=arguments.own_flips,
        identify=arguments.identify,
    )
    rows, rounds = counted(arguments.rows, "row"), counted(arguments.rounds, "round")
    say(f"measuring {arguments.shape}: {rows}, {arguments.experiments}, {rounds}")
    found = measure(request)
    show(bench_lines(found.setting, found.result))
    show(growth_lines(found.growth))
    if arguments.json is not None:
        write_bench(arguments.json, found.setting, found.result, found.growth)
        show([f"wrote {arguments.json}"])
    if arguments.figure is not None:
        from harness.findings.figures.growth_plot import draw_growth

        draw_growth(arguments.json, arguments.figure)
        show([f"wrote {arguments.figure}"])


def _check_beside_shape(arguments: argparse.Namespace) -> None:
    """What a shape does not heed is refused beside it, and what only a shape does beside a model."""
    if arguments.shape == DEMO and arguments.prompt_tokens is not None:
        raise SettingsError(
            "--prompt-tokens: given without --shape; expected a published shape beside it; cut rows with --seq-len"
        )
    for name in () if arguments.shape == DEMO else MODEL_OPTIONS:
        if getattr(arguments, name.replace("-", "_")) is not None:
            raise SettingsError(
                f"--{name}: given beside --shape {arguments.shape}; expected one of the two: a shape has random "
                "weights and prompts"
            )


def _experiments(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in EXPERIMENTS:
            raise SettingsError(f"--experiments: {name!r}; expected one or more of {','.join(EXPERIMENTS)}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(whole_number(1)(part) for part in text.split(","))

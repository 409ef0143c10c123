"""`ways`: the same heads ablated in every way. `rank-methods`: which of several rankings names the heads needed most.

Both run a study of their own, without tests, and give a table, JSON and a figure.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from harness.commands.console import Command, add_options, check_writable, given_settings, say, show, whole_number
from harness.errors import SettingsError
from harness.files import is_there, replacing
from harness.retrieval.facts import FACTS, read_facts
from harness.study.progress import Progress

WAYS_OPTIONS = (
    *("model", "revision", "dtype", "device-map", "attn", "quantization", "adapter", "architectures", "template"),
    *("engine", "data", "task-file", "tasks", "strict-rows", "split-share", "heads", "k", "depth", "seq-len"),
    *("insertion", "max-new-tokens", "max-rows", "seed", "scorer", "store"),
)
"""The plugin's options that `ways` has too; of several k the largest counts."""
FIGURES = (".png", ".svg", ".pdf")


def _add_ways_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    add_options(parser, WAYS_OPTIONS)
    parser.add_argument(
        "--draws", type=whole_number(2), default=3, metavar="N", help="random sets of heads (default: %(default)s)"
    )
    parser.add_argument(
        "--facts", type=Path, metavar="FILE", help="own questions that need no document, as TOML (default: ours)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures behind the table there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it: a .png, .svg or .pdf")


def _run_ways(arguments: argparse.Namespace) -> None:
    """Ask every row in every way, and show what each costs."""
    from harness.findings.damage import ways_lines
    from harness.study.side_by_side import WAYS, in_every_way

    settings = replace(given_settings(arguments, WAYS_OPTIONS), gate_draws=arguments.draws)
    if arguments.plot is not None and arguments.plot.suffix not in FIGURES:
        raise SettingsError(f"--plot: {arguments.plot}; expected a name that ends in {', '.join(FIGURES)}")
    for option, file in (("--json", arguments.json), ("--plot", arguments.plot)):
        if file is not None:
            check_writable(file, option)

    def note(way: str, progress: Progress) -> None:
        if progress.rows_done in (1, progress.rows) or progress.rows_done % 50 == 0:
            say(f"{way}: {progress.rows_done}/{progress.rows} {progress.of}")

    facts = FACTS if arguments.facts is None else read_facts(arguments.facts)
    data = in_every_way(settings, WAYS, facts, note)
    show(ways_lines(data))
    if arguments.json is not None:
        with replacing(arguments.json) as temporary:
            temporary.write_text(data.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if arguments.plot is not None:
        from harness.findings.figures.plot_style import house_style, save
        from harness.findings.figures.side_by_side import ways_plot

        with house_style():
            save(ways_plot(data), arguments.plot)


METHODS_OPTIONS = (
    *("model", "revision", "dtype", "device-map", "attn", "quantization", "adapter", "architectures", "template"),
    *("data", "task-file", "tasks", "split-share", "max-rows", "seq-len", "insertion", "depth", "max-new-tokens"),
    *("k", "random-draws", "scorer", "seed", "engine", "store", "refresh"),
)
"""The plugin's options that `rank-methods` has too."""
EVERY = 50
"""Rows between two lines of progress."""


def _add_methods_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="rankings of one model, by different methods"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw them: a .png, .svg or .pdf file")
    add_options(parser, METHODS_OPTIONS)


def _run_methods(arguments: argparse.Namespace) -> None:
    """Zero each ranking's heads, show areas and what lists share, and write what was asked for."""
    from harness.files import write_text
    from harness.findings.rankings.ranking_comparison import area_lines
    from harness.study.side_by_side import rank_methods

    settings = given_settings(arguments, METHODS_OPTIONS)
    if arguments.figure is not None and arguments.figure.suffix not in FIGURES:
        raise SettingsError(f"--figure: {arguments.figure}; expected a file that ends in {', '.join(FIGURES)}")
    for option in ("json", "figure"):
        if (file := getattr(arguments, option)) is not None:
            check_writable(file, f"--{option}")
    found = rank_methods(settings, arguments.files, _tell, say)
    # a folder or file by its name: where it lies on this machine says nothing to others
    model = Path(settings.model).name if is_there(Path(settings.model)) else settings.model
    show(area_lines(found))
    if arguments.json is not None:
        document = {"model": model, "rows": settings.max_rows, "seed": settings.seed, **found.document()}
        write_text(arguments.json, json.dumps(document, indent=1) + "\n")
        show([f"wrote {arguments.json}"])
    if arguments.figure is not None:
        from harness.findings.figures.side_by_side import draw_methods

        draw_methods(found, model, arguments.figure)
        show([f"wrote {arguments.figure}"])


def _tell(progress: Progress) -> None:
    if progress.rows_done % EVERY == 0 or progress.rows_done == progress.rows:
        say(f"{progress.rows_done} of {progress.rows} {progress.of}, {progress.seconds:.0f} s")


WAYS_COMMAND = Command(
    "ablate the same heads in every way: is it the reading, or damage?", _add_ways_arguments, _run_ways
)
RANK_METHODS = Command(
    "which of several rankings names the heads that the model needs most", _add_methods_arguments, _run_methods
)

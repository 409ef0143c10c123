"""`rank-methods`: which of several rankings names the heads that the model needs most."""

import argparse
import json
from pathlib import Path

from harness.commands.console import Command, add_options, check_writable, given_settings, say, show
from harness.errors import SettingsError
from harness.study.progress import Progress

OPTIONS = (
    *("model", "revision", "dtype", "device-map", "attn", "quantization", "adapter", "architectures", "template"),
    *("data", "task-file", "tasks", "split-share", "max-rows", "seq-len", "insertion", "depth", "max-new-tokens"),
    *("k", "random-draws", "scorer", "seed", "engine", "store", "refresh"),
)
"""The plugin's options that `rank-methods` has too."""
FIGURES = (".png", ".svg", ".pdf")
EVERY = 50
"""Rows between two lines of progress."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="rankings of one model, by different methods"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw them: a .png, .svg or .pdf file")
    add_options(parser, OPTIONS)


def _run(arguments: argparse.Namespace) -> None:
    """Zero each ranking's heads, show areas and what lists share, and write what was asked for."""
    from harness.files import write_text
    from harness.findings.rankings.method_areas import area_lines
    from harness.study.ranking_methods import rank_methods

    settings = given_settings(arguments, OPTIONS)
    if arguments.figure is not None and arguments.figure.suffix not in FIGURES:
        raise SettingsError(f"--figure: {arguments.figure}; expected a file that ends in {', '.join(FIGURES)}")
    for option in ("json", "figure"):
        if (file := getattr(arguments, option)) is not None:
            check_writable(file, f"--{option}")
    found = rank_methods(settings, arguments.files, _tell, say)
    show(area_lines(found))
    if arguments.json is not None:
        document = {"model": settings.model, "rows": settings.max_rows, "seed": settings.seed, **found.document()}
        write_text(arguments.json, json.dumps(document, indent=1) + "\n")
        show([f"wrote {arguments.json}"])
    if arguments.figure is not None:
        from harness.findings.figures.method_plot import draw_methods

        draw_methods(found, settings.model, arguments.figure)
        show([f"wrote {arguments.figure}"])


def _tell(progress: Progress) -> None:
    if progress.rows_done % EVERY == 0 or progress.rows_done == progress.rows:
        say(f"{progress.rows_done} of {progress.rows} {progress.of}, {progress.seconds:.0f} s")


RANK_METHODS = Command("which of several rankings names the heads that the model needs most", _add_arguments, _run)

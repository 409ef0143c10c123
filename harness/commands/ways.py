"""`ways`: the same heads ablated in every way, as a table, as JSON and as a figure."""

import argparse
from dataclasses import replace
from pathlib import Path

from harness.commands.console import Command, add_options, check_writable, given_settings, say, show, whole_number
from harness.errors import SettingsError
from harness.files import replacing
from harness.retrieval.facts import FACTS, read_facts
from harness.study.progress import Progress

WAYS_OPTIONS = (
    *("model", "revision", "dtype", "device-map", "attn", "quantization", "adapter", "architectures", "template"),
    *("engine", "data", "task-file", "tasks", "strict-rows", "split-share", "heads", "k", "depth", "seq-len"),
    *("insertion", "max-new-tokens", "max-rows", "seed", "scorer", "store"),
)
"""The plugin's options that `ways` has too; of several k the largest counts."""
FIGURES = (".png", ".svg", ".pdf")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
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


def _run(arguments: argparse.Namespace) -> None:
    """Ask every row in every way, and show what each costs."""
    from harness.findings.ways import ways_lines
    from harness.study.ways import WAYS, in_every_way

    settings = replace(given_settings(arguments, WAYS_OPTIONS), gate_draws=arguments.draws)
    if arguments.plot is not None and arguments.plot.suffix not in FIGURES:
        raise SettingsError(f"--plot: {arguments.plot}; expected a name that ends in {', '.join(FIGURES)}")
    for option, file in (("--json", arguments.json), ("--plot", arguments.plot), ("--store", settings.store_file)):
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
        from harness.findings.figures.ways_plot import ways_plot

        with house_style():
            save(ways_plot(data), arguments.plot)


WAYS_COMMAND = Command(
    "ablate the same heads in every way: is it the reading, or damage?",
    _add_arguments,
    _run,
)
"""The command `ways`."""

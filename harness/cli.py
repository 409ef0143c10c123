"""`retrieval-heads`, the command line: rank heads, look at head files, write rows, draw and export reports.

Every command is a few lines over the functions that the plugin uses, and takes the plugin's options under
their own names. What a user gave wrongly ends in one line and exit code 2. Parsing and `--help` load neither
torch nor pandas or matplotlib.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from harness.demo.filings import DEMO_FILINGS, DEMO_SEED, DEMO_SENTENCES, demo_rows
from harness.errors import HarnessError, SettingsError
from harness.experiment.head_files import read_ranking, write_ranking
from harness.experiment.heads import ModelShape
from harness.findings.ranking_summary import ranking_lines
from harness.findings.tables import export_csv
from harness.identification import DEFAULT_METHOD, identification_rows, identify_heads
from harness.inputs import read_data
from harness.retrieval.rows import Excluded, SplitName, write_rows
from harness.settings import OPTIONS, Settings, Value, resolve_settings
from harness.study import PLOTS

PROGRAM = "retrieval-heads"
EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 2, 130, 141
IDENTIFY_OPTIONS = (
    *("model", "revision", "dtype", "device-map", "attn"),
    *("data", "task-file", "tasks", "strict-rows", "max-rows", "insertion"),
)
"""The plugin's options that `identify` has too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 2 for bad input, 130 after Ctrl-C, 141 for a closed pipe.

    Bad usage, and `--help`, end in argparse's SystemExit.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except HarnessError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has enough; what is still buffered must not fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Attention heads that retrieve: rank them, and look at what ablating them did.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, add_arguments, command, text in (
        ("identify", _identify_arguments, _identify, "rank a model's heads on the identification rows"),
        ("heads", _heads_arguments, _heads, "show, check or convert a file of ranked heads"),
        ("rows", _rows_arguments, _rows, "write the demo's rows in the format for rows of one's own"),
        ("plot", _plot_arguments, _plot, "draw the figures of a report"),
        ("export", _export_arguments, _export, "write the tables of a report"),
    ):
        one = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add_arguments(one)
        one.set_defaults(command=command)
    return parser


def _identify_arguments(parser: argparse.ArgumentParser) -> None:
    for option in OPTIONS:
        if option.name in IDENTIFY_OPTIONS and option.switch:
            parser.add_argument(f"--{option.name}", action="store_true", default=None, help=option.help)
        elif option.name in IDENTIFY_OPTIONS:
            parser.add_argument(f"--{option.name}", metavar=option.metavar, help=option.help)
    most = max(Settings().k)
    parser.add_argument("--seed", metavar="N", help="seed of the split and of the needles' depths (default: 0)")
    parser.add_argument(
        "--top-k",
        type=_whole_number(1),
        default=most,
        metavar="N",
        help=f"candidates a task (default: {most})",
    )
    parser.add_argument("--method", default=DEFAULT_METHOD, help="how heads are scored (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("retrieval_heads.json"), metavar="FILE", help="default: %(default)s"
    )


def _identify(arguments: argparse.Namespace) -> None:
    """Score all heads on the identification rows, write the ranking and show it."""
    given: dict[str, tuple[str, Value]] = {
        name: (f"--{name}", value)
        for name in (*IDENTIFY_OPTIONS, "seed")
        if (value := getattr(arguments, name.replace("-", "_"))) is not None
    }
    settings = resolve_settings(given, Path.cwd())
    _check_writable(arguments.out)
    tasks, table = read_data(settings)
    rows = identification_rows(table.rows, settings)
    filings = len({row.filename for row in rows})
    _say(f"{settings.model}: {len(rows)} identification rows of {filings} filings, {len(tasks)} tasks")
    _say_excluded(table.excluded)
    ranking = identify_heads(settings, tasks, rows, top_k=arguments.top_k, method=arguments.method)
    write_ranking(ranking, arguments.out)
    _show(ranking_lines(replace(ranking, source=str(arguments.out))))


def _heads_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="ranked heads, in any known format")
    parser.add_argument(
        "--model-shape",
        type=_model_shape,
        metavar="L,H",
        help="layers and heads of the model that it should fit",
    )
    parser.add_argument("--convert", type=Path, metavar="OUT", help="write it in our own format")


def _heads(arguments: argparse.Namespace) -> None:
    """Show a head file; with a shape check it, with another file convert it."""
    ranking = read_ranking(arguments.file)
    shape: ModelShape | None = arguments.model_shape
    if shape is not None:
        ranking.check_shape(shape)
    _show(ranking_lines(ranking, shape))
    if arguments.convert is not None:
        write_ranking(replace(ranking, model=ranking.model or shape), arguments.convert)
        _show([f"wrote {arguments.convert}"])


def _rows_arguments(parser: argparse.ArgumentParser) -> None:
    number = _whole_number(1)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .jsonl, .csv or .parquet file")
    parser.add_argument(
        "--filings", type=number, default=DEMO_FILINGS, metavar="N", help="filings (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=_whole_number(0),
        default=DEMO_SEED,
        metavar="S",
        help="their seed (default: %(default)s)",
    )
    parser.add_argument(
        "--sentences",
        type=number,
        default=DEMO_SENTENCES,
        metavar="N",
        help="sentences each (default: %(default)s)",
    )
    parser.add_argument(
        "--split",
        choices=get_args(SplitName),
        help="put every row on this side of the split (default: by hash)",
    )


def _rows(arguments: argparse.Namespace) -> None:
    """Compose filings of the demo's world and write their rows."""
    rows = demo_rows(arguments.filings, seed=arguments.seed, n_sentences=arguments.sentences)
    write_rows([replace(row, split=arguments.split) for row in rows], arguments.out)
    _show([f"wrote {arguments.out}: {len(rows)} rows of {arguments.filings} filings"])


def _plot_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or its folder")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"default: {PLOTS} beside the report")
    parser.add_argument("--format", default="png,svg", metavar="NAMES", help="png, svg, pdf (default: %(default)s)")


def _plot(arguments: argparse.Namespace) -> None:
    """Draw every figure that the report has data for."""
    from harness.findings.plots import Format, draw_plots
    from harness.findings.report import load

    known: tuple[Format, ...] = get_args(Format)
    asked = arguments.format.split(",")
    if not set(asked) <= set(known):
        raise SettingsError(f"--format: {arguments.format!r}; expected one or more of {','.join(known)}")
    report = load(arguments.report)
    folder = arguments.out or report.path.with_name(PLOTS)
    paths = draw_plots(report.data, folder, formats=[name for name in known if name in asked])
    _show([f"wrote {path}" for path in paths] or [f"{report.path}: nothing to draw"])


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or its folder")
    parser.add_argument(
        "--csv",
        type=Path,
        nargs="?",
        const=None,
        required=True,
        metavar="FOLDER",
        help=f"as CSV files into this folder (default: {PLOTS} beside the report)",
    )


def _export(arguments: argparse.Namespace) -> None:
    """Write a report's tables."""
    from harness.findings.report import load

    report = load(arguments.report)
    _show(f"wrote {path}" for path in export_csv(report.data, arguments.csv or report.path.with_name(PLOTS)))


def _show(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _say(line: str) -> None:
    """To stderr: what is going on, apart from what was asked for."""
    print(line, file=sys.stderr)


def _say_excluded(excluded: Sequence[Excluded]) -> None:
    for row in excluded:
        _say(f"excluded: {row.row_id}: {row.reason}")
    if excluded:
        _say(f"{len(excluded)} rows excluded")


def _check_writable(file: Path) -> None:
    """Raise a SettingsError unless the file can be written, found out before hours of work."""
    try:
        if file.is_dir():
            raise IsADirectoryError(None, "is a folder")
        probe = file.with_name(f".{file.name}.{os.getpid()}.part")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SettingsError(
            f"--out: {file}: {error.strerror}; expected a file in a folder that can be written; name another"
        ) from None


def _whole_number(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number of at least {least}")
        return int(text)

    return parse


def _model_shape(text: str) -> ModelShape:
    parse = _whole_number(1)
    match text.split(","):
        case [layers, heads]:
            return ModelShape(parse(layers), parse(heads))
    raise argparse.ArgumentTypeError(f"{text!r}; expected layers and heads a layer, as in 80,64")


if __name__ == "__main__":
    sys.exit(main())

"""The console: how commands read their arguments, and what they print.

Arguments are numbers, shapes, and the plugin's options under their own names. What was asked for is printed on stdout,
what is going on on stderr; nothing steers a terminal.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SettingsError, plain
from harness.experiment.heads import ModelShape
from harness.files import try_folder
from harness.options import OPTIONS, Given, resolve_settings
from harness.settings import Settings


@dataclass(frozen=True, slots=True)
class Command:
    """A command of `retrieval-heads`: what the help says of it, its own arguments, and what it does.

    `run` returns the exit code where it is not 0.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]


def add_options(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """The plugin's options of these names, without `ablation`."""
    for option in OPTIONS:
        if option.name in names and option.switch:
            parser.add_argument(f"--{option.name}", action="store_true", default=None, help=option.help)
        elif option.name in names:
            parser.add_argument(f"--{option.name}", metavar=option.metavar, help=option.help)


def given_settings(arguments: argparse.Namespace, names: Sequence[str]) -> Settings:
    """The settings that the options of these names give; relative paths are taken from the working folder.

    Raises:
        SettingsError: a value cannot be read.
    """
    given = {
        name: Given(f"--{name}", value, Path.cwd())
        for name in names
        if (value := getattr(arguments, name.replace("-", "_"))) is not None
    }
    return resolve_settings(given, Path.cwd())


def check_writable(file: Path, option: str) -> None:
    """Raise a SettingsError unless the file can be written, found out before hours of work."""
    try:
        if file.is_dir():
            raise IsADirectoryError(None, "is a folder")
        try_folder(file.parent)
    except OSError as error:
        raise SettingsError(
            f"{option}: {file}: {error.strerror}; expected a file in a folder that can be written; name another"
        ) from None


def whole_number(least: int) -> Callable[[str], int]:
    """A reader of whole numbers from `least` up."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number of at least {least}")
        return int(text)

    return parse


def model_shape(text: str) -> ModelShape:
    """A shape from `layers,heads`."""
    parse = whole_number(1)
    match text.split(","):
        case [layers, heads]:
            return ModelShape(parse(layers), parse(heads))
    raise argparse.ArgumentTypeError(f"{text!r}; expected layers and heads a layer, as in 80,64")


def show(lines: Iterable[str]) -> None:
    """Print lines of what was asked for, on stdout."""
    for line in lines:
        print(plain(line))


def say(line: str) -> None:
    """Print a line on what is going on, on stderr."""
    print(plain(line), file=sys.stderr)

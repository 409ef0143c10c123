"""The console: how commands read their arguments, and what they print.

Arguments are numbers, shapes, and the plugin's options under their own names. Which of them do nothing alone, or beside
which others, a command declares (`Needs`, `Apart`), and they are refused before it begins. What was asked for is
printed on stdout, what is going on on stderr; nothing steers a terminal.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SettingsError, plain
from harness.experiment.heads import ModelShape
from harness.files import check_place, try_folder
from harness.options import OPTIONS, Given, given_without, resolve_settings
from harness.settings import Settings


@dataclass(frozen=True, slots=True)
class Needs:
    """Options that do nothing unless `partner` is given, and where there are `values`, is one of these or holds one."""

    options: tuple[str, ...]
    partner: str
    values: tuple[str, ...] = ()

    def fault(self, arguments: argparse.Namespace) -> str | None:
        """What is wrong with what was given; `None` for nothing."""
        if _is_given(arguments, self.partner, self.values):
            return None
        given = (name for name in self.options if _is_given(arguments, name))
        return next((given_without(f"--{name}", self.typed) for name in given), None)

    @property
    def typed(self) -> str:
        """The partner as it is typed."""
        return f"--{self.partner}{' ' if self.values else ''}{' or '.join(self.values)}"


@dataclass(frozen=True, slots=True)
class Apart:
    """Options that do nothing beside `other`, where it is one of the `values` if there are any, and why."""

    options: tuple[str, ...]
    other: str
    why: str
    values: tuple[str, ...] = ()

    def fault(self, arguments: argparse.Namespace) -> str | None:
        """What is wrong with what was given; `None` for nothing."""
        if not _is_given(arguments, self.other, self.values):
            return None
        other = f"--{self.other}{f' {_value(arguments, self.other)}' if self.values else ''}"
        told = f"given beside {other}; expected one of the two: {self.why}"
        return next((f"--{name}: {told}" for name in self.options if _is_given(arguments, name)), None)


def _is_given(arguments: argparse.Namespace, name: str, values: Sequence[str] = ()) -> bool:
    given = _value(arguments, name)
    if given is None or given is False or given == ():
        return False
    return not values or not set(values).isdisjoint(str(given).split(","))


def _value(arguments: argparse.Namespace, name: str) -> object:
    found: object = getattr(arguments, name.replace("-", "_"))
    return found


@dataclass(frozen=True, slots=True)
class Command:
    """A command of `retrieval-heads`: what the help says of it, its own arguments, and what it does.

    `carry_out` returns the exit code where it is not 0. Options that `rules` speak of have no default, so that it is
    seen whether they were given.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    carry_out: Callable[[argparse.Namespace], int | None]
    rules: tuple[Needs | Apart, ...] = ()

    def add_all_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Its own arguments; the help of one that needs another names that."""
        self.add_arguments(parser)
        for rule in [rule for rule in self.rules if isinstance(rule, Needs)]:
            for name in rule.options:
                action = parser._option_string_actions[f"--{name}"]
                action.help = f"{action.help}; only with {rule.typed}"

    def run(self, arguments: argparse.Namespace) -> int | None:
        """Do it, if the options go together. Raises SettingsError where one of them would do nothing."""
        for rule in self.rules:
            if (fault := rule.fault(arguments)) is not None:
                raise SettingsError(fault)
        return self.carry_out(arguments)


def add_options(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """The plugin's options of these names, without `ablation`."""
    for option in OPTIONS:
        if option.name in names and option.switch:
            parser.add_argument(f"--{option.name}", action="store_true", default=None, help=option.told("--"))
        elif option.name in names:
            parser.add_argument(f"--{option.name}", metavar=option.metavar, help=option.told("--"))


def given_settings(arguments: argparse.Namespace, names: Sequence[str]) -> Settings:
    """The settings that the options of these names give; relative paths are taken from the working folder.

    Raises:
        SettingsError: a value cannot be read, or an option does nothing without another.
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
        check_place(file)
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

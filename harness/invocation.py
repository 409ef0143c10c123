"""The invocation: what was typed to start pytest, and what stands in its ini file, as far as it is ours.

Paths on the command line are relative to where it was typed, those of the ini file to that file. What is not named goes
into the project's folder, which is pytest's rootdir; but pytest, which does not know our options yet when it settles
that, takes the value of one for a path to tests, and may find another project there. Knows nothing of studies.
"""

import os
import shlex
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from harness.errors import SettingsError
from harness.options import OPTIONS, Given, Option, resolve_settings
from harness.plain_text import plain
from harness.settings import Settings

KEPT = {"-k", "-m", "-n", "-p", "--numprocesses"}
"""pytest's and xdist's options that a report keeps with their values: they say what was selected, and how it ran."""
INI_FILES = {"pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg"}


def flag(option: Option) -> str:
    """The option as it is typed."""
    return f"--ablation-{option.name}"


FLAGS = {flag(option): option for option in OPTIONS}


def given(config: pytest.Config) -> dict[str, Given]:
    """What was given for each option: the command line beats the ini file."""
    found: dict[str, Given] = {}
    beside = typed_in(config) if config.inipath is None else config.inipath.parent
    for option in OPTIONS:
        if ini := config.getini(f"ablation_{option.field}"):
            found[option.name] = Given(f"ini value ablation_{option.field}", ini, beside)
        on_command_line = config.getoption(f"ablation_{option.field}")
        if on_command_line is not None:
            found[option.name] = Given(flag(option), on_command_line, typed_in(config))
    return found


def asked_settings(config: pytest.Config) -> Settings:
    """The settings that all this gives. Raises SettingsError."""
    return resolve_settings(given(config), project_folder(config))


def typed_in(config: pytest.Config) -> Path:
    """The folder that the command was typed in."""
    worker = getattr(config, "workerinput", None)
    return config.invocation_params.dir if worker is None else Path(worker["ablation_typed_in"])


def project_folder(config: pytest.Config) -> Path:
    """The project's folder, where reports go that nobody names another place for.

    Raises:
        SettingsError: pytest took another project for this one, because of the value of an option of ours.
    """
    if (worker := getattr(config, "workerinput", None)) is not None:
        return Path(worker["ablation_project"])
    if config.getoption("rootdir") or config.getoption("inifilename"):
        return config.rootpath
    here = config.invocation_params.dir
    for typed, value in pairwise(config.invocation_params.args):
        if typed in FLAGS and not FLAGS[typed].switch and (here / value).exists():
            return _without(config, f"{typed} {value}", f"{typed}={value}")
    return config.rootpath


def _without(config: pytest.Config, typed: str, better: str) -> Path:
    """The project's folder, had pytest not looked around an option's value."""
    here = config.invocation_params.dir
    tests = [here / word.partition("::")[0] for word in config.getoption("file_or_dir")]
    folder = _common([here, *tests])
    if folder == folder.parent and tests:
        folder = _common(tests)
    found = config.inipath
    if found is not None and not folder.is_relative_to(found.parent):
        missed = found.parent
    elif found is None and not tests and any((each / name).is_file() for each in _up(here) for name in INI_FILES):
        missed = config.rootpath
    else:
        return folder if found is None else config.rootpath
    raise SettingsError(
        f"{typed}: pytest takes {missed} for this project's folder, as it looks for tests there; "
        f"expected the value to stand behind =; write {better}"
    )


def _common(paths: Iterable[Path]) -> Path:
    folder = Path(os.path.commonpath([path.absolute() for path in paths]))
    return folder if folder.is_dir() else folder.parent


def _up(folder: Path) -> Iterator[Path]:
    yield from (folder, *folder.parents)


def typed_again(config: pytest.Config) -> list[str]:
    """Our options as they were typed, for a command that asks the same once more; without the run's name."""
    return [
        each.where if each.value is True else f"{each.where}={each.value}"
        for name, each in given(config).items()
        if each.where in FLAGS and name != "run"
    ]


def told(config: pytest.Config) -> str:
    """The command as a report tells it: paths, our options and those that select; of others no more than their names.

    A password may be the value of any.
    """
    words = words_told(config.invocation_params.args, config.getoption("file_or_dir"))
    return plain(shlex.join(["pytest", *words]))


def words_told(words: Iterable[str], paths: Collection[str]) -> Iterator[str]:
    """Those of a command's words that a report tells; `paths` are those that name tests."""
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            if word in paths:
                yield word
        elif name in FLAGS:
            yield word
            if not equals and not FLAGS[name].switch:
                yield from _next(left)
        elif name in KEPT:
            yield word
            if not equals:
                yield from _next(left)
        elif word[:2] in KEPT:
            yield word
        elif name in ("-o", "--override-ini"):
            setting = value if equals else next(left, "")
            yield from (name, setting) if setting.startswith("ablation_") else (name,)
        else:
            yield name if word.startswith("--") else word[:2]


def _next(words: Iterator[str]) -> Iterator[str]:
    """The value that follows, where the line does not end before it."""
    if (value := next(words, None)) is not None:
        yield value

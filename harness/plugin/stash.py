"""What a pytest session was asked, and what it carries along: its settings, its study, and what went wrong.

What was typed to start pytest, and what stands in its ini file, is read as far as it is ours. Paths on the command line
are relative to where it was typed, those of the ini file to that file. What is not named goes into the project's
folder, which is pytest's rootdir; but pytest, which does not know our options yet when it settles that, takes the value
of one for a path to tests, and may find another project there.

The study is made on first need. On xdist each worker has a study of its own over one store; the main process has one
where it is to report.
"""

import os
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError, SettingsError, plain
from harness.files import is_file, is_there
from harness.options import OPTIONS, Given, Option, resolve_settings
from harness.settings import Settings

if TYPE_CHECKING:  # every pytest run with the plugin installed imports this module, and most need nothing of these
    from harness.findings.report.report_data import ReportData
    from harness.plugin.status_line import Follower
    from harness.retrieval.rows import Row
    from harness.study.session import StudySession
    from harness.study.workers import Place


KEPT = {"-k", "-m", "-n", "-p", "--numprocesses"}
"""pytest's and xdist's options that a report keeps with their values: they say what was selected, and how it ran."""
INI_FILES = {
    **dict.fromkeys(("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")),
    **{"pyproject.toml": "[tool.pytest", "tox.ini": "[pytest]", "setup.cfg": "[tool:pytest]"},
}
"""Where pytest looks for its settings, first to last, and what a file must hold that is for other programs too."""


PREFIX = "--ablation-"
"""What the name of each of our options is typed after."""


def flag(option: Option) -> str:
    """The option as it is typed."""
    return f"{PREFIX}{option.name}"


FLAGS = {flag(option): option for option in OPTIONS}


def given(config: pytest.Config) -> dict[str, Given]:
    """What was given for each option: the command line beats the ini file.

    What stands in the ini file, `addopts` among it, or in `PYTEST_ADDOPTS` was not typed for this command.
    """
    found: dict[str, Given] = {}
    typed = {word.partition("=")[0] for word in config.invocation_params.args}
    beside = typed_in(config) if config.inipath is None else config.inipath.parent
    for option in OPTIONS:
        if ini := config.getini(f"ablation_{option.field}"):
            found[option.name] = Given(f"ini value ablation_{option.field}", ini, beside, standing=True)
        on_command_line = config.getoption(f"ablation_{option.field}")
        if on_command_line is not None:
            standing = flag(option) not in typed
            found[option.name] = Given(flag(option), on_command_line, typed_in(config), standing=standing)
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
        if typed in FLAGS and not FLAGS[typed].switch and is_there(here / value):
            return _without(config, f"{typed} {value}", f"{typed}={value}")
    return config.rootpath


def _without(config: pytest.Config, typed: str, better: str) -> Path:
    """The project's folder, had pytest not looked around an option's value."""
    here = config.invocation_params.dir
    tests = [here / word.partition("::")[0] for word in config.getoption("file_or_dir")]
    ini, found = _nearest_ini(_common(tests or [here])), config.inipath
    if ini is None and found is None:
        folder = _common([here, *tests])
        return folder if folder != folder.parent or not tests else _common(tests)
    if ini == found:
        return config.rootpath
    missed = config.rootpath if found is None else found.parent
    raise SettingsError(
        f"{typed}: pytest takes {missed} for this project's folder, as it looks for tests there; "
        f"expected the value to stand behind =; write {better}"
    )


def _nearest_ini(folder: Path) -> Path | None:
    """The ini file that pytest finds for tests in this folder, in it or above; as pytest 9 does."""
    spare = None
    for each in _up(folder):
        for name, section in INI_FILES.items():
            file = each / name
            if not is_file(file):
                continue
            if section is None or _holds(file, section):
                return file
            if spare is None and name == "pyproject.toml":
                spare = file
    return spare


def _holds(file: Path, section: str) -> bool:
    try:
        return section in file.read_text("utf-8", errors="replace")
    except OSError:  # not ours to read, nor pytest's
        return False


def _common(paths: Iterable[Path]) -> Path:
    folder = Path(os.path.commonpath([os.path.abspath(path) for path in paths]))  # noqa: PTH100  # links stay, as in pytest
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


SETTINGS = pytest.StashKey[Settings]()
RUN_ID = pytest.StashKey[str]()
STUDY: "pytest.StashKey[StudySession]" = pytest.StashKey()
REPORT: "pytest.StashKey[ReportData]" = pytest.StashKey()
FAILURE = pytest.StashKey[str]()
FOLLOWER: "pytest.StashKey[Follower]" = pytest.StashKey()
REFUSED = pytest.StashKey[str]()
"""Why the study that the collected tests ask for cannot begin."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of xdist's workers."""
    return hasattr(config, "workerinput")


def has_workers(config: pytest.Config) -> bool:
    """Whether this is the process that hands xdist's workers their tests, and collects none itself."""
    return config.pluginmanager.has_plugin("dsession")


def workers_declared(config: pytest.Config, store: Path) -> bool:
    """Whether workers of this session began a study; a file that is there for another reason is left alone."""
    if not store.is_file():
        return False
    from harness.experiment.store import has_declared

    return has_declared(store, config.stash[RUN_ID])


def follow_workers(config: pytest.Config) -> None:
    """Show how far the workers are, once they have begun a study."""
    store = config.stash[SETTINGS].store
    if FOLLOWER in config.stash or store is None or not workers_declared(config, store):
        return
    from harness.plugin.status_line import Follower, line_of

    if (line := line_of(config)) is not None:
        config.stash[FOLLOWER] = Follower(line, store, config.stash[RUN_ID])


def study_of(config: pytest.Config) -> "StudySession":
    """The session's study, made on first need."""
    if STUDY not in config.stash:
        from harness.study.session import StudySession

        settings = config.stash[SETTINGS]
        config.stash[STUDY] = StudySession(
            settings,
            project_folder(config),
            place=_place(config),
            own_score=_own_score(config),
            writes=not (settings.dry_run or config.option.collectonly),
        )
    return config.stash[STUDY]


def _place(config: pytest.Config) -> "Place":
    from harness.study.workers import Place, end_with_parent

    worker: Mapping[str, Any] | None = getattr(config, "workerinput", None)
    place = Place(config.stash[RUN_ID], typed_in=typed_in(config), command=told(config))
    if worker is None:
        return place
    end_with_parent()
    return replace(place, worker=int(worker["workerid"].removeprefix("gw")), workers=worker["workercount"])


def _own_score(config: pytest.Config) -> "Callable[[Row, str], dict[str, float]]":
    def own_score(row: "Row", completion: str) -> dict[str, float]:
        try:
            answers = config.hook.pytest_ablation_score(row=row, completion=completion)
        except Exception as error:
            raise HarnessError(f"pytest_ablation_score: {row.id}: {error!r}; expected numbers by name") from error
        return {name: value for answer in answers for name, value in (answer or {}).items()}

    return own_score

"""What a pytest session carries along: its settings, its study, made on first need, and what went wrong.

On xdist each worker has a study of its own over one store; the main process has one where it is to report.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError
from harness.invocation import project_folder, told, typed_in
from harness.settings import Settings

if TYPE_CHECKING:  # every pytest run with the plugin installed imports this module, and most need nothing of these
    from harness.findings.report.report_data import ReportData
    from harness.retrieval.rows import Row
    from harness.status_line import Follower
    from harness.study.session import Place, StudySession

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
    from harness.status_line import Follower, line_of

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
    from harness.study.session import Place
    from harness.study.workers import end_with_parent

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

"""A project small enough that a whole study of it takes a second."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401  # see `world`
import pytest
from tiny_models import save_checkpoint

import harness.findings.figures.plots
from harness.demo.filings import demo_rows
from harness.errors import AblationError
from harness.experiment.head_files import write_ranking
from harness.experiment.rankings import rank
from harness.experiment.record import Record
from harness.experiment.store import Store
from harness.retrieval.rows import write_rows
from harness.settings import Settings
from harness.study.session import StudySession
from harness.study.workers import Place
from plugin.project import REPOSITORY, SHAPE, TASKS, UNSOUND, Project


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoint, rows and ranking, in which a study ran, so that all that one imports is imported.

    pytester forgets what was imported during a run in this process, and torch cannot be imported twice.
    """
    folder = tmp_path_factory.mktemp("world")
    save_checkpoint(folder / "tiny")
    rows = [replace(row, split="evaluation") for row in demo_rows(3, n_sentences=2) if row.task in TASKS]
    write_rows(rows, folder / "rows.csv")
    scores = {task: [[float(4 * layer + head) for head in range(4)] for layer in range(3)] for task in TASKS}
    write_ranking(rank(scores, top_k=2, model=SHAPE), folder / "heads.json")

    settings = Settings(
        model=str(folder / "tiny"),
        data=folder / "rows.csv",
        heads=folder / "heads.json",
        k=(1,),
        max_new_tokens=1,
        reports=folder / "reports",
    )
    study = StudySession(settings, folder, place=Place("first"), own_score=lambda row, completion: {})
    study.declare(study.expand(["within_task"]))
    study.results(lambda progress: None)
    study.finish("passed")
    study.close()
    return folder


@pytest.fixture
def project(
    world: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Project:
    """The project; a run of it in this process draws no plots, which take longer than all the rest."""
    monkeypatch.setattr(harness.findings.figures.plots, "draw_plots", lambda report, folder, **named: ())
    monkeypatch.setattr("harness.study.session.begin_drawing", lambda: None)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=":")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(world / "cache"))  # pytester's home is the project's folder
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # the run's own process is no worker, whoever runs these
    (pytester.path / "tiny").symlink_to(world / "tiny")
    shutil.copy(world / "rows.csv", pytester.path)
    shutil.copy(world / "heads.json", pytester.path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "evals", pytester.path / "evals", ignore=ignored)
    made = Project(pytester, partial(request.getfixturevalue, "python"))
    made.configure()
    return made


@pytest.fixture
def unsound(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ablation that turns out unsound at the third row."""
    put_row = Store.put_row
    rows: set[str] = set()

    def put_two_rows(self: Store, records: Iterable[tuple[str, Record]], **named: Any) -> None:
        kept = list(records)
        rows.update(record.job.row_id for _, record in kept)
        if len(rows) > 2:
            raise AblationError(UNSOUND)
        put_row(self, kept, **named)

    monkeypatch.setattr(Store, "put_row", put_two_rows)

"""Small studies of a tiny model: their inputs, and sessions."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from small_inputs import small_inputs
from tiny_models import save_checkpoint

from harness.demo.filings import demo_rows
from harness.experiment.head_files import write_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import rank
from harness.retrieval.rows import write_rows
from harness.settings import Settings
from harness.study.inputs import Inputs
from study.sessions import TASKS, Sessions


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Two tasks' rows of three filings, all for evaluation, and a tiny checkpoint for its tokenizer."""
    return small_inputs(tmp_path_factory.mktemp("inputs"), 3)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The file of a store that is not there yet."""
    return tmp_path / "store.sqlite"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Six rows of three filings for a tiny model; nothing of a report yet."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = [replace(row, split="evaluation") for row in demo_rows(3, n_sentences=2) if row.task in TASKS]
    write_rows(rows, folder / "rows.jsonl")
    scores = {task: [[float(layer + head) for head in range(4)] for layer in range(3)] for task in TASKS}
    write_ranking(rank(scores, top_k=2, model=ModelShape(3, 4)), folder / "heads.json")
    return Settings(
        model=str(save_checkpoint(folder / "tiny")),
        data=folder / "rows.jsonl",
        heads=folder / "heads.json",
        k=(1, 2),
        max_new_tokens=3,
    )


@pytest.fixture
def settings(asked: Settings, tmp_path: Path) -> Settings:
    return replace(asked, reports=tmp_path / "reports", store=tmp_path / "store.sqlite")


@pytest.fixture
def session() -> Iterator[Sessions]:
    sessions = Sessions()
    yield sessions
    for each in sessions.made:
        each.close()

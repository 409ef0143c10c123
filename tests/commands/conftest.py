"""A checkpoint, a file of heads and a file of rows."""

from pathlib import Path

import pytest
from fake_study import make_report
from tiny_models import save_checkpoint

from harness.cli import main
from harness.findings.report.report_writing import write_report

HEADS = '{"ceo_lastname": [{"head": [2, 3], "avg_score": 0.5}, {"head": [0, 1], "avg_score": 0.25}]}'


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 layers of 4 heads."""
    return save_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def heads_file(tmp_path: Path) -> Path:
    path = tmp_path / "heads.json"
    path.write_text(HEADS)
    return path


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    assert main(["rows", "--out", str(path), "--filings", "6", "--sentences", "2"]) == 0
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A report's folder."""
    report, samples = make_report(("ceo_lastname",), (1, 2), ("within_task",), 3)
    write_report(report, samples, tmp_path / "run")
    return tmp_path / "run"

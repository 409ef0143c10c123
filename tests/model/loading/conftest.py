"""A tiny checkpoint that is made here."""

from pathlib import Path

import pytest
from tiny_models import (
    save_checkpoint,
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a folder; not to be written to."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    made = tmp_path / "spoilt"
    made.mkdir()
    for file in checkpoint.iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    return made

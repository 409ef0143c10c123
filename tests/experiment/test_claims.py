"""Claims, within one process and between two; a killed process lets go, and nothing is left behind."""

import fcntl
from pathlib import Path
from typing import IO

import pytest
from holder import holder

from harness.errors import StoreError
from harness.experiment.claims import try_claim

ROW = "filing 1.htm/ceo_lastname@0.25"
CLAIM = """
from harness.experiment.claims import try_claim
with try_claim(Path(sys.argv[1]), sys.argv[2]) as mine:
    keep("held" if mine else "refused")
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def is_free(store: Path, row: str = ROW) -> bool:
    with try_claim(store, row) as mine:
        return mine


def test_a_row_has_one_holder_and_is_free_afterwards(store: Path) -> None:
    with try_claim(store, ROW) as mine:
        assert mine
        assert not is_free(store)
        assert not is_free(store), "whoever is refused leaves the file"
        assert is_free(store, "filing 1.htm/ceo_lastname@0.5")
        assert is_free(store.with_name("other.sqlite"))
    assert is_free(store)
    assert not list(store.parent.iterdir())


def test_a_claim_ends_with_an_error_too(store: Path) -> None:
    with pytest.raises(ZeroDivisionError), try_claim(store, ROW):
        raise ZeroDivisionError
    assert is_free(store)


def test_two_processes_and_a_killed_one(store: Path) -> None:
    with holder(CLAIM, store, ROW) as (first, first_said):
        assert first_said == "held"
        assert not is_free(store)
        with holder(CLAIM, store, ROW) as (_second, second_said):
            assert second_said == "refused"
        first.kill()
        first.wait()
        assert list(store.parent.iterdir()), "nobody removed its file"
        assert is_free(store), "a killed process's claim is free at once"
    assert not list(store.parent.iterdir())


@pytest.mark.parametrize("taken_again", [False, True])
def test_a_file_whose_holder_let_go_before_the_lock_is_no_claim(
    taken_again: bool, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is removed, and another process may hold one of the same name already."""
    flock = fcntl.flock

    def late(file: IO[str], how: int) -> None:
        (path,) = store.parent.iterdir()
        path.unlink()
        if taken_again:
            path.touch()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert not is_free(store)
    assert len(list(store.parent.iterdir())) == taken_again, "the other one's file stays"
    monkeypatch.undo()
    assert is_free(store)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where a folder should be")
    with (
        pytest.raises(StoreError, match=r"\.claim: Not a directory; expected a folder that can be written"),
        try_claim(tmp_path / "file" / "store.sqlite", ROW),
    ):
        pass

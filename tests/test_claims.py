"""Claims, within one process and between two; a killed process lets go."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.experiment.claims import Claims

ROW = "filing 1.htm/ceo_lastname@0.25"
HOLD = """
import sys
from pathlib import Path
from harness.experiment.claims import Claims
with Claims(Path(sys.argv[1])).try_claim(sys.argv[2]) as mine:
    print("held" if mine else "refused", flush=True)
    sys.stdin.read()
"""


def is_free(store: Path, row: str = ROW) -> bool:
    with Claims(store).try_claim(row) as mine:
        return mine


def hold(store: Path) -> "subprocess.Popen[str]":
    """Another process that tries to claim the row, says how that went, and keeps it until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store), ROW],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_row_has_one_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with Claims(store).try_claim(ROW) as mine:
        assert mine
        assert not is_free(store)
        assert is_free(store, "filing 1.htm/ceo_lastname@0.5")
        assert is_free(tmp_path / "other.sqlite")
    assert is_free(store)


def test_a_claim_ends_with_an_error_too(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with pytest.raises(ZeroDivisionError), Claims(store).try_claim(ROW):
        raise ZeroDivisionError
    assert is_free(store)


def test_two_processes_and_a_killed_one(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with hold(store) as first:
        assert said(first) == "held"
        assert not is_free(store)
        with hold(store) as second:
            assert said(second) == "refused"
            second.communicate("")
        first.kill()
        first.wait()
        assert is_free(store), "a killed process's claim is free at once"
    with hold(store) as third:
        assert said(third) == "held"
        third.communicate("")
    assert is_free(store)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite.claims").write_text("a file in its place")
    with pytest.raises(StoreError, match=r"store.sqlite.claims: .*; expected a folder that can be written"):
        Claims(tmp_path / "store.sqlite")

"""Which disks are trusted; the mounts are made up.

Claims, within one process and between two; a killed process lets go, and nothing is left behind.

Leases of GPUs, within one process and between two; a killed process lets go.
"""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
import pytest
from holder import holder

from harness.errors import SettingsError, StoreError
from harness.experiment.locks import Leases, check_disk, file_system, gpu_names, remove_left_claims, try_claim
from harness.experiment.store import Store


@dataclass(frozen=True)
class Mount:
    mountpoint: str
    fstype: str


@pytest.fixture
def _mounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = [
        Mount("/", "ext4"),
        Mount(str(tmp_path), "NFS4"),
        Mount(str(tmp_path / "local"), "xfs"),
        Mount(str(tmp_path / "far"), "fuse.sshfs"),
        Mount(str(tmp_path / "stick"), "fuseblk"),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_all: table)


@pytest.mark.usefixtures("_mounts")
@pytest.mark.parametrize(
    ("place", "kind"),
    [("a.sqlite", "nfs4"), ("local/b/c.sqlite", "xfs"), ("localized/c.sqlite", "nfs4"), ("far/d", "fuse.sshfs")],
)
def test_the_nearest_mount_holds_a_file(place: str, kind: str, tmp_path: Path) -> None:
    assert file_system(tmp_path / place) == kind


@pytest.mark.usefixtures("_mounts")
def test_shared_disks_are_refused_and_nothing_is_made(tmp_path: Path) -> None:
    for place in ("reports/store.sqlite", "far/store.sqlite"):
        with pytest.raises(StoreError, match="expected a disk of this machine; name one with --ablation-store"):
            Store(tmp_path / place)
    assert not list(tmp_path.iterdir())
    check_disk(tmp_path / "local" / "store.sqlite")
    check_disk(tmp_path / "stick" / "store.sqlite")


@pytest.mark.usefixtures("_mounts")
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "link").symlink_to(tmp_path / "far")
    assert file_system(tmp_path / "local" / "link" / "store.sqlite") == "fuse.sshfs"


def test_a_system_that_tells_nothing_is_let_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_all: [])
    assert file_system(tmp_path) == ""
    check_disk(tmp_path / "store.sqlite")


def test_this_machines_own_disk_is_trusted(tmp_path: Path) -> None:
    assert file_system(tmp_path)
    check_disk(tmp_path / "store.sqlite")


ROW = "filing 1.htm/ceo_lastname@0.25"
CLAIM = """
from harness.experiment.locks import try_claim
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


def test_claims_that_kills_left_are_removed_and_living_ones_stay(store: Path) -> None:
    """Before anybody asks for their rows; nothing else beside the store is touched."""
    others = [store.with_name(name) for name in ("store.sqlite.mine.claim", f"b{store.name}.{'0' * 32}.claim")]
    for other in others:
        other.touch()
    with holder(CLAIM, store, ROW) as (killed, _), holder(CLAIM, store, "another row") as (_living, said):
        assert said == "held"
        killed.kill()
        killed.wait()
        assert len(list(store.parent.iterdir())) == 4
        remove_left_claims(store)
        (left,) = {*store.parent.iterdir()} - {*others}
        assert not is_free(store, "another row")
        assert is_free(store)
        assert left.exists()
    remove_left_claims(store)
    assert {*store.parent.iterdir()} == {*others}


def test_a_folder_that_cannot_be_written_any_more_is_one_error(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `chattr +i` makes it."""

    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    with pytest.raises(StoreError, match="Operation not permitted; expected a folder that stays writable"):  # noqa: SIM117
        with try_claim(store, ROW):
            monkeypatch.setattr(Path, "unlink", unlink)
    remove_left_claims(store)


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


LEASE = """
from harness.experiment.locks import Leases
leases = Leases(Path(sys.argv[1]))
keep(*leases.take(sys.argv[2].split(","), int(sys.argv[3])))
"""
Process = Callable[[], Leases]
FOUR = ("0", "1", "2", "3")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[[], Leases]]:
    """Makes what one more process would hold; all is let go of at the end."""
    made: list[Leases] = []

    def make() -> Leases:
        made.append(Leases(tmp_path / "gpus"))
        return made[-1]

    yield make
    for leases in made:
        leases.close()


@pytest.mark.parametrize(
    ("n_visible", "visible", "names"),
    [
        (2, None, ("0", "1")),
        (2, "", ("0", "1")),
        (2, "4, 7", ("4", "7")),
        (1, "GPU-8a3f,GPU-77", ("GPU-8a3f",)),
        (3, "1", ("0", "1", "2")),
        (0, None, ()),
    ],
)
def test_names_are_those_of_the_whole_machine(n_visible: int, visible: str | None, names: tuple[str, ...]) -> None:
    assert gpu_names(n_visible, visible) == names


def test_each_takes_the_first_that_are_free(process: Process) -> None:
    first, second, third = (process() for _ in range(3))
    assert first.take(FOUR, 1) == (0,)
    assert second.take(FOUR, 2) == (1, 2)
    first.close()
    assert third.take(FOUR, 2) == (0, 3)


def test_too_few_are_one_error_and_none_is_taken(process: Process) -> None:
    first, second, third = (process() for _ in range(3))
    first.take(FOUR, 3)
    with pytest.raises(SettingsError, match=r"^GPUs: 1 of the 4 visible ones are free; expected 2 for this process"):
        second.take(FOUR, 2)
    assert third.take(FOUR, 1) == (3,)


def test_visible_gpus_of_two_processes_are_told_apart(process: Process) -> None:
    first, second = process(), process()
    assert first.take(("2", "3"), 1) == (0,)
    assert second.take(("3", "2"), 1) == (0,)


def test_two_processes_and_a_killed_one_of_leases(process: Process, tmp_path: Path) -> None:
    mine = process()
    with holder(LEASE, tmp_path / "gpus", "0,1,2,3", 3) as (other, said):
        assert said == "0 1 2"
        with pytest.raises(SettingsError):
            mine.take(FOUR, 2)
        other.kill()
        other.wait()
    assert mine.take(FOUR, 2) == (0, 1), "a killed process's GPUs are free at once"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="expected a folder that all users can write to; make it so, or name"):
        Leases(tmp_path / "file" / "gpus").take(FOUR, 1)


@pytest.fixture
def _narrow_umask() -> Iterator[None]:
    """Whatever is made is for its maker alone, unless more is asked."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_narrow_umask")
def test_every_user_may_use_the_folder_and_remove_nothing_of_others(process: Process, tmp_path: Path) -> None:
    process().take(FOUR, 1)
    assert (tmp_path / "gpus").stat().st_mode & 0o7777 == 0o1777
    assert {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "gpus").iterdir()} == {
        "choosing": 0o666,
        "0": 0o666,
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only the super-user can become another user")
@pytest.mark.usefixtures("_narrow_umask")
def test_two_users_are_kept_apart_not_locked_out() -> None:
    """The folder was made by the first of them for himself, and the second got an error."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o755)
    mine = Leases(place / "gpus")
    as_nobody = LEASE.replace("leases = ", "import os; os.umask(0o077); os.setuid(65534)\nleases = ")
    try:
        assert mine.take(FOUR, 1) == (0,)
        with holder(as_nobody, place / "gpus", "0,1,2,3", 2) as (_other, said):
            assert said == "1 2"
            assert mine.take(FOUR, 1) == (3,)
    finally:
        mine.close()
        shutil.rmtree(place)


def test_the_folder_is_one_whatever_the_users_settings() -> None:
    """Processes of another TMPDIR were not kept apart."""
    asked = "from harness.experiment.locks import FOLDER; print(FOLDER)"
    said = {
        subprocess.check_output([sys.executable, "-c", asked], env={**os.environ, "TMPDIR": folder}, text=True)
        for folder in ("/tmp", "/var/tmp")
    }
    assert len(said) == 1


def test_a_link_in_the_place_of_a_lease_is_not_followed(process: Process, tmp_path: Path) -> None:
    (tmp_path / "gpus").mkdir()
    (tmp_path / "mine").touch()
    (tmp_path / "gpus" / "0").symlink_to(tmp_path / "mine")
    with pytest.raises(SettingsError, match="Too many levels of symbolic links"):
        process().take(FOUR, 1)

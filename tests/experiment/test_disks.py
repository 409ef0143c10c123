"""Which disks are trusted; the mounts are made up."""

from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from harness.errors import StoreError
from harness.experiment.disks import check_disk, file_system
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

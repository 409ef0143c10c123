"""Disks: whether file locks can be relied on where a store is to lie.

SQLite keeps processes apart by file locks, and so do claims. Network and shared file systems often grant a lock to two
machines at once, and then a store is damaged without a word: "avoid using SQLite on a network filesystem"
(https://www.sqlite.org/howtocorrupt.html, section 2.1; https://www.sqlite.org/useovernet.html). So a store there is
refused, whoever is alone with it today.
"""

from pathlib import Path

import psutil

from harness.errors import StoreError

SHARED = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "afpfs", "ncpfs", "webdav", "davfs", "9p"),
        *("lustre", "gpfs", "beegfs", "ceph", "glusterfs", "ocfs2", "gfs2", "pvfs2", "orangefs", "wekafs", "virtiofs"),
    }
)
"""File systems that several machines write to, by the names that systems give them; those of FUSE come on top."""

LOCAL_FUSE = frozenset({"fuseblk", "fuse.ntfs", "fuse.ntfs-3g", "fuse.exfat", "fuse.fuse-overlayfs"})
"""Disks of this machine behind FUSE."""


def check_disk(path: Path) -> None:
    """Raise a StoreError where the file would lie on a file system whose locks cannot be trusted.

    A file system that the system does not name is let pass.
    """
    kind = file_system(path)
    if kind in SHARED or (kind.startswith("fuse") and kind not in LOCAL_FUSE):
        raise StoreError(
            f"{path}: on a {kind} file system, whose file locks cannot be relied on; expected a disk of this machine; "
            "name one with --ablation-store, as in --ablation-store=/tmp/study.sqlite; reports may stay where they are"
        )


def file_system(path: Path) -> str:
    """The kind of file system that holds a path, which need not exist; empty where that is unknown."""
    place = path.absolute().resolve()
    mounts = {Path(mount.mountpoint): mount.fstype.lower() for mount in psutil.disk_partitions(all=True)}
    return next((mounts[folder] for folder in (place, *place.parents) if folder in mounts), "")

"""Locks of the operating system: who works on which row, who has which GPU, and which disks can carry a store.

A claim is an exclusive `flock` on a file named after a row, beside the store; a lease is one on a file named after a
GPU, in a folder that all processes and users of this machine agree on. Both end with the process that holds them,
however that dies. Whoever holds a claim removes its file before letting go; a killed process leaves an empty one, which
the next claim on that row, or the next run on that store, removes. Only processes that lease are kept apart: a lease
says nothing of whoever uses a GPU without asking.

Network and shared file systems often grant a lock to two machines at once, and then a store is damaged without a word:
"avoid using SQLite on a network filesystem" (https://www.sqlite.org/howtocorrupt.html, section 2.1;
https://www.sqlite.org/useovernet.html). So a store there is refused, whoever is alone with it today.

Knows nothing of what is done under a lock, nor of torch; which GPUs there are is said by whoever calls.
"""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from harness.errors import BusyError, SettingsError, StoreError

SHARED = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "afpfs", "ncpfs", "webdav", "davfs", "9p"),
        *("lustre", "gpfs", "beegfs", "ceph", "glusterfs", "ocfs2", "gfs2", "pvfs2", "orangefs", "wekafs", "virtiofs"),
    }
)
"""File systems that several machines write to, by the names that systems give them; those of FUSE come on top."""

WAIT_SECONDS = 0.2
"""How long to wait before asking again for what another process holds."""

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


@contextmanager
def try_claim(store: Path, row_id: str) -> Iterator[bool]:
    """Whether the row is the caller's while the context is open, among all that use this store; never waits.

    Raises:
        StoreError: the store's folder cannot be written, or its disk gives no locks.
    """
    path = store.with_name(f"{store.name}.{hashlib.sha256(row_id.encode()).hexdigest()[:32]}.claim")
    try:
        file = path.open("a")
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror}; expected a folder that can be written; name another store"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            raise StoreError(
                f"{path}: no file locks here ({error.strerror}); expected a local disk; name a store on one"
            ) from None
        if not _is_at(file.fileno(), path):  # its holder let go between the opening and the lock
            yield False
            return
        try:
            yield True
        finally:
            _remove(path)


def remove_left_claims(store: Path) -> None:
    """Remove the claims on a store's rows whose holders were killed; those of living processes stay.

    What cannot be looked at, or removed, is left to whoever claims that row.
    """
    name = re.compile(re.escape(store.name) + r"\.[0-9a-f]{32}\.claim")
    for path in [each for each in store.parent.glob("*.claim") if name.fullmatch(each.name)]:
        with suppress(OSError), path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file.fileno(), path):
                path.unlink()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror}; expected a folder that stays writable while a run lasts; make it so, and start "
            "again: finished rows are kept"
        ) from None


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


FOLDER = Path("/tmp/retrieval-heads-gpu-leases")  # meant for everyone
"""The same for every user, whatever their TMPDIR: who looks elsewhere is not kept apart."""

_TRIES = 50


def gpu_names(n_visible: int, visible: str | None) -> tuple[str, ...]:
    """What to call the GPUs that a process sees: by the entries of its CUDA_VISIBLE_DEVICES, else by their numbers.

    Two processes whose first GPU is another one lease different names.
    """
    entries = [entry.strip() for entry in (visible or "").split(",") if entry.strip()]
    return tuple(entries[:n_visible]) if len(entries) >= n_visible else tuple(map(str, range(n_visible)))


class Leases:
    """The GPUs that this process holds until it closes them, or ends; `session` is said to whoever finds them taken."""

    def __init__(self, folder: Path = FOLDER, *, session: str = "") -> None:
        self._folder = folder
        self._session = session
        self._held = ExitStack()

    def take(self, names: Sequence[str], n: int) -> tuple[int, ...]:
        """Lease `n` of these GPUs, the first that are free; their places in `names`.

        Raises:
            BusyError: there would be enough, but other processes of this session hold them; then none is taken.
            SettingsError: fewer are free; then none is taken.
        """
        try:
            self._make_folder()
            with ExitStack() as taken, _open_for_all(self._folder / "choosing") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)  # one process chooses at a time, so that two never hold half each
                places: list[int] = []
                holders: list[str] = []
                for place, name in enumerate(names):
                    if len(places) < n and (holder := self._try(name, taken)) is None:
                        places.append(place)
                    elif len(places) < n:
                        holders.append(str(holder))
                if len(places) < n:
                    ours = holders.count(self._session) if self._session else 0
                    kind = BusyError if len(places) + ours >= n else SettingsError
                    raise kind(
                        f"GPUs: {len(places)} of the {len(names)} visible ones are free; expected {n} for this process "
                        "alone; start fewer workers, as -n auto does, or end what holds the others"
                    )
                self._held.push(taken.pop_all())
        except OSError as error:
            raise SettingsError(
                f"GPUs: {self._folder}: {error.strerror}; expected a folder that all users can write to; make it "
                "so, or name the devices, as --ablation-device-map=cuda:0 does"
            ) from None
        return tuple(places)

    def close(self) -> None:
        """Let go of all."""
        self._held.close()

    def _make_folder(self) -> None:
        """Every user may make files in it, and remove none of others, as in /tmp."""
        try:
            self._folder.mkdir(parents=True)
        except FileExistsError:
            return
        self._folder.chmod(0o1777)  # whatever the umask

    def _try(self, name: str, taken: ExitStack) -> str | None:
        """`None` where the GPU was free, and `taken` holds it now; else the session of its holder."""
        file = _open_for_all(self._folder / re.sub(r"[^A-Za-z0-9.-]", "_", name))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                return file.read()
        taken.callback(file.close)
        file.truncate(0)
        file.write(self._session)
        file.flush()
        return None


def _open_for_all(path: Path) -> IO[str]:
    """A file that every user may lock, made where there is none.

    Linux refuses to open another user's file in such a folder with O_CREAT, though it is there (fs.protected_regular,
    https://docs.kernel.org/admin-guide/sysctl/fs.html).
    """
    for _ in range(_TRIES):
        try:
            made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            pass
        else:
            os.fchmod(made, 0o666)  # whatever the umask
            return os.fdopen(made, "r+")
        try:
            return os.fdopen(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), "r+")
        except (PermissionError, FileNotFoundError) as error:
            # its maker is between the two calls above, or somebody has just removed it
            refused = error
            time.sleep(0.01)
    raise refused

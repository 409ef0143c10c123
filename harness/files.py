"""Files: what users name is read in one way, and what is written is written whole."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STREAM = re.compile(r"/dev/(stdin|fd/\d+)|/proc/(self|\d+)/fd/\d+")


def read_bytes(path: Path) -> bytes:
    """The content of a regular file.

    Nothing else is waited for or read: a pipe without a writer would never come to an end, nor would `/dev/zero`; and
    what one process has read of a stream, its workers cannot read again.

    Raises:
        OSError: it cannot be read, or is something else; `strerror` says what.
    """
    if _STREAM.fullmatch(str(path)):
        raise OSError(errno.EINVAL, "a stream, which is read once only; write it to a file first", str(path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if stat.S_ISFIFO(mode):
            raise OSError(errno.EINVAL, "a pipe, which is read once only; write it to a file first", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a device or socket, not a regular file", str(path))
    except OSError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def at_home(text: str) -> Path:
    """A path as a shell would read it; a `~` stays as it is where there is no home for it."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside this one, of the same ending, to write to; the file there then takes this one's place at once.

    After an error that file is removed, and the old one stands as it was.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def try_folder(folder: Path) -> None:
    """Raise the OSError that a file written into this folder would meet; nothing is left of the attempt."""
    probe = folder / f".{os.getpid()}.part"
    probe.touch()
    probe.unlink(missing_ok=True)  # another process of this number, on another machine, may have been quicker


def write_text(path: Path, text: str) -> None:
    """Replace the file by this text at once, UTF-8, with plain newlines. Raises OSError where it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")

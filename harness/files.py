"""Files: what users name is read in one way, JSON of it strictly, and what is written is written whole.

What Python's own reader of JSON takes in silence is an error: Python keeps the last of repeated keys; it takes half of
a surrogate pair, which cannot be written again; and it ends in a RecursionError, or in advice to programmers, where a
text is nested very deeply or a number is very long.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_STREAM = re.compile(r"/dev/(stdin|stdout|stderr|fd/\d+)|/proc/(self|\d+)/fd/\d+")


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


def is_folder(path: Path) -> bool:
    """Whether a folder is there; a name that the file system cannot hold is nothing that is there."""
    return _there(path, stat.S_ISDIR)


def is_file(path: Path) -> bool:
    """Whether a regular file is there; as `is_folder`."""
    return _there(path, stat.S_ISREG)


def is_there(path: Path) -> bool:
    """Whether anything is; as `is_folder`."""
    return _there(path, lambda mode: True)


def _there(path: Path, is_it: Callable[[int], bool]) -> bool:
    try:
        return is_it(path.stat().st_mode)
    except (OSError, ValueError):  # a name of 300 letters, or with a NUL in it
        return False


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

    Raises OSError where something is that no file may take the place of.
    """
    check_place(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Raise an OSError where a pipe, device, socket or stream is: a file in its place, and it is gone for everybody."""
    if _STREAM.fullmatch(str(path)) or (is_there(path) and not is_file(path) and not is_folder(path)):
        raise OSError(errno.EINVAL, "not a regular file, and written files take the place of what is there", str(path))


def try_folder(folder: Path) -> None:
    """Raise the OSError that a file written into this folder would meet; nothing is left of the attempt."""
    probe = folder / f".{os.getpid()}.part"
    probe.touch()
    probe.unlink(missing_ok=True)  # another process of this number, on another machine, may have been quicker


def write_text(path: Path, text: str) -> None:
    """Replace the file by this text at once, UTF-8, with plain newlines. Raises OSError where it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


MOST_DIGITS = 20
"""Of a whole number, its sign counted: as many as 64 bits need. Larger ones count nothing, and overflow in use."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def strict_json(text: str) -> object:
    """What a JSON text says.

    Raises:
        ValueError: what is wrong with it, in a few words; a json.JSONDecodeError, which knows the place, where it is no
            JSON at all.
    """
    try:
        found: object = json.loads(text, object_pairs_hook=_json_object, parse_int=_json_integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _SURROGATE.search(text):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair, as \\ud800, which is no character") from None
    return found


def _json_integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits; expected at most {MOST_DIGITS}")
    return int(digits)


def _json_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"the key {twice!r} twice in one object")
    return table

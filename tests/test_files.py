"""A file is replaced whole, or stands as it was; what users name is read only where it is a regular file."""

import json
import os
import socket
from pathlib import Path

import pytest

from harness.files import (
    check_place,
    is_file,
    is_folder,
    is_there,
    read_bytes,
    replacing,
    strict_json,
    try_folder,
    write_text,
)


def test_what_is_written_takes_the_files_place(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("old")
    with replacing(file) as part:
        assert (part.parent, part.suffix) == (tmp_path, ".json")
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_there_and_what_no_file_system_can_hold(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.touch()
    assert [is_there(each) for each in (file, tmp_path, tmp_path / "b")] == [True, True, False]
    assert [is_file(each) for each in (file, tmp_path, tmp_path / "b")] == [True, False, False]
    assert [is_folder(each) for each in (file, tmp_path, tmp_path / "b")] == [False, True, False]
    for name in (300 * "x", "a\0b", "a/b"):
        assert not is_there(tmp_path / name)
        assert not is_file(tmp_path / name)
        assert not is_folder(tmp_path / name)


def test_after_an_error_the_old_file_stands(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("old")

    def break_off() -> None:
        with replacing(file) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_broken_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figures.csv"
    write_text(path, "old")

    def broken(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text("utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["figures.csv"]


def test_no_file_takes_the_place_of_a_device_or_pipe(tmp_path: Path) -> None:
    """As root `--json /dev/null` made a file of it, for every program of the machine."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(OSError, match="not a regular file"):
            write_text(path, "new")
    assert (tmp_path / "pipe").is_fifo()
    assert {file.name for file in tmp_path.iterdir()} == {"pipe", "link"}
    for name in ("/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        with pytest.raises(OSError, match="not a regular file"):
            check_place(Path(name))
    (tmp_path / "file").write_text("old")
    for name in ("file", "none", "."):
        check_place(tmp_path / name)


def test_text_is_utf_8_with_plain_newlines(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "Zürich\n1\r\n")
    assert (tmp_path / "a.csv").read_bytes() == "Zürich\n1\r\n".encode()


def test_a_regular_file_is_read_whole_also_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\0\r\n")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link") == b"a\0\r\n"


def test_nothing_else_is_waited_for(tmp_path: Path) -> None:
    """A pipe hung for ever, and `/dev/zero` filled the memory."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    listening.close()
    reading, writing = os.pipe()
    wanted = {
        tmp_path / "pipe": "a pipe, which is read once only; write it to a file first",
        Path("/dev/zero"): "a device or socket, not a regular file",
        Path("/dev/stdin"): "a stream, which is read once only; write it to a file first",
        Path(f"/dev/fd/{reading}"): "a stream, which is read once only",
        Path(f"/proc/self/fd/{reading}"): "a stream, which is read once only",
        tmp_path / "socket": "No such device or address",
        tmp_path / "loop": "Too many levels of symbolic links",
        tmp_path: "Is a directory",
        tmp_path / "none": "No such file or directory",
        tmp_path / "a\0b": "embedded null",
    }
    for path, reason in wanted.items():
        with pytest.raises(OSError, match=r".") as caught:
            read_bytes(path)
        assert reason in str(caught.value.strerror)
    os.close(reading)
    os.close(writing)


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(OSError, match="a pipe"):
            read_bytes(tmp_path / "pipe")
        with pytest.raises(OSError, match="directory"):
            read_bytes(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        try_folder(tmp_path / "none")
    # workers that begin at once do not refuse each other's folder: another may have removed the file
    monkeypatch.setattr(Path, "touch", lambda self: None)
    try_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_sound_json_is_read_as_ever() -> None:
    for text in ('{"a": [1, 2.5, -0.0, null, true, "\\ud83d\\ude00", "é"]}', "[]", "7", '"\\u0041"'):
        assert json.dumps(strict_json(text)) == json.dumps(json.loads(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": {"c": 2, "c": 3}}', "the key 'c' twice in one object"),
        ('["\\ud800"]', "half of a surrogate pair"),
        ('{"\\uDFFF": 1}', "half of a surrogate pair"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "a whole number of 5000 digits; expected at most 20"),
        ("[1,", "Expecting value"),
    ],
)
def test_what_is_wrong_is_said_in_a_few_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        strict_json(text)
    assert len(str(caught.value)) < 100

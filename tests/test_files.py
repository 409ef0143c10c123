"""A file is replaced whole, or stands as it was."""

from pathlib import Path

import pytest

from harness.files import replacing, write_text


def test_what_is_written_takes_the_files_place(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("old")
    with replacing(file) as part:
        assert (part.parent, part.suffix) == (tmp_path, ".json")
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


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


def test_text_is_utf_8_with_plain_newlines(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "Zürich\n1\r\n")
    assert (tmp_path / "a.csv").read_bytes() == "Zürich\n1\r\n".encode()

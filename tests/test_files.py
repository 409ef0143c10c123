"""A file is replaced whole, or stands as it was."""

from pathlib import Path

import pytest

from harness.files import replacing


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

"""The file of a store: what is refused, what an older version becomes, and who may only look."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stores import OF_VERSION_1, RECORD, change, filled, version_1

from harness.errors import StoreError
from harness.experiment.store import SCHEMA_VERSION, Store, has_declared, progress_notes, remembered
from harness.experiment.store_file import StoreFile


def refused(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(StoreError) as error:
        Store(path)
    assert path.read_bytes() == before
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    assert "a store of version 3; expected version 2 or older" in refused(path)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no database " * 1000, encoding="utf-8")
    assert "file is not a database; expected a store of records" in refused(text)
    other = tmp_path / "other"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE cookies (name TEXT)")
    database.close()
    assert "a database of another program" in refused(other)
    with pytest.raises(StoreError, match="not a regular file; expected a store of records"):
        Store(tmp_path)


@pytest.mark.parametrize("content", [b"x", b"SQLite format 2\0", b"\0"])
def test_a_file_of_a_few_bytes_is_no_empty_store(tmp_path: Path, content: bytes) -> None:
    """SQLite takes any file of one byte for a new one, and writes over it."""
    (tmp_path / "notes").write_bytes(content)
    assert "file is not a database; expected a store of records" in refused(tmp_path / "notes")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StoreError, match=r"loop: .*symbolic links; expected a file in a folder"):
        Store(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="pipe: not a regular file; expected a store"):
        Store(tmp_path / "pipe")


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "put a copy in its place, or move it away" in refused(path)
    path.write_bytes(content[:4096] + b"\xff" * 4096 + content[8192:])
    assert "put a copy in its place, or move it away" in refused(path)


def test_a_table_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE records", b"CREATE TABLE rec\xcc\xccds"))
    assert refused(path)


def test_a_store_of_version_1_keeps_its_records(tmp_path: Path) -> None:
    path = version_1(tmp_path / "s")
    for _ in range(2):
        with Store(path) as store:
            assert [store.get(f"key {i}") for i in range(3)] == 3 * [OF_VERSION_1]
            assert store.has("key 0", run="old")
            assert not store.has("bad")
            means = store.means("m")
            assert means is not None
            assert means.vectors.tobytes() == np.array([0.1, -0.0]).tobytes()
            assert store.declarations("old") == ()
    with Store(path) as store:
        store.put_row([("key 0", RECORD), ("bad", RECORD), ("new", RECORD)], run="new")
        assert (store.get("key 0"), store.get("bad"), store.get("new")) == (OF_VERSION_1, RECORD, RECORD)
        assert [repair.key for repair in store.repairs("new")] == ["bad"]


def test_a_store_of_version_1_from_before_there_were_means(tmp_path: Path) -> None:
    path = version_1(tmp_path / "s")
    change(path, "DROP TABLE means")
    with Store(path) as store:
        assert store.get("key 0") == OF_VERSION_1
        assert store.means("m") is None


def test_a_migration_that_is_killed_leaves_the_old_store(tmp_path: Path) -> None:
    """At drawn moments of it; whoever opens the store next begins again."""
    path, chance = version_1(tmp_path / "s", 1_000), random.Random(5)
    content = path.read_bytes()
    # a record a millisecond, so that a fast machine is not done before the kill
    opening = (
        f"import time; from pathlib import Path; import {StoreFile.__module__} as file; own = file.digest_of; "
        f"file.digest_of = lambda *parts: (time.sleep(0.001), own(*parts))[1]; file.StoreFile(Path({str(path)!r}))"
    )
    killed = 0
    for _ in range(4):
        path.write_bytes(content)
        path.with_name("s-journal").unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", opening]) as process:
            while not path.with_name("s-journal").exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        with Store(path) as store:
            assert store.get(f"key {chance.randrange(1_000)}") == OF_VERSION_1
    assert killed == 4


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    with Store(tmp_path / "s") as store:
        assert not store.has("k")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="expected a file in a folder that can be written"):
        Store(tmp_path / "file" / "s")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the super-user")
@pytest.mark.parametrize("locked", ["s", "."])
def test_a_store_that_cannot_be_written_is_refused_on_opening(tmp_path: Path, locked: str) -> None:
    path = filled(tmp_path / "s")
    (tmp_path / locked).chmod(0o555)
    try:
        assert "name another store" in refused(path)
    finally:
        (tmp_path / locked).chmod(0o755)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can look into, which those of tests are not."""
    folder, user = Path(tempfile.mkdtemp(dir="/tmp")), os.geteuid()
    folder.chmod(0o755)
    yield folder
    os.seteuid(user)
    shutil.rmtree(folder)


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION])
def test_a_store_that_cannot_be_written_can_be_looked_at(shared: Path, version: int) -> None:
    """Collecting tests on it was refused. What is looked at stays as it was, also where it is of version 1."""
    path = version_1(shared / "s") if version == 1 else filled(shared / "s", 3)
    before = path.read_bytes()
    for place in (path, shared):
        place.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)  # permissions do not bind the super-user
    with pytest.raises(StoreError, match="make the file and its folder writable"):
        Store(path)
    with Store(path, writes=False) as store:
        assert store.get("key 1") == (OF_VERSION_1 if version == 1 else RECORD)
    assert path.read_bytes() == before
    assert [file.name for file in shared.iterdir()] == ["s"]


def test_what_is_only_looked_at_is_refused_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 1000, encoding="utf-8")
    with pytest.raises(StoreError, match="file is not a database"):
        Store(tmp_path / "text", writes=False)
    (tmp_path / "empty").touch()
    with Store(tmp_path / "empty", writes=False) as store:
        assert not store.has("k")
    assert (tmp_path / "empty").stat().st_size == 0


def test_who_only_looks_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    """SQLite opened it, and waited for somebody to write into it, past every signal."""
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", tmp_path, tmp_path / "none"):
        assert not has_declared(file, "run")
        assert progress_notes(file, "run") == ()
        assert remembered(file, "key") is None

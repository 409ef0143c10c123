import math
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import StoreError
from harness.experiment.heads import Head
from harness.experiment.intervention import MeanValues
from harness.experiment.plan import Job
from harness.experiment.record import Completion, Record
from harness.experiment.store import SCHEMA_VERSION, Store, has_declared, progress_notes, remembered
from harness.experiment.store_file import StoreFile

JOB = Job("f1/ceo", frozenset({Head(17, 24), Head(3, 1)}))
RECORD = Record(
    job=JOB,
    completion=Completion(
        token_ids=(5, 7),
        end_token_id=2,
        gold_logprob=-0.1,
        baseline_logprob=None,
        hooks_fired=42,
        smallest_gap=1e-300,
        baseline_logprobs=(-0.2, -0.0),
    ),
    text="Lee",
    seconds=0.25,
    device="NVIDIA H100 80GB HBM3",
)


def test_what_is_put_is_found_again_after_closing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "store.sqlite"
    with Store(path) as store:
        assert store.get("k") is None
        assert not store.has("k")
        store.put_row([("k", RECORD), ("l", replace(RECORD, text="no"))])
    with Store(path) as store:
        assert store.has("k")
        assert store.get("k") == RECORD
        assert store.get("l") == replace(RECORD, text="no")
    assert [file.name for file in path.parent.iterdir()] == ["store.sqlite"]


def test_a_record_stays_unless_it_is_refreshed(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.put_row([("k", RECORD)])
        store.put_row([("k", replace(RECORD, text="late")), ("l", RECORD)])
        assert store.get("k") == RECORD
        assert store.has("l")
        store.put_row([("k", replace(RECORD, text="late"))], refresh=True)
        assert store.get("k") == replace(RECORD, text="late")


def test_who_wrote_a_record_is_known(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.put_row([("k", RECORD)], run="a")
        assert (store.has("k"), store.has("k", run="a"), store.has("k", run="b")) == (True, True, False)
        assert (store.get("k"), store.get("k", run="a"), store.get("k", run="b")) == (RECORD, RECORD, None)
        assert not store.has("l")


def test_a_row_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[str, Record]]:
        yield "a", RECORD
        raise RuntimeError("the second record went wrong")

    with Store(tmp_path / "s") as store:
        with pytest.raises(RuntimeError):
            store.put_row(failing())
        with pytest.raises(StoreError):
            store.put_row([("a", RECORD), (["no text"], RECORD)])  # type: ignore[list-item]  # fails inside
        assert not store.has("a")
        store.put_row([("b", RECORD)])
        assert store.has("b")


def test_a_run_declares_what_it_asks_for_once(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as one, Store(tmp_path / "s") as two:
        one.declare("latest", '{"b": 1}')
        two.declare("latest", '{"b": 1}')
        two.declare("latest", '{"a": 2}')
        two.declare("other", "x")
        assert one.declarations("latest") == ('{"b": 1}', '{"a": 2}')
        assert one.declarations("none") == ()
        assert one.declarations("other") == ("x",)


WRITER = f"""
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_store import RECORD
from harness.experiment.store import Store
with Store(Path(sys.argv[1])) as store:
    for i in range(int(sys.argv[3])):
        name = sys.argv[2] + str(i)
        store.put_row([(name + part, replace(RECORD, text=name + part)) for part in "abc"])
        store.declare("run", "same")
        print(name, flush=True)
"""


def writer(path: Path, name: str, rows: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(rows)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )


def keys(path: Path) -> list[str]:
    database = sqlite3.connect(path)
    try:
        return [key for (key,) in database.execute("SELECT key FROM records ORDER BY key")]
    finally:
        database.close()


def test_several_processes_write_to_one_store(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with writer(path, "x", 15) as one, writer(path, "y", 15) as two, writer(path, "z", 15) as three:
        for worker in (one, two, three):
            worker.communicate()
            assert worker.returncode == 0
    assert len(keys(path)) == 3 * 15 * 3
    with Store(path) as store:
        assert store.declarations("run") == ("same",)


def test_many_may_open_one_store_at_once(tmp_path: Path) -> None:
    """A transaction that reads before it writes would fail at once when two do so together."""

    def open_often(part: int) -> None:
        for i in range(8):
            with Store(tmp_path / "s") as store:
                store.put_row([(f"{part}-{i}", RECORD)])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(open_often, range(4)))
    assert len(keys(tmp_path / "s")) == 32


def test_a_killed_process_leaves_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with writer(path, "x", 5_000) as worker:
        assert worker.stdout is not None
        for _ in range(10):
            worker.stdout.readline()
        worker.send_signal(signal.SIGKILL)
    with Store(path) as store:
        found = keys(path)
        assert len(found) >= 30
        assert len(found) % 3 == 0
        for key in found:
            assert store.get(key) == replace(RECORD, text=key)
        store.put_row([("after", RECORD)])


def refused(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(StoreError) as error:
        Store(path)
    assert path.read_bytes() == before
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def filled(path: Path, records: int = 300) -> Path:
    with Store(path) as store:
        store.put_row([(f"key {i}", RECORD) for i in range(records)])
    return path


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


def change(path: Path, statement: str, *values: object) -> None:
    """What another program, or a disk, did to a store."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(statement, values)
    database.close()


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE records SET record = replace(record, 'Lee', 'Leo') WHERE key = 'b'""",
        """UPDATE records SET record = '{"job": 3}' WHERE key = 'b'""",
        """UPDATE records SET record = CAST(x'ff' AS TEXT) WHERE key = 'b'""",
        """UPDATE records SET record = x'00', digest = 1.5 WHERE key = 'b'""",
        """UPDATE records SET record = 7 WHERE key = 'b'""",
        """UPDATE records SET run = 'another' WHERE key = 'b'""",
        """UPDATE records SET digest = NULL WHERE key = 'b'""",
        """UPDATE records SET digest = CAST(x'ff' AS TEXT) WHERE key = 'b'""",
        """UPDATE records SET record = (SELECT record FROM records WHERE key = 'c'), digest =
            (SELECT digest FROM records WHERE key = 'c') WHERE key = 'b'""",
    ],
)
def test_a_damaged_record_is_none_and_its_repair_is_noted(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "s"
    with Store(path) as store:
        store.put_row([("a", RECORD), ("b", RECORD), ("c", replace(RECORD, text="of another key"))], run="first")
    change(path, statement)
    with Store(path) as store:
        assert store.get("a") == RECORD
        assert (store.has("b"), store.get("b")) == (False, None)
        store.put_row([("a", replace(RECORD, text="late")), ("b", RECORD)], run="second")
        assert (store.get("a"), store.get("b")) == (RECORD, RECORD)
        assert [str(repair) for repair in store.repairs("second")] == [
            "f1/ceo: damaged in the store (key b...), and computed again"
        ]
        assert store.repairs("first") == ()


def test_a_flipped_bit_is_never_a_result(tmp_path: Path) -> None:
    """One bit of the file at a time: it is refused, or each record is the one put in or none; 23 of 300 were others."""
    path, chance = filled(tmp_path / "s", 40), random.Random(3)
    content = path.read_bytes()
    refusals = losses = 0
    for _ in range(200):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            with Store(path) as store:
                found = [store.get(f"key {i}") for i in range(40)]
        except StoreError:
            refusals += 1
            continue
        assert set(found) <= {RECORD, None}
        losses += None in found
    assert refusals
    assert losses > 30


VERSION_1 = """
CREATE TABLE records (key TEXT PRIMARY KEY, row_id TEXT NOT NULL, run TEXT NOT NULL, record TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE declarations (id INTEGER PRIMARY KEY, run TEXT NOT NULL, payload TEXT NOT NULL, UNIQUE (run, payload));
CREATE TABLE means (key TEXT PRIMARY KEY, layers INTEGER NOT NULL, vectors BLOB NOT NULL);
PRAGMA application_id = 0x52486463;
PRAGMA user_version = 1;
"""
RECORD_1 = (
    '{"job": {"row_id": "f1/ceo", "heads": ["L3H1", "L17H24"], "prompt": "full", "mode": "zero", "phase": "all"}, '
    '"token_ids": [5, 7], "text": "Lee", "end_token_id": 2, "gold_logprob": -0.1, "baseline_logprob": null, '
    '"hooks_fired": 42, "seconds": 0.25, "smallest_gap": 1e-300, "halvings": 0}'
)
OF_VERSION_1 = replace(RECORD, completion=replace(RECORD.completion, baseline_logprobs=None), device=None)


def version_1(path: Path, records: int = 3) -> Path:
    """A store as version 1 wrote it; the record under `bad` is none."""
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(VERSION_1)
    rows = [(f"key {i}", "f1/ceo", "old", RECORD_1) for i in range(records)]
    database.execute("BEGIN")
    database.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", [*rows, ("bad", "f1/ceo", "old", '{"job": 3}')])
    database.execute("INSERT INTO declarations (run, payload) VALUES ('old', '[]')")
    database.execute("INSERT INTO means VALUES ('m', 1, ?)", (np.array([0.1, -0.0]).tobytes(),))
    database.execute("COMMIT")
    database.close()
    return path


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


def test_damaged_means_are_none_and_are_replaced(tmp_path: Path) -> None:
    path, vectors = tmp_path / "s", np.array([[0.5, 2.0]])
    for statement in (
        "UPDATE means SET vectors = x'00000000000000000000000000000040'",
        "UPDATE means SET layers = 2",
        "UPDATE means SET layers = 0",
        "UPDATE means SET layers = 'one'",
        "UPDATE means SET vectors = 'text'",
    ):
        with Store(path) as store:
            store.put_means("k", MeanValues(vectors))
        change(path, statement)
        with Store(path) as store:
            assert store.means("k") is None, statement
            store.put_means("k", MeanValues(vectors), run=statement)
            found = store.means("k")
            assert found is not None
            assert found.vectors.tobytes() == vectors.tobytes()
            assert [repair.what for repair in store.repairs(statement)] == ["mean values"]


def test_a_damaged_declaration_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Store(path) as store:
        store.declare("run", "[1]")
    change(path, "UPDATE declarations SET payload = '[2]'")
    with Store(path) as store, pytest.raises(StoreError, match="what this session asks for is damaged"):
        store.declarations("run")


def test_a_store_that_is_removed_while_it_is_open_is_said_so(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", 1)
    with Store(path) as store:
        path.unlink()
        with pytest.raises(StoreError, match="the store was removed, moved or replaced while it was in use; leave it"):
            store.put_row([("k", RECORD)])


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


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The disk is full for whoever writes past `size` bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_error_and_the_old_records_stay(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    with Store(path) as store:
        with files_no_larger_than(path.stat().st_size), pytest.raises(StoreError, match="finished"):
            store.put_row([(f"more {i}", replace(RECORD, text="x" * 1000)) for i in range(500)])
        assert store.get("key 7") == RECORD
        assert not store.has("more 0")
        store.put_row([("again", RECORD)])
    assert len(keys(path)) == 301


def test_a_store_held_by_another_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.experiment.store_file.BUSY_SECONDS", 0.0)
    path = filled(tmp_path / "s")
    other = sqlite3.connect(path, isolation_level=None)
    with Store(path) as store:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked; another process holds it"):
            store.put_row([("k", RECORD)])
        other.execute("ROLLBACK")
        store.put_row([("k", RECORD)])
    other.close()


def test_means_come_back_to_the_last_bit_and_the_first_stay(tmp_path: Path) -> None:
    vectors = np.array([[0.1, -0.0, 5e-324], [math.inf, 1 / 3, 2.0]])
    with Store(tmp_path / "store.sqlite") as store:
        assert store.means("k") is None
        store.put_means("k", MeanValues(vectors))
        store.put_means("k", MeanValues(vectors + 1))
    with Store(tmp_path / "store.sqlite") as store:
        found = store.means("k")
        assert found is not None
        assert found.vectors.tobytes() == vectors.tobytes()
        assert found.sha256 == MeanValues(vectors).sha256


def test_who_only_looks_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    """SQLite opened it, and waited for somebody to write into it, past every signal."""
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", tmp_path, tmp_path / "none"):
        assert not has_declared(file, "run")
        assert progress_notes(file, "run") == ()
        assert remembered(file, "key") is None

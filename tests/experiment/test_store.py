import math
import os
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.experiment.heads import Head
from harness.experiment.intervention import MeanValues
from harness.experiment.plan import Job
from harness.experiment.store import SCHEMA_VERSION, Record, Store

JOB = Job("f1/ceo", frozenset({Head(17, 24), Head(3, 1)}))
RECORD = Record(
    job=JOB,
    token_ids=(5, 7),
    text="Lee",
    end_token_id=2,
    gold_logprob=-0.1,
    baseline_logprob=None,
    hooks_fired=42,
    seconds=0.25,
    smallest_gap=1e-300,
)


def bits(value: float | None) -> bytes | None:
    return None if value is None else struct.pack("<d", value)


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


floats = st.floats(allow_nan=False) | st.sampled_from([-0.0, 5e-324, math.inf, -math.inf])
records = st.builds(
    Record,
    job=st.builds(
        Job,
        row_id=st.text(),
        heads=st.frozensets(st.builds(Head, st.integers(0, 99), st.integers(0, 99)), max_size=4),
        prompt=st.sampled_from(["full", "needle_absent"]),
    ),
    token_ids=st.lists(st.integers(0, 2**31)).map(tuple),
    text=st.text(st.characters(), max_size=20),
    end_token_id=st.none() | st.integers(0, 2**40),
    gold_logprob=floats,
    baseline_logprob=st.none() | floats,
    hooks_fired=st.integers(0, 2**40),
    seconds=floats,
    smallest_gap=st.none() | floats,
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(record=records)
def test_records_come_back_equal_to_the_last_bit(record: Record) -> None:
    with Store(Path(":memory:")) as store:
        store.put_row([("k", record)])
        again = store.get("k")
    assert again == record
    assert again is not None
    for name in ("gold_logprob", "baseline_logprob", "seconds", "smallest_gap"):
        assert bits(getattr(again, name)) == bits(getattr(record, name))


def test_an_undefined_log_probability_comes_back_undefined(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.put_row([("k", replace(RECORD, gold_logprob=math.nan))])
        record = store.get("k")
    assert record is not None
    assert math.isnan(record.gold_logprob)


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
    assert "a store of version 2; expected version 1" in refused(path)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no database " * 1000, encoding="utf-8")
    assert "file is not a database; expected a store of records" in refused(text)
    other = tmp_path / "other"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE cookies (name TEXT)")
    database.close()
    assert "a database of another program" in refused(other)
    with pytest.raises(StoreError, match="unable to open database file"):
        Store(tmp_path)


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "put a copy in its place, or move it away" in refused(path)
    path.write_bytes(content[:4096] + b"\xff" * 4096 + content[8192:])
    assert "put a copy in its place, or move it away" in refused(path)


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", 2)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("""UPDATE records SET record = '{"job": 3}' WHERE key = 'key 1'""")
    database.close()
    with Store(path) as store:
        assert store.get("key 0") == RECORD
        with pytest.raises(StoreError, match="record key 1: cannot be read"):
            store.get("key 1")


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
    monkeypatch.setattr("harness.experiment.store.BUSY_SECONDS", 0.0)
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


def test_a_store_of_before_there_were_means(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.put_row([("k", RECORD)])
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE means")
    database.close()
    with Store(path) as store:
        assert store.get("k") == RECORD
        assert store.means("k") is None

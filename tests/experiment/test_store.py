import math
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stores import RECORD, change, filled

from harness.errors import StoreError
from harness.experiment.intervention import MeanValues
from harness.experiment.record import Record
from harness.experiment.store import Store


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


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_many_are_found_as_each_is(tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are looked up at once; a damaged one is not among them, nor one of another run."""
    monkeypatch.setattr("harness.experiment.store.AT_ONCE", at_once)
    asked = ["gone", *(f"key {i}" for i in range(7)), "key 3", 'it\'s "odd" \N{SNOWMAN}']
    with Store(tmp_path / "s") as store:
        store.put_row([(key, replace(RECORD, text=key)) for key in asked[2:]], run="a")
        store.put_row([("key 0", RECORD)], run="b")
    change(tmp_path / "s", "UPDATE records SET record = '{}' WHERE key = 'key 5'")
    with Store(tmp_path / "s") as store:
        for run in (None, "a", "b"):
            each = {key: store.get(key, run=run) for key in asked}
            assert store.found(iter(asked), run=run) == {key: each[key] for key in each if each[key] is not None}
        assert len(store.found(asked)) == 7
        assert store.found([]) == {}


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
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from stores import RECORD
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

"""Stores put together: what is in any of them is in one afterwards, and nothing else changes, whatever happens."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stores import OF_VERSION_1, RECORD, change, version_1

import harness.experiment.store_file
from harness.errors import StoreError
from harness.experiment.intervention import MeanValues
from harness.experiment.record import Record
from harness.experiment.store import Store
from harness.experiment.store_merge import Merged, merge_stores

LATER = replace(RECORD, seconds=9.0, device="another card", completion=replace(RECORD.completion, gold_logprob=-0.1001))
"""The same answer, computed elsewhere."""
OTHER = replace(RECORD, text="Leo", completion=replace(RECORD.completion, token_ids=(5, 8)))
"""Another answer."""


def store(path: Path, **records: Record) -> Path:
    with Store(path) as opened:
        opened.put_row(records.items(), run=path.name)
    return path


def held(path: Path) -> dict[str, Record | None]:
    """What a store holds."""
    with closing(sqlite3.connect(path)) as database:
        keys = [key for (key,) in database.execute("SELECT key FROM records ORDER BY key")]
    with Store(path, writes=False) as opened:
        return {key: opened.get(key) for key in keys}


def test_what_any_store_holds_is_in_one(tmp_path: Path) -> None:
    parts = [store(tmp_path / "1", a=RECORD, b=OTHER), store(tmp_path / "2", c=LATER), store(tmp_path / "3")]
    before = [path.read_bytes() for path in parts]
    into = tmp_path / "new" / "whole"
    assert merge_stores(parts, into) == (
        Merged(parts[0], 2, 0, 0, 0),
        Merged(parts[1], 1, 0, 0, 0),
        Merged(parts[2], 0, 0, 0, 0),
    )
    assert held(into) == {"a": RECORD, "b": OTHER, "c": LATER}
    assert [path.read_bytes() for path in parts] == before
    with Store(into) as opened:
        assert opened.has("a", run="1"), "who wrote it stays known"
    assert merge_stores(parts, into)[0] == Merged(parts[0], 0, 2, 0, 0), "once more changes nothing"
    assert held(into) == {"a": RECORD, "b": OTHER, "c": LATER}


def test_of_equal_answers_the_first_stays_unless_another_says_more(tmp_path: Path) -> None:
    bare = replace(RECORD, completion=replace(RECORD.completion, baseline_logprobs=None))
    into = store(tmp_path / "into", a=RECORD, b=bare, c=RECORD)
    part = store(tmp_path / "part", a=LATER, b=LATER, c=bare)
    assert merge_stores([part], into) == (Merged(part, 0, 3, 0, 0),)
    assert held(into) == {"a": RECORD, "b": LATER, "c": RECORD}


def test_different_answers_are_named_and_nothing_is_merged(tmp_path: Path) -> None:
    into, part = store(tmp_path / "into", a=RECORD, b=RECORD), store(tmp_path / "part", a=OTHER, b=LATER, c=RECORD)
    with pytest.raises(StoreError) as refused:
        merge_stores([part], into)
    assert str(refused.value) == (
        f"1 question that stores answer differently: row f1/ceo in {part} (key a...); expected one answer to a "
        "question; nothing was merged; keep the answers of the store named first (--keep first; what --into holds is "
        "before all) or last (--keep last), or leave a store out"
    )
    assert held(into) == {"a": RECORD, "b": RECORD}
    assert merge_stores([part], into, keep="first") == (Merged(part, 1, 2, 1, 0),)
    assert held(into) == {"a": RECORD, "b": RECORD, "c": RECORD}
    merge_stores([part], into, keep="last")
    assert held(into) == {"a": OTHER, "b": RECORD, "c": RECORD}
    with pytest.raises(
        StoreError, match=r"^4 questions that .*: row f1/ceo .*, row f1/ceo .*, row f1/ceo .*, \.\.\.; "
    ):
        merge_stores(
            [
                store(tmp_path / "x", d=RECORD, e=RECORD, f=RECORD, g=RECORD),
                store(tmp_path / "y", **dict.fromkeys("defg", OTHER)),
            ],
            tmp_path / "none",
        )
    assert not (tmp_path / "none").exists()


def test_means_come_along_and_different_ones_are_named(tmp_path: Path) -> None:
    ours, theirs = MeanValues(np.array([[0.5, -0.0]])), MeanValues(np.array([[0.5, 0.0]]))
    paths = [tmp_path / "1", tmp_path / "2"]
    for path, means in zip(paths, (ours, theirs), strict=True):
        with Store(path) as opened:
            opened.put_means("m", means)
    with pytest.raises(StoreError, match=r"1 question .*: mean values in .*2 \(key m\.\.\.\)"):
        merge_stores(paths, tmp_path / "whole")
    for keep, kept in (("first", ours), ("last", theirs)):
        merged = merge_stores(paths, tmp_path / keep, keep=keep)  # type: ignore[arg-type]  # one of the two
        assert [each.means for each in merged] == [0, 1]
        with Store(tmp_path / keep) as opened:
            found = opened.means("m")
        assert found is not None
        assert found.sha256 == kept.sha256
    assert merge_stores(paths[:1], tmp_path / "first") == (Merged(paths[0], 0, 0, 0, 0),)


def test_earlier_verdicts_are_remembered(tmp_path: Path) -> None:
    for path, ways in ((tmp_path / "1", ("a", "b")), (tmp_path / "2", ("b", "c"))):
        with Store(path) as opened:
            for way in ways:
                opened.note_judged("own", way)
    merge_stores([tmp_path / "1", tmp_path / "2", store(tmp_path / "3")], tmp_path / "whole")
    with Store(tmp_path / "whole") as opened:
        assert opened.judged("own") == ("a", "b", "c")


def test_a_store_of_version_1_is_migrated_on_the_way(tmp_path: Path) -> None:
    old = version_1(tmp_path / "old")
    before = old.read_bytes()
    assert merge_stores([old], tmp_path / "whole") == (Merged(old, 3, 0, 0, 1),)
    assert held(tmp_path / "whole") == {f"key {i}": OF_VERSION_1 for i in range(3)}
    with Store(tmp_path / "whole") as opened:
        assert opened.means("m") is not None
    assert old.read_bytes() == before


def test_damaged_records_are_left_behind_and_replaced(tmp_path: Path) -> None:
    into, part = store(tmp_path / "into", a=RECORD, b=RECORD), store(tmp_path / "part", a=LATER, b=OTHER)
    for path, key in ((into, "a"), (part, "b")):
        change(path, "UPDATE records SET record = replace(record, 'Le', 'La') WHERE key = ?", key)
    assert merge_stores([part], into) == (Merged(part, 1, 0, 0, 1),)
    assert held(into) == {"a": LATER, "b": RECORD}


def test_what_cannot_be_merged_is_one_line(tmp_path: Path) -> None:
    good, into = store(tmp_path / "good", a=RECORD), tmp_path / "into"
    (tmp_path / "link").symlink_to(good)
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no database " * 500, encoding="utf-8")
    for sources, said in (
        ([tmp_path / "none"], "none: No such file or directory; expected a store of records to merge"),
        ([tmp_path / "empty"], "empty: an empty file; expected a store of records to merge; copy it again"),
        ([tmp_path], "not a regular file; expected a store"),
        ([good, tmp_path / "text"], "text: file is not a database; expected a store of records"),
        ([good, tmp_path / "link"], f"link: given twice, first as {good}; expected each store once"),
    ):
        with pytest.raises(StoreError) as refused:
            merge_stores(sources, into)
        assert said in str(refused.value)
        assert not into.exists()
    with pytest.raises(StoreError, match="link: both to be merged and what is merged into; expected another store"):
        merge_stores([tmp_path / "link"], good)
    assert held(good) == {"a": RECORD}


def test_a_store_on_a_shared_disk_is_read_where_nobody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, into = store(tmp_path / "a #?%", a=RECORD), tmp_path / "into"

    def check_disk(path: Path) -> None:
        if path == part:
            raise StoreError("on a nfs4 file system")

    monkeypatch.setattr(harness.experiment.store_file, "check_disk", check_disk)
    (tmp_path / "a #?%-journal").touch()
    with pytest.raises(StoreError, match="a run writes to it, or was killed then"):
        merge_stores([part], into)
    (tmp_path / "a #?%-journal").unlink()
    merge_stores([part], into)
    assert held(into) == {"a": RECORD}
    with pytest.raises(StoreError, match="nfs4"):
        merge_stores([into], part)


def test_a_merge_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    """At drawn moments of it: nothing is there yet, and all can be merged again."""
    chance, into = random.Random(2), store(tmp_path / "into", own=RECORD)
    parts = [store(tmp_path / str(i), **{f"{i} {j}": RECORD for j in range(200)}) for i in range(2)]
    before = [path.read_bytes() for path in parts]
    merging = (
        "import time; from pathlib import Path; import harness.experiment.store_merge as merge; own = merge._put; "
        "merge._put = lambda *given: (time.sleep(0.001), own(*given))[1]; "
        f"merge.merge_stores([*map(Path, {[str(path) for path in parts]})], Path({str(into)!r}))"
    )
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", merging]) as process:
            while not into.with_name("into-journal").exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.2))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert held(into) == {"own": RECORD}
        assert [path.read_bytes() for path in parts] == before
    merge_stores(parts, into)
    assert len(held(into)) == 401

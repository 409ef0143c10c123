"""The attack itself: a seed repeats it, sound inputs are no faults, and a reader that breaks is one."""

import random
from pathlib import Path

import pytest
from attack.__main__ import FAULT, Inputs
from attack.damage import damaged
from attack.kills import Kills
from attack.targets import Target

from harness.errors import DataError


def of_a_number(folder: Path) -> int:
    text = (folder / "file").read_bytes()
    if text == b"12":
        return 12
    if text.startswith(b"1"):
        raise KeyError("twelve")
    raise DataError("file: no number;\nexpected 12" if text.startswith(b"2") else "file: no number; expected 12")


def inputs(folder: Path, monkeypatch: pytest.MonkeyPatch, *, sees_all: bool = False) -> Inputs:
    def make(place: Path) -> None:
        (place / "file").write_bytes(b"12")

    target = Target("number", make, of_a_number, sees_all)
    monkeypatch.setattr("attack.__main__.targets", lambda: (target,))
    return Inputs(folder, 3, None)


def test_what_a_reader_does_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = inputs(tmp_path, monkeypatch)
    ends = {end for number in range(0, 600, 2) for name, end in [attack.one(number)] if name == "number"}
    assert {"refused", "the same", f"{FAULT}: KeyError: 'twelve'"} <= ends
    assert all(end in {"refused", "the same"} or end.startswith(FAULT) for end in ends)


def test_a_seed_repeats_an_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once, twice = (inputs(tmp_path / name, monkeypatch) for name in ("one", "two"))
    assert [once.one(number) for number in range(40)] == [twice.one(number) for number in reversed(range(40))][::-1]
    sound = b'{"a": [1, 2, {"b": "c"}]}'
    many = {damaged(sound, random.Random(number)) for number in range(200)}
    assert len(many) > 50
    assert many == {damaged(sound, random.Random(number)) for number in range(200)}


def test_a_store_that_loses_a_row_is_seen(tmp_path: Path) -> None:
    kills = Kills(tmp_path)
    while not kills.n_rows:
        assert kills.kill_one(random.Random(0)).startswith("killed")
    (tmp_path / "store.sqlite").unlink()
    with pytest.raises(AssertionError, match=r"store: 0 rows where \d+ were"):
        kills._check_store()

"""Modules, storeys and arrows are counted by hand on a small house."""

from pathlib import Path

import pytest
from house import circles, read_house, room_of, rooms, storeys

MODULES = {
    "harness/__init__.py": '"""A door."""\n',
    "harness/errors.py": '"""Errors."""\nimport os\n',
    "harness/low/__init__.py": '"""Low."""\n',
    "harness/low/a.py": "from harness.errors import One, Two\n",
    "harness/low/b.py": "from harness.low import a\nimport harness.errors\n",
    "harness/high/__init__.py": "",
    "harness/high/c.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from harness.low.a import A\n"
        "def f():\n    from harness.low.b import B\n"
    ),
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    for name, text in MODULES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_small_house(small: Path) -> None:
    house = read_house(small)
    assert house.with_code() == ["harness.errors", "harness.high.c", "harness.low.a", "harness.low.b"]
    arrows = house.arrows()
    assert {name: below for name, below in arrows.items() if below} == {
        "harness.low.a": {"harness.errors"},
        "harness.low.b": {"harness.errors", "harness.low.a"},
        "harness.high.c": {"harness.low.b"},
    }
    assert rooms(house) == {
        "harness": set(),
        "harness.errors": set(),
        "harness.low": {"harness.errors"},
        "harness.high": {"harness.low"},
    }
    assert storeys(rooms(house)) == 3
    assert room_of("harness.low", house.files) == room_of("harness.low.a", house.files) == "harness.low"


def test_rooms_in_a_circle_are_one_storey() -> None:
    graph = {"top": {"a"}, "a": {"b"}, "b": {"a", "low"}, "low": set[str]()}
    assert circles(graph) == {frozenset({"a", "b"})}
    assert storeys(graph) == 3
    assert storeys({**graph, "b": {"low"}}) == 4

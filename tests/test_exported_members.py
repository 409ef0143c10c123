"""The front door: every name that it promises is there, none is fetched before it is used, and users need no other."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EVALS = sorted((ROOT / "evals").rglob("*.py"))


def deeper(code: str) -> Iterator[str]:
    """What some code imports from behind the front door."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness."):
            yield str(node.module)
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.startswith("harness."))


@pytest.mark.parametrize("name", harness.__all__)
def test_each_is_there_under_its_own_name(name: str) -> None:
    member = getattr(harness, name)
    assert member.__name__ == name
    assert member.__module__.startswith("harness.")
    assert getattr(harness, name) is member


def test_they_are_all_said() -> None:
    """What the type checker is told, what is looked up and what is listed are one."""
    tree = ast.parse(Path(harness.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {
        str(node.module): tuple(each.name for each in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    assert told == harness._HOMES
    assert sorted(name for names in told.values() for name in names) == sorted(harness.__all__)
    assert set(harness.__all__) <= set(dir(harness))


def test_none_is_fetched_before_it_is_used() -> None:
    code = "import sys, harness; dir(harness); print([name for name in sys.modules if name.startswith('harness.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_is_not_there_is_said_as_python_says_it() -> None:
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'Conditions'"):
        harness.Conditions  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Conditions' from 'harness'"):
        exec("from harness import Conditions")


@pytest.mark.parametrize("path", EVALS, ids=lambda path: path.stem)
def test_evals_need_nothing_deeper(path: Path) -> None:
    assert not list(deeper(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_documents_show_nothing_deeper(page: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert not [found for block in blocks for found in deeper(block)]
    assert list(deeper("from harness.settings import DEMO\nimport harness.options")) == [
        "harness.settings",
        "harness.options",
    ]

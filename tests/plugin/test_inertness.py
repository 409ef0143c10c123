"""A test run that asks for no ablation does not notice the plugin: no heavy import, no file, not a word."""

import contextlib
import sqlite3
import sys
import textwrap
from pathlib import Path

import pytest

from plugin.project import REPOSITORY

HEAVY = "torch transformers pandas matplotlib scipy numpy pydantic".split()
FOREIGN = f"""
    import sys
    import pytest

    @pytest.fixture(params=["a", "b"])
    def condition(request):
        return request.param

    @pytest.fixture
    def gate(request):
        return request.node.get_closest_marker("gate").args[0]

    @pytest.fixture
    def result(condition):
        return condition

    @pytest.mark.gate("north")
    @pytest.mark.ablation("of a graph")
    def test_foreign(condition, gate, result):
        assert (result, gate) == (condition, "north")
        assert not [name for name in {HEAVY} if name in sys.modules]
"""
"""Somebody's words, some of which were once ours, and a mark that is still; in a folder of a name that once woke us."""


@pytest.fixture
def foreign(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Somebody's tests, and the plugin importable."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=":")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (pytester.mkdir("evals") / "test_foreign.py").write_text(textwrap.dedent(FOREIGN))
    pytester.makeini("[pytest]\nmarkers =\n    gate(name): theirs\n    ablation(what): theirs too\n")
    return pytester


def said(result: pytest.RunResult) -> list[str]:
    """What a run printed, without how long it took and which plugins were there."""
    lines = [line for line in result.outlines if not line.startswith("plugins: ")]
    return [*lines[:-1], lines[-1].split(" in ")[0]]


def files(folder: Path) -> set[str]:
    """What lies in a project, beside what pytester itself leaves there."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {name for name in names if name not in ("stdout", "stderr") and not name.startswith("runpytest-")}


def test_importing_the_plugin_loads_nothing_heavy(foreign: pytest.Pytester) -> None:
    code = f"import sys, harness.plugin; print([name for name in {HEAVY} if name in sys.modules])"
    assert foreign.run(sys.executable, "-c", code).outlines == ["[]"]


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
@pytest.mark.parametrize("where", [(), ("evals",)], ids=["all", "evals"])
def test_a_foreign_run(foreign: pytest.Pytester, workers: tuple[str, ...], where: tuple[str, ...]) -> None:
    """Not where a file stands in the place of our reports either."""
    (foreign.mkdir("reports") / "latest").write_text("theirs")
    arguments = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--strict-markers", *workers, *where)
    before = files(foreign.path)
    result = foreign.runpytest_subprocess("-p", "harness.plugin", *arguments)
    result.assert_outcomes(passed=2)
    assert files(foreign.path) == before
    plain = foreign.runpytest_subprocess("-p", "no:harness.plugin", *arguments)
    assert said(result) == said(plain)
    assert not [line for line in (*result.outlines, *result.errlines) if "ablation" in line]


@pytest.mark.parametrize("content", [b"", b"theirs", None], ids=["empty", "text", "a database"])
def test_a_file_in_the_place_of_the_store_is_left_alone(foreign: pytest.Pytester, content: bytes | None) -> None:
    """The main process of xdist once read all inputs of a study that nobody had asked for."""
    store = foreign.mkdir("reports") / "store.sqlite"
    if content is None:
        with contextlib.closing(sqlite3.connect(store)) as database:
            database.execute("CREATE TABLE declarations (whose TEXT)")
    else:
        store.write_bytes(content)
    before = store.read_bytes()
    foreign.makeconftest(f"""
        import sys

        def pytest_unconfigure():
            assert not [name for name in {HEAVY} if name in sys.modules]
    """)
    result = foreign.runpytest_subprocess("-p", "harness.plugin", "-p", "no:hypothesispytest", "-n", "1")
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert store.read_bytes() == before
    assert not [line for line in (*result.outlines, *result.errlines) if "ablation" in line]

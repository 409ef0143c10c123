"""A test run that asks for no ablation does not notice the plugin: no heavy import, no file, not a word."""

import sys

import pytest

from plugin.project import REPOSITORY

HEAVY = "torch transformers pandas matplotlib scipy numpy".split()
FOREIGN = f"""
    import sys

    def test_foreign():
        assert not [name for name in {HEAVY} if name in sys.modules]
"""


@pytest.fixture
def foreign(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Somebody's tests, and the plugin importable."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=":")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    pytester.makepyfile(test_foreign=FOREIGN)
    return pytester


def said(result: pytest.RunResult) -> list[str]:
    """What a run printed, without how long it took and which plugins were there."""
    lines = [line for line in result.outlines if not line.startswith("plugins: ")]
    return [*lines[:-1], lines[-1].split(" in ")[0]]


def test_importing_the_plugin_loads_nothing_heavy(foreign: pytest.Pytester) -> None:
    code = f"import sys, harness.plugin; print([name for name in {HEAVY} if name in sys.modules])"
    assert foreign.run(sys.executable, "-c", code).outlines == ["[]"]


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "xdist"])
def test_a_foreign_run(foreign: pytest.Pytester, workers: tuple[str, ...]) -> None:
    arguments = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *workers)
    result = foreign.runpytest_subprocess("-p", "harness.plugin", *arguments)
    result.assert_outcomes(passed=1)
    pytesters_own = {"stdout", "stderr", "runpytest-0", "runpytest-current"}
    assert {path.name for path in foreign.path.iterdir()} - pytesters_own == {"test_foreign.py"}
    plain = foreign.runpytest_subprocess("-p", "no:harness.plugin", *arguments)
    assert said(result) == said(plain)
    assert not [line for line in result.outlines if "ablation" in line]


def test_a_store_of_earlier_runs_changes_nothing(foreign: pytest.Pytester) -> None:
    """The main process of xdist once read all inputs of a study that nobody had asked for."""
    (foreign.path / "reports").mkdir()
    (foreign.path / "reports" / "store.sqlite").touch()
    foreign.makeconftest(f"""
        import sys

        def pytest_unconfigure():
            assert not [name for name in {HEAVY} if name in sys.modules]
    """)
    result = foreign.runpytest_subprocess("-p", "harness.plugin", "-p", "no:hypothesispytest", "-n", "1")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert not [line for line in (*result.outlines, *result.errlines) if "ablation" in line]

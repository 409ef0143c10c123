"""Evals whose asserts Python leaves out would all pass: such a session does not start."""

import pytest

from plugin.project import Project, usage_error

REFUSAL = (
    "python -O with --assert=plain: no assert is run, and every test would pass; expected one that is; "
    "leave out -O (PYTHONOPTIMIZE), or --assert=plain"
)
FAILING = """
    import pytest

    @pytest.mark.ablation("baseline")
    def test_mine(ablation_result):
        assert ablation_result.accuracy > 2
"""


@pytest.fixture
def optimised(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    project.pytester.makepyfile(test_mine=FAILING)
    project.pytester.makepyfile(test_other="def test_other(): pass")
    project.configure(filterwarnings="default")  # pytest only warns, and of -O alone too
    return project


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "a worker"])
def test_with_settings(optimised: Project, workers: tuple[str, ...]) -> None:
    assert usage_error(optimised.run_alone("test_mine.py", "--assert=plain", *workers)) == REFUSAL
    assert "reports" not in optimised.left()


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "a worker"])
def test_by_marks_alone(optimised: Project, workers: tuple[str, ...]) -> None:
    optimised.only_ini()
    assert usage_error(optimised.run_alone("test_mine.py", "--assert=plain", *workers)) == REFUSAL


def test_either_alone_fails_rightly(optimised: Project) -> None:
    """Under -O alone pytest writes asserts anew, which nothing leaves out; without -O Python runs them."""
    optimised.run("test_mine.py", "--assert=plain").assert_outcomes(failed=1)
    optimised.only_ini(filterwarnings="default")
    optimised.run_alone("test_other.py").assert_outcomes(passed=1)

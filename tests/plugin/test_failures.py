"""When something goes wrong during a run: what stops everything, what fails one test alone, and what is reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import harness.model.loading.loaded_model
from harness.errors import ModelError, ReportError
from plugin.project import TASKS, UNSOUND, WITHIN, Project, names, usage_error

STUDY = ("evals", "-k", "within_task")

either_way = pytest.mark.parametrize("ci", ["", "true"], ids=["here", "on_ci"])
"""On CI pytest's own summary gives every message in full."""


def told(result: pytest.RunResult, words: str) -> int:
    """In how many lines, those of pytest's own summary left out."""
    return sum(words in line for line in result.outlines if not line.startswith(("ERROR ", "FAILED ")))


@either_way
@pytest.mark.usefixtures("unsound")
def test_an_unsound_ablation_stops_the_session_at_once(
    project: Project, ci: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    result = project.run("evals", "-k", "within_task or general")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1, deselected=32)
    assert told(result, UNSOUND) == result.outlines.count(UNSOUND) == 1
    result.stdout.fnmatch_lines(["!* the study cannot go on: see the error above *!"])
    assert "Traceback" not in result.stdout.str()
    assert "During handling" not in result.stdout.str()
    report = project.report()
    assert (report["run"]["exit"], report["run"]["finished"]) == ("failed", False)
    assert report["conditions"][0]["n"] == 2
    assert set(report["run"]["missing"]) == set(names(report))


def test_a_failed_assertion_leaves_a_report(project: Project) -> None:
    project.pytester.makepyfile(
        test_mine="""
        import pytest

        @pytest.mark.ablation("within_task")
        def test_mine(ablation_result):
            assert ablation_result.accuracy > 2
    """
    )
    result = project.run("test_mine.py")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=4)
    report = project.report()
    assert names(report) == ["baseline", *WITHIN]
    assert (report["run"]["exit"], report["run"]["finished"], report["run"]["missing"]) == ("failed", True, [])


def test_weights_that_cannot_be_read(project: Project) -> None:
    """Found out when the model is loaded: one error, no test after it, and a report in which all is missing."""
    project.cut_weights()
    result = project.run(*STUDY)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1, deselected=34)
    (said,) = [line for line in result.outlines if line.startswith("model ")]
    assert f"model '{project.path}/tiny': cannot be loaded: " in said
    assert "Traceback" not in result.stdout.str()
    report = project.report()
    assert (report["run"]["exit"], report["run"]["missing"]) == ("failed", names(report))
    assert [each["accuracy"] for each in report["conditions"]] == 5 * [None]


def cut_weights(project: Project, _: pytest.MonkeyPatch) -> None:
    project.cut_weights()


def raises(error: BaseException) -> Callable[[Project, pytest.MonkeyPatch], None]:
    """The model cannot be loaded, for this reason."""

    def patch(_: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        def load_model(*arguments: object, **named: object) -> NoReturn:
            raise error

        monkeypatch.setattr(harness.model.loading.loaded_model, "load_model", load_model)

    return patch


BEFORE_ANY_TEST = {
    "model": "./none",
    "dtype": "int8",
    "data": "none.csv",
    "ray": "127.0.0.1:9",
    "device-map": "cuda",
}
"""Options that name what is not there: ended with in one line, as bad options are."""


@pytest.mark.parametrize("option", BEFORE_ANY_TEST)
def test_what_is_not_there_is_told_once_and_leaves_the_earlier_report(project: Project, option: str) -> None:
    if option == "ray":
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'retrieval-heads[ray]'")
    project.run(*STUDY)
    before = contents(project)
    result = project.run(*STUDY, "--ablation-max-new-tokens=2", f"--ablation-{option}={BEFORE_ANY_TEST[option]}")
    assert "; expected " in usage_error(result)
    assert contents(project) == before


@pytest.mark.parametrize(
    "fault",
    [cut_weights, raises(ModelError("model 'tiny': too large")), raises(MemoryError()), raises(KeyboardInterrupt())],
    ids=["weights", "model", "memory", "interrupt"],
)
def test_a_study_that_never_began_leaves_the_earlier_report(
    project: Project, fault: Callable[[Project, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not so where there is none, or where a row was done: then the report says what is missing."""
    project.run(*STUDY)
    before = contents(project)
    fault(project, monkeypatch)
    result = project.run(*STUDY, "--ablation-max-new-tokens=2")
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    line = "ablation: reports/latest/report.json is an earlier session's still, for no row was done in this one"
    assert result.outlines.count(line) == 1
    assert told(result, "; expected ") <= 1
    assert contents(project) == before


@either_way
def test_without_tracebacks_it_is_told_at_the_end(project: Project, ci: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    project.cut_weights()
    assert told(project.run(*STUDY, "--tb=no"), "cannot be loaded: ") == 1


def test_workers_that_never_began_leave_it_too(project: Project) -> None:
    project.run(*STUDY)
    before = contents(project)
    project.cut_weights()
    result = project.run(*STUDY, "--ablation-max-new-tokens=2", "-n", "1")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert [line for line in result.outlines if "an earlier session's still" in line]
    assert contents(project) == before


def contents(project: Project) -> dict[str, bytes]:
    """Every file of the last report."""
    return {path.name: path.read_bytes() for path in (project.path / "reports/latest").rglob("*") if path.is_file()}


@pytest.fixture
def cut_ranking(project: Project) -> Path:
    """A ranking that lists each task's best heads, and no scores of the others."""
    path = project.path / "heads.json"
    best = [{"head": [2, 3], "avg_score": 0.5}, {"head": [0, 1], "avg_score": 0.25}]
    path.write_text(json.dumps(dict.fromkeys(TASKS, best)))
    return path


@pytest.mark.usefixtures("cut_ranking")
def test_an_experiment_that_a_ranking_cannot_give_fails_alone(project: Project) -> None:
    result = project.run("evals", "-k", "bottom or within_task")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=4, errors=1, deselected=len(project.ids("evals")) - 5)
    (said,) = [line for line in result.outlines if line.startswith("heads.json: ")]
    assert "expected mean_scores of every head to find the lowest" in said
    assert "Traceback" not in result.stdout.str()
    assert names(project.report()) == ["baseline", *WITHIN]


def test_too_few_heads_for_controls(project: Project) -> None:
    result = project.run("evals", "-k", "random_control or general", "--ablation-k=6")
    result.assert_outcomes(passed=1, errors=1, deselected=len(project.ids("evals", "--ablation-k=6")) - 2)
    (said,) = [line for line in result.outlines if line.startswith("heads.json: ")]
    assert "expected at least 12, twice the largest k (6): 2 short" in said


def test_a_report_that_cannot_be_written(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise ReportError("reports/latest/report.json: No space left on device; free some, then start again")

    monkeypatch.setattr("harness.study.session.write_report", full)
    result = project.run(*STUDY)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert len([line for line in result.outlines if "No space left on device" in line]) == 1
    assert "Traceback" not in result.stdout.str()


def test_maxfail_acts_on_assertions_alone(project: Project) -> None:
    project.pytester.makepyfile(
        test_mine="""
        import pytest

        @pytest.mark.ablation("within_task")
        def test_mine(ablation_result):
            assert False
    """
    )
    result = project.run("test_mine.py", "-x")
    result.assert_outcomes(failed=1)
    assert project.report()["run"]["missing"] == []
    assert [each["n"] for each in project.report()["conditions"]] == [6, 3, 3, 3, 3]


def test_the_model_is_tried_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def load_model(*arguments: object, **named: object) -> object:
        tried.append(arguments)
        raise ModelError("model 'tiny': too large; expected room for it; take a larger machine")

    monkeypatch.setattr(harness.model.loading.loaded_model, "load_model", load_model)
    project.run("evals").assert_outcomes(errors=1)
    assert len(tried) == 1


def test_figures_that_cannot_be_drawn_hide_nothing(project: Project) -> None:
    """A file stands where their folder should be, as a full disk would: report and summary are whole."""
    (project.path / "reports" / "latest").mkdir(parents=True)
    (project.path / "reports" / "latest" / "plots").write_text("")
    result = project.run(*STUDY)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*plots: *expected *", "baseline *", "report: reports/latest/report.json"])
    assert project.report()["run"]["finished"]

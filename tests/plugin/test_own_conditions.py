"""A user's own conditions, in tests of their own that stand anywhere."""

from dataclasses import replace
from pathlib import Path

import pytest

import harness.demo.filings
import harness.study.inputs
import harness.study.memory
from harness.demo.filings import demo_rows
from plugin.project import TASKS, Project, names, usage_error

MINE = """
    import pytest
    from harness import Condition

    @pytest.mark.ablation(Condition("mine", heads=[(0, 1)]))
    def test_mine(ablation_result):
        assert ablation_result.missing == 0
        assert ablation_result.n == 6
        assert ablation_result.condition.name == "mine"
        assert 0 <= ablation_result.interval[0] <= ablation_result.accuracy <= ablation_result.interval[1] <= 1
        assert -1 <= ablation_result.drop <= 1
"""


@pytest.fixture
def small_demo(project: Project, world: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Nothing is configured, and the demo's model, ranking and rows are small ones."""
    rows = [replace(row, split="evaluation") for row in demo_rows(3, n_sentences=2) if row.task in TASKS]
    monkeypatch.setattr(harness.demo.filings, "demo_rows", lambda **_: tuple(rows))
    monkeypatch.setattr(harness.study.memory, "MODEL_FOLDER", world / "tiny")
    monkeypatch.setattr(harness.study.inputs, "RANKING_FILE", world / "heads.json")
    project.only_ini(filterwarnings="error")
    return project


def test_the_study_begins_on_first_need(small_demo: Project) -> None:
    small_demo.pytester.makepyfile(test_mine=MINE)
    result = small_demo.run("test_mine.py")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["collected 1 item", "ablation: model demo, *", "baseline *", "mine *", "report: reports/latest/report.json"]
    )
    report = small_demo.report()
    assert names(report) == ["baseline", "mine"]
    assert report["conditions"][1]["heads"] == [[0, 1]]
    assert report["configuration"]["model"] == "demo"
    assert report["run"]["exit"] == "passed"


def test_unselected_they_cost_nothing(small_demo: Project) -> None:
    small_demo.pytester.makepyfile(test_mine=MINE, test_other="def test_other(): pass")
    small_demo.run("test_other.py").assert_outcomes(passed=1)
    assert "reports" not in small_demo.left()


def test_bad_input_is_one_line_there_too(small_demo: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.study.inputs, "RANKING_FILE", small_demo.path / "none.json")
    small_demo.pytester.makepyfile(test_mine=MINE, test_other="def test_other(): pass")
    for named in ("test_mine.py", "test_mine.py::test_mine[mine]"):
        assert "none.json: No such file" in usage_error(small_demo.run(named, "test_other.py"))


def test_several_in_one_test(project: Project) -> None:
    project.pytester.makepyfile(
        test_mine="""
        import pytest
        from harness import Condition
        from harness.experiment.experiments import within_task

        def lowest_and_best(study):
            best = study.ranking.global_heads()[0].head
            lowest = Condition("lowest", heads=[(0, 0)])
            return [lowest, Condition("best", heads=[best]), Condition("mine", "a", [(1, 1)])]

        @pytest.mark.ablation("baseline", within_task, lowest_and_best)
        def test_mine(ablation_condition, ablation_result):
            assert ablation_result.condition == ablation_condition
    """
    )
    project.run("test_mine.py").assert_outcomes(passed=8)
    listed = names(project.report())
    assert (listed[0], listed[-3:], len(listed)) == ("baseline", ["best", "lowest", "mine[a]"], 8)


def test_a_head_that_the_model_has_not(project: Project) -> None:
    project.pytester.makepyfile(test_mine=MINE.replace("(0, 1)", "(3, 1)"))
    result = project.run("test_mine.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: condition mine: ")
    assert "the model has 3 layers (0-2)" in line
    assert not (project.path / "reports" / "latest" / "report.json").exists()


def test_an_unknown_experiment_fails_its_own_test(project: Project) -> None:
    project.pytester.makepyfile(
        test_mine="""
        import pytest

        @pytest.mark.ablation("withintask")
        def test_mine(ablation_result):
            pass
    """
    )
    result = project.run("test_mine.py", "evals/test_baseline.py")
    result.assert_outcomes(passed=2, errors=1)
    (line,) = [line for line in result.outlines if line.startswith("ablation marker: 'withintask'; expected ")]
    assert "within_task" in line


def test_two_conditions_of_one_name(project: Project) -> None:
    project.pytester.makepyfile(test_mine=MINE, test_yours=MINE.replace("(0, 1)", "(0, 2)"))
    result = project.run("test_mine.py", "test_yours.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert "mine" in line


def test_the_model_itself(project: Project) -> None:
    project.pytester.makepyfile(
        test_mine="""
        from harness.experiment.heads import Head
        from harness.model.intervention.ablation import Ablation

        def test_mine(ablation_model):
            ids = ablation_model.tokenizer("a b c", return_tensors="pt")["input_ids"]
            with Ablation(ablation_model.outputs, [{Head(0, 1)}]):
                ablation_model.model(ids)
    """
    )
    project.run("test_mine.py").assert_outcomes(passed=1)
    assert not (project.path / "reports" / "latest" / "report.json").exists()


def test_the_model_itself_is_not_where_a_cluster_has_it(project: Project) -> None:
    """It may not fit here, nor the device be here; and what it took here, the cluster's models would lack."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'retrieval-heads[ray]'")
    result = project.run("evals", "-k", "hooks", "-rs", "--ablation-ray=127.0.0.1:9", "--ablation-device-map=cuda")
    result.assert_outcomes(skipped=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["SKIPPED * asks for the model itself: with Ray it is on other machines; *"])

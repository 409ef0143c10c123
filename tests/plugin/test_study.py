"""A study: what is selected is computed, with the baseline; the same study gives the same report."""

import shutil

from plugin.project import TASKS, WITHIN, Project, lasting, names


def test_within_task_computes_itself_and_the_baseline(project: Project) -> None:
    result = project.run("evals", "-k", "within_task")
    result.assert_outcomes(passed=4, deselected=34)
    report = project.report()
    assert names(report) == ["baseline", *WITHIN]
    assert [each["n"] for each in report["conditions"]] == [6, 3, 3, 3, 3]
    assert (report["run"]["exit"], report["run"]["finished"], report["run"]["missing"]) == ("passed", True, [])
    assert [each["condition"] for each in project.samples()] == 6 * ["baseline"] + [
        name for name in WITHIN for _ in range(3)
    ]


def test_one_case_of_an_eval(project: Project) -> None:
    case = "evals/test_within_task.py::test_within_task[ceo_lastname-k02]"
    project.run(case).assert_outcomes(passed=1)
    assert names(project.report()) == ["baseline", "within_task[ceo_lastname-k02]"]


def test_the_same_study_gives_the_same_report(project: Project) -> None:
    project.run("evals", "-k", "not hooks")
    first, samples = project.report(), project.samples()
    shutil.rmtree(project.path / "reports")
    project.run("evals", "-k", "not hooks")
    assert lasting(project.report()) == lasting(first)
    assert project.samples() == samples
    assert len(first["conditions"]) == 130
    assert len(first["gates"]) == 3


def test_every_eval_that_measures_passes(project: Project) -> None:
    """The hook check too, on whichever model is configured; gates judge, and this model answers nothing."""
    project.run("evals").assert_outcomes(passed=35, failed=3)
    assert {gate["verdict"] for gate in project.report()["gates"]} == {"invalid"}
    experiments = {each["experiment"] for each in project.report()["conditions"]}
    assert experiments == {
        *("baseline", "needle_absent", "within_task", "across_task", "general", "global"),
        *("random_control", "permutation", "transfer", "bottom"),
    }


def test_the_hook_check_alone_writes_no_report(project: Project) -> None:
    project.run("evals", "-k", "hooks").assert_outcomes(passed=1, deselected=37)
    assert not (project.path / "reports" / "latest" / "report.json").exists()


def test_on_request(project: Project) -> None:
    for name, cases in {"across_exclusive": 4, "single": 4, "leave_one_in": 4}.items():
        project.run(f"evals/on_request/{name}.py").assert_outcomes(passed=cases)
        assert {each["experiment"] for each in project.report()["conditions"]} == {"baseline", name}
    assert {each["source_task"] for each in project.report()["conditions"][1:]} == set(TASKS)


def test_the_order_of_the_report_is_not_that_of_the_tests(project: Project) -> None:
    """pytest-randomly, say, shuffles them: the same study is to give the same report."""
    project.pytester.makepyfile(
        test_mine="""
        import pytest
        from harness import Condition

        @pytest.mark.ablation(*(Condition(name, heads=[(0, place)]) for place, name in enumerate("bca")))
        def test_mine(ablation_result):
            pass
    """
    )
    study = ("test_mine.py", "evals", "-k", "mine or within_task or random_control or baseline")
    project.run(*study)
    usual, samples = project.report(), project.samples()
    assert names(usual) == [
        *("baseline", "needle_absent"),
        *WITHIN,
        *(f"random_control[seed{seed}-k0{k}]" for k in (1, 2) for seed in range(5)),
        *("a", "b", "c"),
    ]
    project.pytester.makeconftest("def pytest_collection_modifyitems(items): items.reverse()")
    project.run(*study)
    assert lasting(project.report()) == lasting(usual)
    assert project.samples() == samples

"""Own metrics by the hook `pytest_ablation_score`: beside the two built-in rules, in samples and report."""

from plugin.project import Project

CONFTEST = """
    def pytest_ablation_score(row, completion):
        return {"letters": float(len(completion)), "late": float(row.task == "ceo_lastname")}
"""


def test_own_metrics_stand_beside_the_rules(project: Project) -> None:
    project.pytester.makeconftest(CONFTEST)
    project.run("evals", "-k", "within_task").assert_outcomes(passed=4, deselected=34)
    for sample in project.samples():
        assert sample["own"] == {
            "letters": len(sample["completion"]),
            "late": sample["task"] == "ceo_lastname",
        }
    baseline, within = project.report()["conditions"][0], project.report()["conditions"][-1]
    assert baseline["own"]["late"] == {"n": 6, "mean": 0.5}
    assert within["own"]["late"] == {"n": 3, "mean": float("ceo_lastname" in within["name"])}


def test_two_plugins_metrics_are_all_kept(project: Project) -> None:
    project.pytester.makeconftest(CONFTEST)
    (project.path / "evals" / "conftest.py").write_text(
        "def pytest_ablation_score(row, completion):\n    return {'one': 1.0}\n"
    )
    project.run("evals", "-k", "baseline").assert_outcomes(passed=2, deselected=36)
    assert set(project.samples()[0]["own"]) == {"letters", "late", "one"}


def test_none_is_no_metric(project: Project) -> None:
    project.pytester.makeconftest("def pytest_ablation_score(row, completion): return None")
    project.run("evals", "-k", "baseline").assert_outcomes(passed=2, deselected=36)
    assert project.samples()[0]["own"] == {}

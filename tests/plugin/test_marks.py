"""Where conditions and gates may be declared: on a test, on one set of its parameters; and what is said elsewhere."""

import pytest

from plugin.project import Project, names, usage_error

IMPORTS = """
    import pytest
    from harness import Condition

    MINE, YOURS = Condition("mine", heads=[(0, 1)]), Condition("yours", heads=[(1, 1)])
"""


def write(project: Project, test: str) -> None:
    project.pytester.makepyfile(test_mine=IMPORTS + test)


def reasons(result: pytest.RunResult) -> list[str]:
    """What failed tests say, a line each."""
    assert "Traceback" not in result.stdout.str()
    assert "During handling" not in result.stdout.str()
    return [line for line in result.outlines if line.startswith(("test_mine[", "test_mine:"))]


def test_a_condition_for_each_set_of_parameters(project: Project) -> None:
    write(
        project,
        """
    @pytest.mark.parametrize("name", [
        pytest.param("mine", marks=pytest.mark.ablation(MINE)),
        pytest.param("yours", marks=pytest.mark.ablation(YOURS)),
        pytest.param("baseline", marks=pytest.mark.ablation("baseline")),
    ])
    def test_mine(ablation_condition, ablation_result, name):
        assert ablation_result.condition == ablation_condition
        assert (ablation_condition.name, ablation_result.missing) == (name, 0)
    """,
    )
    project.run("test_mine.py").assert_outcomes(passed=3)
    assert names(project.report()) == ["baseline", "mine", "yours"]
    project.run("test_mine.py", "-k", "yours").assert_outcomes(passed=1, deselected=2)
    assert names(project.report()) == ["baseline", "yours"]


def test_a_gate_for_each_set_of_parameters(project: Project) -> None:
    write(
        project,
        """
    @pytest.mark.parametrize("name", [pytest.param("own", marks=pytest.mark.ablation_gate("own"))])
    def test_mine(ablation_gate, ablation_verdict, name):
        assert ablation_gate.heads == name
        assert ablation_verdict.figures.name == ablation_gate.name
    """,
    )
    project.run("test_mine.py").assert_outcomes(passed=1)
    assert [gate["name"] for gate in project.report()["gates"]] == ["gate[own-all-k02]"]


def test_a_set_of_parameters_is_one_case(project: Project) -> None:
    write(
        project,
        """
    @pytest.mark.parametrize("name", [pytest.param("a", marks=pytest.mark.ablation("within_task"))])
    def test_mine(ablation_result, name):
        pass
    """,
    )
    result = project.run("test_mine.py")
    result.assert_outcomes(errors=1)
    assert reasons(result) == [
        "test_mine[a]: ablation marker in pytest.param: it gives 4 cases; expected one; put the mark on the test "
        "itself, which then runs once for each"
    ]


def test_marks_on_both(project: Project) -> None:
    write(
        project,
        """
    @pytest.mark.ablation(MINE)
    @pytest.mark.parametrize("name", [pytest.param("a", marks=pytest.mark.ablation(YOURS)), "b"])
    def test_mine(ablation_result, name):
        assert ablation_result.condition == MINE
    """,
    )
    result = project.run("test_mine.py")
    result.assert_outcomes(errors=1, passed=1)
    (reason,) = reasons(result)
    assert reason.endswith(": ablation marker in pytest.param, beside the one on the test; expected one of them")


@pytest.mark.parametrize(
    ("fixture", "expected"),
    [
        ("ablation_result", '@pytest.mark.ablation("within_task")'),
        ("ablation_verdict", '@pytest.mark.ablation_gate("own")'),
    ],
)
def test_no_mark(project: Project, fixture: str, expected: str) -> None:
    project.only_ini()
    write(
        project,
        f"""
    def test_mine({fixture}):
        pass
    """,
    )
    result = project.run("test_mine.py")
    result.assert_outcomes(errors=1)
    assert reasons(result) == [
        f"test_mine: asks for {fixture} and has no mark that says of what; expected {expected}, say, on the test"
    ]
    assert "reports" not in project.left()


def test_a_test_of_all_that_it_marks(project: Project) -> None:
    write(
        project,
        """
    @pytest.mark.ablation(MINE, YOURS)
    def test_mine(ablation_results):
        assert set(ablation_results) == {"baseline", "mine", "yours"}
    """,
    )
    project.run("test_mine.py").assert_outcomes(passed=1)


def test_a_mark_without_our_fixtures_is_not_ours(project: Project) -> None:
    project.only_ini(markers="ablation: theirs")
    write(
        project,
        """
    @pytest.mark.ablation("of a graph", heads=3)
    def test_mine():
        pass
    """,
    )
    result = project.run("test_mine.py")
    result.assert_outcomes(passed=1)
    assert "ablation" not in result.stdout.str()
    assert "reports" not in project.left()


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_head_that_the_model_has_not_is_one_line(project: Project, workers: tuple[str, ...]) -> None:
    write(
        project,
        """
    @pytest.mark.ablation(Condition("far", heads=[(3, 1)]))
    def test_mine(ablation_result):
        pass
    """,
    )
    said = usage_error(project.run("test_mine.py", *workers))
    assert said.startswith("condition far: ")
    assert "the model has 3 layers (0-2)" in said
    assert not (project.path / "reports" / "latest" / "report.json").exists()


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "a worker"])
def test_a_demo_that_cannot_write_its_reports_is_one_line(project: Project, workers: tuple[str, ...]) -> None:
    """Known once the tests are: no setting says that there is a study."""
    project.only_ini()
    (project.path / "reports").write_text("theirs")
    assert "reports/latest: " in usage_error(project.run("evals/test_baseline.py", *workers))
    assert (project.path / "reports").read_text() == "theirs"

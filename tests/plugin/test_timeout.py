"""pytest-timeout: what ends one test does not end the others, and the rows that were finished stay finished."""

from plugin.project import N_ROWS, Project

HANGING_ONCE = """
    import time
    from pathlib import Path
    from harness.experiment.store import Store

    put_row = Store.put_row

    def put_row_and_hang_once(self, *arguments, **named):
        with Path("rows_begun").open("a") as file:
            file.write("row\\n")
        if len(Path("rows_begun").read_text().split()) == 3:
            while True:
                time.sleep(0.01)
        put_row(self, *arguments, **named)

    Store.put_row = put_row_and_hang_once
"""
"""Two rows are stored; the third never is, the first time."""
SECONDS = 10
"""More than all but the hanging takes, on a machine that is busy with other things too."""


def test_a_test_that_is_ended_leaves_the_rest_to_the_next(project: Project) -> None:
    project.pytester.makeconftest(HANGING_ONCE)
    result = project.run_alone("evals/test_within_task.py", f"--timeout={SECONDS}", "--timeout-method=signal")
    result.assert_outcomes(errors=1, passed=3)
    assert any(line.startswith("E  ") and f"Timeout (>{SECONDS}.0s)" in line for line in result.outlines)
    report = project.report()
    assert (report["run"]["exit"], report["run"]["finished"], report["run"]["missing"]) == ("failed", True, [])
    begun = (project.path / "rows_begun").read_text().split()
    assert len(begun) == N_ROWS + 1, "only the row that hung is computed again"


def test_only_the_tests_own_function(project: Project) -> None:
    """As the documents advise: then what the first test computes for all is not held against it."""
    project.pytester.makeconftest(
        HANGING_ONCE.replace("while True:\n                time.sleep(0.01)", "time.sleep(2)")
    )
    project.configure(timeout_func_only="true", timeout="1")
    project.run_alone("evals/test_within_task.py").assert_outcomes(passed=4)

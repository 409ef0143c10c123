"""Ctrl-C and SIGTERM in the middle of a run: a valid report that marks what is missing, and a restart finishes it."""

import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from harness.experiment.store import Store
from plugin.project import N_ROWS, SMALL_DEMO, WITHIN, Project, Report, lasting, names

STUDY = ("evals/test_within_task.py",)
HANGING = """
    import time
    from pathlib import Path
    from harness.experiment.store import Store

    put_row = Store.put_row

    def put_row_and_hang(self, *arguments, **named):
        put_row(self, *arguments, **named)
        folder = Path("rows_done")
        folder.mkdir(exist_ok=True)
        (folder / str(len(list(folder.iterdir())))).touch()
        while len(list(folder.iterdir())) > 1:
            time.sleep(0.01)

    Store.put_row = put_row_and_hang
"""
"""Two rows are stored, then the model never answers again."""


WRITING = """
    import time
    from pathlib import Path
    import harness.study.session as session

    write_report = session.write_report

    def wait_and_write(*arguments):
        Path("writing").touch()
        while not Path("told").exists():
            time.sleep(0.01)
        return write_report(*arguments)

    session.write_report = wait_and_write
"""
"""The report is written once the signal has been sent."""


GOING_ON = """
    import time
    from pathlib import Path
    from harness.experiment.store import Store

    put_row = Store.put_row

    def put_row_and_wait(self, *arguments, **named):
        put_row(self, *arguments, **named)
        with Path("kept.txt").open("a") as file:
            file.write("kept\\n")
        while not Path("reports/latest/report.json").exists():
            time.sleep(0.01)

    Store.put_row = put_row_and_wait
"""
"""What is kept next waits until the report is written."""


def ended(
    process: "subprocess.Popen[str]",
    number: signal.Signals,
    when: Callable[[], bool],
    then: Callable[[], object] = lambda: None,
) -> str:
    """What a run prints that is sent a signal when this is so, and then told something."""
    try:
        while process.poll() is None and not when():
            time.sleep(0.02)
        process.send_signal(number)
        then()
        return process.communicate()[0]
    finally:
        process.kill()


def check_half_done(report: Report, samples: list[Report]) -> None:
    assert names(report) == ["baseline", *WITHIN]
    assert (report["run"]["exit"], report["run"]["finished"]) == ("interrupted", False)
    assert report["conditions"][0]["requested"] == N_ROWS
    assert report["conditions"][0]["n"] == 2
    assert sum(each["condition"] == "baseline" for each in samples) == 2
    missing = [each["name"] for each in report["conditions"] if each["n"] < each["requested"]]
    assert report["run"]["missing"] == missing
    assert "baseline" in missing
    for each in report["conditions"]:
        assert (each["accuracy"] is None) == (each["n"] == 0), "nothing measured is not 0 %"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_leaves_a_report(project: Project, number: signal.Signals) -> None:
    project.pytester.makeconftest(HANGING)
    process = project.start(*STUDY)
    output = ended(process, number, (project.path / "rows_done" / "1").exists)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    assert "missing: 5 conditions without all records: baseline, " in output
    check_half_done(project.report(), project.samples())

    (project.path / "conftest.py").unlink()
    project.run(*STUDY).assert_outcomes(passed=4)
    resumed = project.report()
    assert (resumed["run"]["exit"], resumed["run"]["finished"], resumed["run"]["missing"]) == ("passed", True, [])
    (project.path / "reports" / "store.sqlite").unlink()
    project.run(*STUDY)
    assert lasting(project.report()) == lasting(resumed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_while_the_report_is_written(project: Project, number: signal.Signals) -> None:
    """Eleven of forty-one once ended in a traceback of pytest's own, some of them without a report."""
    project.pytester.makeconftest(WRITING)
    process = project.start(*STUDY)

    def go_on() -> None:
        time.sleep(0.1)
        (project.path / "told").touch()

    output = ended(process, number, (project.path / "writing").exists, go_on)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert "no accuracy_by_k, accuracy_by_task, " in output
    assert "(interrupted)" in output
    assert (project.report()["run"]["exit"], project.report()["run"]["finished"]) == ("passed", True)
    assert len(project.samples()) == sum(each["n"] for each in project.report()["conditions"])


def test_sigterm_to_the_main_process_ends_its_workers_too(project: Project) -> None:
    """They went on for five seconds, and kept answers that the report did not have."""
    project.pytester.makeconftest(GOING_ON)
    process, kept = project.start(*STUDY, "-n", "2"), project.path / "kept.txt"
    output = ended(process, signal.SIGTERM, lambda: kept.exists() and kept.read_text().count("kept") == 2)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    assert (project.report()["run"]["exit"], project.report()["run"]["finished"]) == ("interrupted", False)
    assert kept.read_text().count("kept") == 2


def test_sigterm_where_marks_alone_told_of_a_study(project: Project) -> None:
    """The main process of xdist collects nothing: it looks, when the signal comes, whether its workers began one."""
    project.only_ini()
    project.pytester.makeconftest(SMALL_DEMO + HANGING)
    process = project.start(*STUDY, "-n", "1")
    output = ended(process, signal.SIGTERM, (project.path / "rows_done" / "1").exists)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert (project.report()["run"]["exit"], project.report()["conditions"][0]["n"]) == ("interrupted", 2)


def test_sigterm_without_a_study_is_left_as_it_was(project: Project) -> None:
    project.only_ini()
    project.pytester.makepyfile(
        test_other="""
        import time
        from pathlib import Path

        def test_other():
            Path("began").touch()
            time.sleep(60)
    """
    )
    process = project.start("test_other.py", "-n", "1")
    output = ended(process, signal.SIGTERM, (project.path / "began").exists)
    assert process.returncode == -signal.SIGTERM, output
    assert "reports" not in project.left()


def test_an_error_of_somebody_elses_leaves_a_report_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a disk fails below a library, or a hook of another plugin breaks."""
    put_row = Store.put_row

    def break_at_the_third(self: Store, *arguments: object, **named: object) -> None:
        done.append(1)
        if len(done) == 3:
            raise RuntimeError("the third row")
        put_row(self, *arguments, **named)  # type: ignore[arg-type]  # handed on as they came

    done: list[int] = []
    monkeypatch.setattr(Store, "put_row", break_at_the_third)
    result = project.run(*STUDY, "-x")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    report = project.report()
    assert (report["run"]["exit"], report["run"]["finished"]) == ("failed", False)
    assert report["conditions"][0]["n"] == 2

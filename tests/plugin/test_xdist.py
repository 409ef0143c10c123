"""Several workers on one study: one store, one report, and the same figures as from one process."""

import shutil

import pytest

import harness.model.loading.devices
from plugin.project import SMALL_DEMO, Project, lasting, names, usage_error

STUDY = ("evals/test_within_task.py", "evals/test_general.py")


def test_two_workers_report_what_one_process_does(project: Project) -> None:
    result = project.run(*STUDY, "-n", "2")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        ["baseline *", "within_task *k=2 *", "general *k=2 *", "report: reports/latest/report.json"]
    )
    of_two, samples = project.report(), project.samples()
    assert (of_two["run"]["exit"], of_two["run"]["missing"]) == ("passed", [])
    shutil.rmtree(project.path / "reports")
    project.run(*STUDY)
    assert lasting(project.report()) == lasting(of_two)
    assert project.samples() == samples
    assert len(names(of_two)) == 7


NOTING = """
    import os
    from pathlib import Path
    from harness.study.run import Run

    worker, execute = os.environ.get("PYTEST_XDIST_WORKER"), Run.execute

    def noted_execute(self, *arguments):
        with Path("executed.txt").open("a") as file:
            file.write(worker + "\\n")
        execute(self, *arguments)

    if worker:
        Run.execute = noted_execute
"""
"""Notes which worker does its part of the plan; the main process runs in this one, and is left as it is."""


@pytest.mark.parametrize(("mark", "executed"), [("", ["gw0", "gw1"]), ("@pytest.mark.skip", [])])
def test_workers_without_a_test_do_their_part(mark: str, executed: list[str], project: Project) -> None:
    """Two gates on a machine of eight GPUs kept two of them busy. Where nobody asks, nobody works."""
    project.pytester.makeconftest(NOTING)
    project.pytester.makepyfile(
        test_mine=f"""
        import pytest
        from harness import Condition

        {mark}
        @pytest.mark.ablation(Condition("mine", heads=[(0, 1)]))
        def test_mine(ablation_result):
            assert ablation_result.missing == 0
        """
    )
    result = project.run("test_mine.py", "-n", "2")
    result.assert_outcomes(passed=len(executed) // 2, skipped=not executed)
    noted = project.path / "executed.txt"
    assert sorted(noted.read_text().split() if noted.exists() else []) == executed


ONE_GPU = """
    import os
    from pathlib import Path
    import harness.model.loading.devices as devices
    import harness.study.computation as computation

    worker = os.environ.get("PYTEST_XDIST_WORKER")
    leases, own = computation.Leases, computation.own_device_map

    def own_device_map(settings, held):
        found = own(settings, held)
        with Path("leased.txt").open("a") as file:
            file.write(f"{worker} {found}\\n")
        return "cpu"

    if worker:
        devices.visible_gpus = lambda: ("0",)
        computation.Leases = lambda **named: leases(Path("gpus"), **named)
        computation.own_device_map = own_device_map
"""
"""One made-up GPU, which is the CPU."""


def test_workers_for_whom_no_gpu_is_left_idle(project: Project) -> None:
    """As after `-n auto` on a machine of many cores, where only the collected tests told that there is a study."""
    project.pytester.makeconftest(ONE_GPU)
    result = project.run(*STUDY, "-n", "2")
    result.assert_outcomes(passed=6)
    (leased,) = (project.path / "leased.txt").read_text().splitlines()
    assert leased.endswith(" cuda:0")
    assert (project.report()["run"]["exit"], project.report()["run"]["missing"]) == ("passed", [])


def test_where_marks_alone_tell_the_header_stands_in_the_summary(project: Project) -> None:
    project.only_ini()
    project.pytester.makeconftest(SMALL_DEMO)
    result = project.run_alone("evals/test_baseline.py", "-n", "1")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*= ablation =*", "ablation: model demo, *", "ablation: mode zero, *", "baseline *"])
    assert sum(line.startswith("ablation: model") for line in result.outlines) == 1
    project.pytester.makepyfile(test_other="def test_other(): pass")
    result = project.run_alone("test_other.py", "-n", "1")
    assert "ablation" not in result.stdout.str(), "a study of an earlier run is none of this one"


def test_a_bad_option_is_one_line(project: Project) -> None:
    assert usage_error(project.run("evals", "-n", "2", "--ablation-k=0")).startswith("--ablation-k: '0'")
    project.configure(ablation_k="two")
    assert usage_error(project.run("evals", "-n", "2")).startswith("ini value ablation_k: 'two'")


def test_a_model_that_cannot_be_loaded(project: Project) -> None:
    """Found out in each worker, and said there once; the main process reports what is there: nothing."""
    project.cut_weights()
    result = project.run(*STUDY, "-n", "1")
    result.assert_outcomes(errors=1)
    assert result.ret != pytest.ExitCode.OK
    assert len([line for line in result.outlines if line.startswith("model ")]) == 1
    assert "Traceback" not in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()
    assert project.report()["run"]["missing"] == names(project.report())


def test_as_many_workers_as_there_are_gpus_for(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPUs are made up, in the main process alone; of the tests none is left to run."""
    monkeypatch.setattr(harness.model.loading.devices, "visible_gpus", lambda: ("0", "1", "2"))
    none = (*STUDY, "-k", "none", "-n", "auto", "-v")
    project.run(*none).stdout.fnmatch_lines(["created: 3/3 workers"])
    project.run(*none, "--ablation-gpus=2").stdout.fnmatch_lines(["created: 1/1 worker"])


def test_a_run_that_has_nothing_to_do_with_ablation_keeps_xdists_own_choice(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> None:
        raise AssertionError("GPUs were looked for")

    monkeypatch.setattr(harness.model.loading.devices, "visible_gpus", asked)
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "3")
    project.only_ini()
    project.pytester.makepyfile(test_other="def test_other(): pass")
    project.run("test_other.py", "-n", "auto", "-v").stdout.fnmatch_lines(["*3 workers*"])

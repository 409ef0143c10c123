"""Several workers on one study: one store, one report, and the same figures as from one process."""

import shutil

import pytest

from plugin.project import Project, lasting, names, usage_error

STUDY = ("evals", "-k", "within_task or general")


def test_two_workers_report_what_one_process_does(project: Project) -> None:
    result = project.run(*STUDY, "-n", "2")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["baseline *", "within_task *k=1 *", "general *", "report: */report.json"])
    of_two, samples = project.report(), project.samples()
    assert (of_two["run"]["exit"], of_two["run"]["missing"]) == ("passed", [])
    shutil.rmtree(project.path / "reports")
    project.run(*STUDY)
    assert lasting(project.report()) == lasting(of_two)
    assert project.samples() == samples
    assert len(names(of_two)) == 7


def test_a_bad_option_is_one_line(project: Project) -> None:
    assert usage_error(project.run("evals", "-n", "2", "--ablation-k=0")).startswith("--ablation-k: '0'")
    project.configure(ablation_k="two")
    assert usage_error(project.run("evals", "-n", "2")).startswith("ini value ablation_k: 'two'")


def test_a_model_that_cannot_be_loaded(project: Project) -> None:
    (project.path / "broken").mkdir()
    for file in (project.path / "tiny").iterdir():
        (project.path / "broken" / file.name).write_bytes(file.read_bytes()[:5000])
    result = project.run(*STUDY, "-n", "2", "--ablation-model=broken")
    assert result.ret != pytest.ExitCode.OK
    print(result.outlines)
    assert "Traceback" not in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()

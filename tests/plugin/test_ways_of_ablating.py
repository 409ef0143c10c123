"""Other ablations than zero at every token, end to end: other records, other answers, one baseline."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from harness.demo.filings import demo_rows
from harness.experiment.intervention import MeanValues
from harness.model.generation.engines import ModelEngine
from harness.retrieval.prompts import Prompt
from harness.retrieval.rows import write_rows
from plugin.project import TASKS, Project, names, usage_error

STUDY = ("evals", "-k", "bottom")
"""Heads of the first layer. In the last one the prompt before its last token does not matter."""


@pytest.fixture
def with_means(project: Project) -> Project:
    """The project with one more filing, for identification."""
    rows = [row for row in demo_rows(4, n_sentences=2) if row.task in TASKS]
    last = rows[-1].filename
    write_rows(
        [replace(row, split="identification" if row.filename == last else "evaluation") for row in rows],
        project.path / "rows.csv",
    )
    return project


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[MeanValues]:
    """Which means were computed."""
    mean_values = ModelEngine.mean_values
    found: list[MeanValues] = []

    def noted(engine: ModelEngine, prompts: Sequence[Prompt], note: Callable[[int], None]) -> MeanValues:
        found.append(mean_values(engine, prompts, note))
        return found[-1]

    monkeypatch.setattr(ModelEngine, "mean_values", noted)
    return found


def answers(project: Project) -> dict[tuple[str, str], float]:
    return {(line["condition"], line["row"]): line["gold_logprob"] for line in project.samples()}


def same(project: Project, usual: dict[tuple[str, str], float]) -> set[str]:
    """The conditions whose answers are those of another run."""
    found = answers(project)
    assert set(found) == set(usual)
    return {condition for condition, row in usual if usual[condition, row] == found[condition, row]}


def test_from_the_prompts_last_token_on(project: Project) -> None:
    project.run(*STUDY)
    usual, conditions = answers(project), names(project.report())
    result = project.run(*STUDY, "--ablation-phase=decode")
    result.assert_outcomes(passed=2, deselected=36)
    result.stdout.fnmatch_lines(["ablation: mode zero, phase decode, *", "*, heads zeroed from the prompt's last *"])
    assert names(project.report()) == conditions
    assert project.report()["configuration"]["phase"] == "decode"
    assert same(project, usual) == {"baseline"}


def test_means_from_the_prompts_last_token_on(with_means: Project, found: list[MeanValues]) -> None:
    project = with_means
    project.run(*STUDY)
    usual = answers(project)
    project.configure(ablation_mode="mean")
    result = project.run(*STUDY, "--ablation-phase=decode")
    result.assert_outcomes(passed=2, deselected=36)
    result.stdout.fnmatch_lines(["ablation: mode mean, phase decode, *", "*, heads set to their mean from the *"])
    configuration = project.report()["configuration"]
    assert (configuration["mode"], configuration["phase"]) == ("mean", "decode")
    assert [each.sha256 for each in found] == [configuration["mean_sha256"]]
    decoded = answers(project)
    assert same(project, usual) == {"baseline"}
    project.run(*STUDY, "--ablation-phase=decode", "--ablation-engine=reference")
    assert answers(project) == pytest.approx(decoded, abs=1e-4)
    project.run(*STUDY)
    assert same(project, usual) == same(project, decoded) == {"baseline"}
    assert len(found) == 1, "they are kept, and serve both engines and both phases"


def test_resampled(project: Project) -> None:
    project.run(*STUDY)
    usual = answers(project)
    result = project.run(*STUDY, "--ablation-mode=resample")
    result.assert_outcomes(passed=2, deselected=36)
    result.stdout.fnmatch_lines(["ablation: mode resample, phase all, *", "*, heads resampled"])
    resampled = answers(project)
    assert same(project, usual) == {"baseline"}
    project.run(*STUDY, "--ablation-mode=resample", "--ablation-engine=reference")
    assert answers(project) == pytest.approx(resampled, abs=1e-4)
    project.run(*STUDY, "--ablation-mode=resample", "--ablation-phase=decode")
    assert same(project, usual) == same(project, resampled) == {"baseline"}


def test_kept_from_the_needle(project: Project) -> None:
    result = project.run(*STUDY, "--ablation-mode=needle_edge")
    assert project.report()["damage"] == [], "nothing is zeroed in this store yet"
    project.run(*STUDY)
    usual = answers(project)
    assert project.report()["damage"] == []
    result = project.run(*STUDY, "--ablation-mode=needle_edge")
    shares = project.report()["damage"]
    assert {(each["experiment"], each["k"], each["outcome"]) for each in shares} >= {("bottom", 2, "accuracy")}
    assert {each["blind"] for each in shares} == {0.0}
    result.assert_outcomes(passed=2, deselected=36)
    result.stdout.fnmatch_lines(
        ["ablation: mode needle_edge, phase decode, *", "*, heads kept from the needle from the prompt's last token on"]
    )
    kept = answers(project)
    assert same(project, usual) == {"baseline"}
    project.run(*STUDY, "--ablation-mode=needle_edge", "--ablation-engine=reference")
    assert answers(project) == pytest.approx(kept, abs=1e-4)


def test_no_row_to_resample_from(project: Project) -> None:
    write_rows(
        [replace(row, split="evaluation") for row in demo_rows(1, n_sentences=2) if row.task in TASKS],
        project.path / "rows.csv",
    )
    line = usage_error(project.run(*STUDY, "--ablation-mode=resample"))
    assert "no row to take heads' outputs from; expected one of the task" in line


def test_two_workers_share_the_means(with_means: Project) -> None:
    project = with_means
    result = project.run(*STUDY, "--ablation-mode=mean", "-n", "2")
    result.assert_outcomes(passed=2)
    shared, configuration = answers(project), project.report()["configuration"]
    assert len(configuration["mean_sha256"]) == 64
    (project.path / "reports" / "store.sqlite").unlink()
    project.run(*STUDY, "--ablation-mode=mean")
    assert answers(project) == pytest.approx(shared, abs=1e-4)


def test_no_rows_to_take_means_over(project: Project) -> None:
    line = usage_error(project.run(*STUDY, "--ablation-mode=mean"))
    assert line.startswith("rows.csv: no rows for identification, which the mean of a head's output is taken over")


def test_a_dry_run_of_means(with_means: Project, found: list[MeanValues]) -> None:
    result = with_means.run(*STUDY, "--ablation-mode=mean", "--ablation-dry-run")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["6 rows, 3 conditions: 18 completions requested, 18 distinct, 0 of them stored*"])
    assert not found

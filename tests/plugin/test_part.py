"""A study done in parts, on machines that share nothing: merged, it is the study that one machine did whole."""

import shutil
from pathlib import Path

import pytest

import harness.model.loading.loaded_model
from harness.cli import main
from plugin.project import N_ROWS, WITHIN, Project, lasting, names, usage_error

STUDY = ("evals", "-k", "within_task or own", "--ablation-gate-draws=2")


def samples_file(project: Project) -> Path:
    return project.path / "reports" / "latest" / "samples.jsonl"


def test_parts_are_one_study(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.run(*STUDY)
    whole, samples = project.report(), samples_file(project).read_bytes()
    assert [gate["name"] for gate in whole["gates"]] == ["gate[own-all-k02]"]
    shutil.rmtree(project.path / "reports")
    for number in (1, 2):
        result = project.run(*STUDY, f"--ablation-part={number}/2")
        result.assert_outcomes(skipped=len(WITHIN) + 1)
        assert result.ret == 0
        result.stdout.fnmatch_lines([f"part {number} of 2: 3 of {N_ROWS} rows; no verdict before the stores of all *"])
        part = project.report(f"part-{number}-of-2")
        assert part["run"]["part"] == {"number": number, "of": 2, "rows": 3, "left": 0}
        assert (part["run"]["finished"], part["gates"]) == (False, [])
        assert all(condition["n"] <= 3 for condition in part["conditions"])
        assert sorted(file.name for file in (project.path / "reports" / f"part-{number}-of-2").iterdir()) == [
            "report.json",
            "samples.jsonl",
        ]
    assert not (project.path / "reports" / "latest").exists()
    stores = [str(project.path / "reports" / f"part-{number}-of-2.sqlite") for number in (1, 2)]
    assert main(["merge", *stores, "--into", str(project.path / "reports" / "store.sqlite")]) == 0

    def load_model(*arguments: object, **named: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(harness.model.loading.loaded_model, "load_model", load_model)
    project.run(*STUDY)
    assert lasting(project.report()) == lasting(whole)
    assert samples_file(project).read_bytes() == samples


def test_a_part_that_was_ended_says_what_is_left(project: Project, unsound: None) -> None:
    result = project.run("evals", "-k", "within_task", "--ablation-part=1/1")
    assert result.ret != 0
    result.stdout.fnmatch_lines([f"part 1 of 1: {N_ROWS} of {N_ROWS} rows, * of them not done: run it again; *"])


def test_a_part_of_which_all_is_stored_is_reported_anew(project: Project) -> None:
    """By workers who find nothing to do: the report of a part that was ended stood there still, and said so."""
    asked = ("evals", "-k", "within_task", "--ablation-part=1/2")
    project.run(*asked)
    report = project.path / "reports" / "part-1-of-2" / "report.json"
    first = report.read_bytes()
    result = project.run(*asked, "-n", "1")
    result.stdout.fnmatch_lines([f"part 1 of 2: 3 of {N_ROWS} rows; no verdict *"])
    assert report.read_bytes() != first


def test_parts_of_which_there_are_more_than_rows(project: Project) -> None:
    """An array of jobs may be larger than the study: the last have nothing to do."""
    result = project.run("evals", "-k", "within_task", "--ablation-part=8/9")
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"part 8 of 9: 0 of {N_ROWS} rows; *"])
    assert names(project.report("part-8-of-9"))


def test_a_dry_run_counts_the_part(project: Project) -> None:
    result = project.run("evals", "-k", "within_task", "--ablation-dry-run", "--ablation-part=2/3")
    result.stdout.fnmatch_lines(
        ["ablation: part 2 of 3: nothing is judged *", "2 rows, 5 conditions: 6 completions requested, 6 distinct, *"]
    )


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "/2", "a/b", "1/0", "-1/2", "1/2/3", "²/3", ""])
def test_a_part_that_there_is_not(project: Project, text: str) -> None:
    said = usage_error(project.run("evals", f"--ablation-part={text}"))
    assert said == f"--ablation-part: {text!r}; expected I/N, part I of N, from 1/N to N/N"
    assert project.left() == []


def test_a_part_is_not_done_on_ray(project: Project) -> None:
    said = usage_error(project.run("evals", "--ablation-part=1/2", "--ablation-ray=local"))
    assert said.startswith("--ablation-part: given with --ablation-ray; expected one of the two, ")
    assert project.left() == []

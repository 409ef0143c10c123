"""The store: what it holds is not computed again, and needs no model; `--ablation-refresh` computes all the same."""

import sqlite3
from collections.abc import Callable

import pytest

import harness.model.loading.loaded_model
from plugin.project import Project, lasting

STUDY = ("evals", "-k", "within_task")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Which models were loaded."""
    load: Callable[..., object] = harness.model.loading.loaded_model.load_model
    loaded: list[object] = []

    def counted(checkpoint: object, **named: object) -> object:
        loaded.append(checkpoint)
        return load(checkpoint, **named)

    monkeypatch.setattr(harness.model.loading.loaded_model, "load_model", counted)
    return loaded


def test_a_second_run_loads_no_model(project: Project, loads: list[object]) -> None:
    project.run(*STUDY).assert_outcomes(passed=4, deselected=34)
    assert len(loads) == 1, "once a process"
    first, samples = project.report(), project.samples()
    project.run(*STUDY).assert_outcomes(passed=4, deselected=34)
    assert len(loads) == 1
    assert lasting(project.report()) == lasting(first)
    assert project.samples() == samples


def test_what_is_missing_is_added(project: Project, loads: list[object]) -> None:
    project.run(*STUDY, "--ablation-tasks=ceo_lastname")
    project.run(*STUDY, "--ablation-run=whole")
    assert len(loads) == 2
    project.run(*STUDY, "--ablation-run=whole")
    assert len(loads) == 2


def test_other_settings_are_other_records(project: Project, loads: list[object]) -> None:
    project.run(*STUDY)
    for count, argument in enumerate(["--ablation-max-new-tokens=2", "--ablation-depth=0", "--ablation-attn=eager"]):
        project.run(*STUDY, argument)
        assert len(loads) == 2 + count


def test_refresh_computes_again(project: Project, loads: list[object]) -> None:
    project.run(*STUDY)
    first = project.report()
    project.run(*STUDY, "--ablation-refresh")
    assert len(loads) == 2
    assert lasting(project.report()) | {"configuration": None} == lasting(first) | {"configuration": None}
    project.run(*STUDY)
    assert len(loads) == 2


def test_a_damaged_record_is_named_and_computed_again(project: Project, loads: list[object]) -> None:
    project.run(*STUDY)
    samples = project.samples()
    database = sqlite3.connect(project.path / "reports" / "store.sqlite", isolation_level=None)
    ((row,),) = database.execute("SELECT row_id FROM records ORDER BY key LIMIT 1")
    database.execute("UPDATE records SET record = record || ' ' WHERE key = (SELECT min(key) FROM records)")
    database.close()
    again = project.run(*STUDY)
    again.stdout.fnmatch_lines([f"ablation: {row}: damaged in the store (key *...), and computed again"])
    assert len(loads) == 2
    assert project.samples() == samples
    project.run(*STUDY).stdout.no_fnmatch_line("ablation: *computed again")

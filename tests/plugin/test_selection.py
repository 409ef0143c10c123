"""Selecting with `-k`: each word selects its own eval of the demo, and nothing else."""

import re
from dataclasses import replace

import pytest

import harness.demo.filings
from harness.demo.filings import demo_rows
from plugin.project import Project

WORDS = "within_task across_task general global random_control transfer bottom baseline hooks gate".split()
FILES = {word: "test_gates.py" if word == "gate" else f"test_{word}.py" for word in WORDS}


@pytest.fixture
def demo(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Nothing is configured: the embedded model, its tasks and its ranking; of its filings a few are enough."""
    rows = tuple(replace(row, split="evaluation") for row in demo_rows(2))
    monkeypatch.setattr(harness.demo.filings, "demo_rows", lambda **_: rows)
    project.only_ini(filterwarnings="error")
    return project


def test_every_eval_has_its_word(demo: Project) -> None:
    assert {path.name for path in (demo.path / "evals").glob("test_*.py")} == set(FILES.values())


@pytest.mark.parametrize("word", WORDS)
def test_a_word_selects_its_own_eval(demo: Project, word: str) -> None:
    ids = demo.ids("evals", "-k", word)
    assert ids == demo.ids(f"evals/{FILES[word]}")
    assert ids
    assert {name.split("[")[0] for name in ids} == {f"evals/{FILES[word]}::test_{word}"}
    for name in ids:
        assert re.fullmatch(r"[A-Za-z0-9_.:+\-\[\]]+", name.split("::", 1)[1])


def test_ids_are_the_conditions_names(demo: Project) -> None:
    ids = [name.split("::test_")[1] for name in demo.ids("evals")]
    assert {
        "within_task[ceo_lastname-k05]",
        "across_task[registrant_name-k20]",
        "transfer[ceo_lastname:registrant_name-k01]",
        "random_control[seed4-k10]",
        "general[k20]",
        "global[k02]",
        "bottom[k01]",
        "gate[own-all-k20]",
        "gate[shared-all-k20]",
        "gate[pooled-all-k20]",
    } <= set(ids)
    assert len(ids) == len(set(ids))


def test_the_marker_selects_the_gates(demo: Project) -> None:
    assert demo.ids("evals", "-m", "gate") == demo.ids("evals/test_gates.py")
    assert len(demo.ids("evals", "-m", "gate", "-k", "own-all-k20")) == 1


def test_on_request_experiments_do_not_run_unasked(demo: Project) -> None:
    for name in ("across_exclusive", "single", "leave_one_in"):
        assert not demo.ids("evals", "-k", name)
        assert demo.ids(f"evals/on_request/{name}.py")

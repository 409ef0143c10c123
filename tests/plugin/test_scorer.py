"""`--ablation-scorer`: which of the two rules stands behind `matches`; both are always reported."""

from dataclasses import replace

import pytest

import harness.experiment.store
from harness.experiment.record import Record
from plugin.project import Project

CASES = ("evals", "-k", "baseline")


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every completion holds every number of four digits: a match as a substring, but not as a word."""
    text = "".join(str(year) for year in range(1000, 10000))
    get = harness.experiment.store.Store.get

    def get_talkative(self: harness.experiment.store.Store, key: str, *, run: str | None = None) -> Record | None:
        record = get(self, key, run=run)
        return None if record is None else replace(record, text=text)

    monkeypatch.setattr(harness.experiment.store.Store, "get", get_talkative)


@pytest.mark.usefixtures("talkative")
@pytest.mark.parametrize("scorer", ["value", "published"])
def test_the_rule_behind_matches(project: Project, scorer: str) -> None:
    project.run(*CASES, f"--ablation-scorer={scorer}", "--ablation-tasks=incorporation_year")
    baseline = project.report()["conditions"][0]
    assert baseline["n"] == 3
    assert baseline["matches"] == {"value": 0, "published": 3}[scorer]
    assert baseline["published_rule"]["matches"] == 3
    assert baseline["disagreements"] == {"value": 3, "published": 0}[scorer]

"""`--ablation-scorer`: which of the two rules stands behind `matches`; both are always reported."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from harness.experiment.record import Record
from harness.experiment.store import Store
from plugin.project import Project

CASES = ("evals", "-k", "baseline")


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every completion holds every number of four digits: a match as a substring, but not as a word."""
    text = "".join(str(year) for year in range(1000, 10000))
    found = Store.found

    def found_talkative(self: Store, keys: Iterable[str], *, run: str | None = None) -> dict[str, Record]:
        return {key: replace(record, text=text) for key, record in found(self, keys, run=run).items()}

    monkeypatch.setattr(Store, "found", found_talkative)


@pytest.mark.usefixtures("talkative")
@pytest.mark.parametrize("scorer", ["value", "published"])
def test_the_rule_behind_matches(project: Project, scorer: str) -> None:
    project.run(*CASES, f"--ablation-scorer={scorer}", "--ablation-tasks=incorporation_year")
    baseline = project.report()["conditions"][0]
    assert baseline["n"] == 3
    assert baseline["matches"] == {"value": 0, "published": 3}[scorer]
    assert baseline["published_rule"]["matches"] == 3
    assert baseline["disagreements"] == {"value": 3, "published": 0}[scorer]

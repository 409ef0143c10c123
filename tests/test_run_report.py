"""The report of a run: of whom, with what, since when, and what the store does not hold is missing."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness import __version__
from harness.experiment.conditions import BASELINE
from harness.experiment.plan import Job
from harness.experiment.store import Record, Store
from harness.inputs import donor_row, read_inputs
from harness.retrieval.rows import Row
from harness.run import Run
from harness.run_report import PROGRAMS, Beginning, run_report
from harness.settings import Settings


class Known(Run):
    """A run that knows its records."""

    known: Mapping[Job, Record] = {}

    def records(self, conditions: object) -> dict[Job, Record]:
        return dict(self.known)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """Of the demo's nine rows of one filing; nothing is computed."""
    with Store(tmp_path_factory.mktemp("run") / "store.sqlite") as store:
        yield Known(read_inputs(Settings(max_rows=9, run="mine")), store, run_id="a")


def own_score(row: Row, completion: str) -> dict[str, float]:
    return {"length": float(len(completion))}


def said(row: Row, text: str) -> Record:
    job = Job(row.id, frozenset())
    return Record(
        job, (1, 2), text, 3, gold_logprob=-1.0, baseline_logprob=-1.0, hooks_fired=0, seconds=0, smallest_gap=1
    )


def test_after_resampling_the_donors_value_is_looked_for(run: Known, tmp_path: Path) -> None:
    """Beside the user's metrics; the untouched model says it too, if it is said."""
    inputs = replace(run.inputs, settings=replace(run.inputs.settings, mode="resample"))
    first, second = inputs.rows[:2]
    resampled = Known(inputs, run.store, run_id="b")
    resampled.known = {
        each.job: each
        for each in (said(first, f"It is {donor_row(inputs, first).needle_value}."), said(second, "Nothing."))
    }
    report, samples = run_report(resampled, [BASELINE], own_score, since=Beginning(), how="passed", root=tmp_path)
    assert [sample.own for sample in samples] == [
        {"length": float(len(samples[0].completion)), "donor_value": 1.0},
        {"length": 8.0, "donor_value": 0.0},
    ]
    assert report["conditions"][0]["own"]["donor_value"] == {"n": 2, "mean": 0.5}


def test_who_was_asked_with_what(run: Known, tmp_path: Path) -> None:
    report, samples = run_report(run, [BASELINE], own_score, since=Beginning(clock=0.0), how="failed", root=tmp_path)
    assert not samples
    assert (report["run"]["name"], report["run"]["exit"], report["run"]["missing"]) == ("mine", "failed", ["baseline"])
    assert report["run"]["seconds"] > 0
    assert report["run"]["commit"] is None, "the folder is no repository"
    assert set(report["versions"]) == {"python", "harness", *PROGRAMS, "scorer"}
    assert report["versions"]["harness"] == __version__
    assert report["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    model = report["model"]
    assert model is not None
    assert (model["id"], model["n_layers"], model["n_heads"]) == ("demo", 8, 16)
    assert report["data"]["rows"] == 9
    assert report["data"]["ranking_overlap"] == 0


def test_completions_are_scored_by_the_rule_asked_for(run: Known, tmp_path: Path) -> None:
    row = next(row for row in run.inputs.rows if row.task == "employees_count_total")
    # the digits stand inside a longer number: the published rule looks for a substring
    text = f"9{row.needle_value}".replace(",", "")
    for scorer, matches in (("value", 0), ("published", 1)):
        inputs = replace(run.inputs, settings=replace(run.inputs.settings, scorer=scorer))  # type: ignore[arg-type]  # a Scorer
        scored = Known(inputs, run.store, run_id="b")
        scored.known = {Job(row.id, frozenset()): said(row, text)}
        report, (sample,) = run_report(scored, [BASELINE], own_score, since=Beginning(), how="passed", root=tmp_path)
        (baseline,) = report["conditions"]
        assert (baseline["matches"], baseline["published"]["matches"], baseline["n"]) == (matches, 1, 1)
        assert sample.own == {"length": len(text)}


def test_the_commit_of_a_repository(run: Known, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    report, _ = run_report(run, [BASELINE], own_score, since=Beginning(), how="passed", root=tmp_path)
    assert report["run"]["commit"] == head

"""The report of a run: of whom, with what, since when, and what the store does not hold is missing.

What tests assert on is read from the report, and nothing is made up where that has nothing.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from changed_section import changed
from fake_gates import GATE, SOUND, make_answers, make_rows
from fake_study import make_report
from other_settings import under

from harness import __version__
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.plan import Job
from harness.experiment.record import Completion, Record
from harness.experiment.store import Store
from harness.findings.report.gate_message import gate_message
from harness.findings.report.report_data import OwnMetric
from harness.findings.verdicts.gate_results import gate_result
from harness.findings.verdicts.verdict_data import Margins
from harness.retrieval.rows import Row
from harness.settings import Settings
from harness.study.inputs import donor_row, read_inputs, values_of
from harness.study.outcome import GateVerdict, Result, run_outcome
from harness.study.provenance import PROGRAMS, Beginning
from harness.study.run import Run


def test_a_result_is_its_conditions_part_of_the_report() -> None:
    report, _ = make_report(tasks=("ceo_lastname",), ks=(2,), experiments=("within_task",), n_filings=4)
    places: dict[str, object] = {"n": 3, "requested": 4, "accuracy": 0.25, "drop.estimate": 0.5}
    figures = changed(report.conditions[1], places)
    condition = Condition("within_task", figures.setting, heads=((0, 1), (2, 3)))  # type: ignore[arg-type]  # pairs become heads
    result = Result(condition, figures)
    assert (result.n, result.missing, result.accuracy, result.drop) == (3, 1, 0.25, 0.5)
    assert result.interval == figures.interval
    assert dict(result.properties()) == {
        "condition": condition.name,
        "k_effective": 2,
        "n": 3,
        "missing": 1,
        "accuracy": 0.25,
        "drop": 0.5,
    }


def test_without_rows_there_is_no_accuracy_and_the_baseline_has_no_drop() -> None:
    report, _ = make_report(tasks=("ceo_lastname",), ks=(2,), experiments=("within_task",), n_filings=4)
    figures = report.conditions[0]
    assert Result(BASELINE, figures).drop is None
    none: dict[str, object] = {"matches": 0, "accuracy": None, "interval": None}
    result = Result(BASELINE, changed(figures, {"n": 0, "published_rule": none, **none}))
    assert (result.n, result.missing, result.accuracy, result.interval) == (0, 4, None, None)


def test_what_a_bare_assert_shows_of_a_verdict() -> None:
    """It once was every figure of the report's part, cut off in the middle."""
    rows = make_rows(9)
    figures = gate_result(GATE, rows, make_answers(GATE, rows, {}, {}), Margins(), SOUND)
    verdict = GateVerdict(figures, False, gate_message(figures, report="r", again="a"))
    assert repr(verdict) == (
        "<gate[own-all-k01]: invalid; 18 right answers in 9 clusters rest on the needle (right with it, wrong "
        "without), fewer than 20 in 10: too little to lose; take more filings, or tasks that the model can answer and "
        "not guess>"
    )


class Known(Run):
    """A run that knows its records."""

    known: Mapping[Job, Record] = {}

    def records(self, conditions: object, rows: object = None, manner: object = None) -> dict[Job, Record]:
        return dict(self.known)


@pytest.fixture(scope="module")
def quiet_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """Of the demo's nine rows of one filing; nothing is computed."""
    with Store(tmp_path_factory.mktemp("quiet_run") / "store.sqlite") as store:
        yield Known(read_inputs(Settings(max_rows=9, run="mine")), store, run_id="a")


def own_score(row: Row, completion: str) -> dict[str, float]:
    return {"length": float(len(completion))}


def answered(row: Row, text: str) -> Record:
    job = Job(row.id, frozenset())
    return Record(job, Completion((1, 2), 3, -1.0, -1.0, 0, 1.0), text, 0.0, device="a card")


def test_after_resampling_the_donors_value_is_looked_for(quiet_run: Known, tmp_path: Path) -> None:
    """Beside the user's metrics; the untouched model says it too, if it is said."""
    inputs = under(quiet_run.inputs, mode="resample")
    first, second = inputs.rows[:2]
    resampled = Known(inputs, quiet_run.store, run_id="b")
    resampled.known = {
        each.job: each
        for each in (
            answered(first, f"It is {donor_row(inputs, first).needle_value}."),
            answered(second, "Nothing."),
        )
    }
    found = run_outcome(resampled, [BASELINE], own_score, since=Beginning(), how="passed", root=tmp_path)
    report, samples = found.report, found.samples
    assert [sample.own for sample in samples] == [
        {"length": float(len(samples[0].completion)), "donor_value": 1.0},
        {"length": 8.0, "donor_value": 0.0},
    ]
    assert report.conditions[0].own["donor_value"] == OwnMetric(n=2, mean=0.5)


def test_who_was_asked_with_what(quiet_run: Known, tmp_path: Path) -> None:
    found = run_outcome(quiet_run, [BASELINE], own_score, since=Beginning(clock=0.0), how="failed", root=tmp_path)
    assert not found.samples
    report = found.report
    assert (report.run.name, report.run.exit, report.run.missing) == ("mine", "failed", ("baseline",))
    assert report.run.seconds > 0
    assert report.run.commit is None, "the folder is no repository"
    assert set(report.versions) == {"python", "harness", *PROGRAMS, "scorer"}
    assert report.versions["harness"] == __version__
    assert report.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    model = report.model
    assert model is not None
    assert (model.id, model.n_layers, model.n_heads) == ("demo", 8, 16)
    assert report.data.rows == 9
    assert report.data.ranking_overlap == 0
    assert report.data.value_recurs == ()


def test_completions_are_scored_by_the_rule_asked_for(quiet_run: Known, tmp_path: Path) -> None:
    row = next(row for row in quiet_run.inputs.rows if row.task == "employees_count_total")
    # the digits stand inside a longer number: the published rule looks for a substring
    text = f"9{row.needle_value}".replace(",", "")
    for scorer, matches in (("value", 0), ("published", 1)):
        inputs = under(quiet_run.inputs, scorer=scorer)
        scored = Known(inputs, quiet_run.store, run_id="b")
        scored.known = {Job(row.id, frozenset()): answered(row, text)}
        found = run_outcome(scored, [BASELINE], own_score, since=Beginning(), how="passed", root=tmp_path)
        (sample,), (baseline,) = found.samples, found.report.conditions
        assert (baseline.matches, baseline.published_rule.matches, baseline.n) == (matches, 1, 1)
        assert sample.own == {"length": len(text)}
        assert found.report.model is not None
        assert found.report.model.cards == ("a card",)


def test_hedging_and_special_tokens_are_counted(quiet_run: Known, tmp_path: Path) -> None:
    """Two registrants in one answer are a guess; a special token within it means that the turn had ended."""
    inputs = quiet_run.inputs
    asked = next(row for row in inputs.rows if row.task == "registrant_name")
    other = next(row for row in inputs.rows if row.task == "headquarters_city")
    names = [row.needle_value for row in inputs.all_rows if row.task == "registrant_name"]
    rival = next(name for name in names if name != asked.needle_value)
    hedging = answered(asked, f"{asked.needle_value} or {rival}")
    marked = answered(other, other.needle_value)
    scored = Known(inputs, quiet_run.store, run_id="b")
    scored.known = {
        each.job: replace(each, completion=replace(each.completion, token_ids=ids))
        for each, ids in ((hedging, (9, 10)), (marked, (9, 4, 10)))
    }
    outcome = run_outcome(scored, [BASELINE], own_score, since=Beginning(), how="passed", root=tmp_path)
    assert {sample.task: (sample.match, set(sample.faults)) for sample in outcome.samples} == {
        "registrant_name": (True, {"hedging"}),
        "headquarters_city": (True, {"turn_marker"}),
    }
    found = outcome.report.conditions[0].degenerate
    assert found is not None
    assert (found.any, found.hedging, found.turn_marker) == (2, 1, 1)


def test_a_value_within_a_longer_one_of_its_task_is_not_said(quiet_run: Known, tmp_path: Path) -> None:
    inputs = quiet_run.inputs
    row = next(row for row in inputs.rows if row.task == "headquarters_city")
    longer = replace(row, filename="another.txt", needle_value=f"West {row.needle_value}")
    for rows, match in ((inputs.all_rows, True), ((*inputs.all_rows, longer), False)):
        scored = Known(replace(inputs, values=values_of(rows)), quiet_run.store, run_id="b")
        scored.known = {Job(row.id, frozenset()): answered(row, longer.needle_value)}
        outcome = run_outcome(scored, [BASELINE], own_score, since=Beginning(), how="passed", root=tmp_path)
        (sample,) = outcome.samples
        assert sample.match is match


def test_the_commit_of_a_repository(quiet_run: Known, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    report = run_outcome(quiet_run, [BASELINE], own_score, since=Beginning(), how="passed", root=tmp_path).report
    assert report.run.commit == head

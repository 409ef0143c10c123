"""What GitHub's workflows are told."""

from pathlib import Path

import pytest
from changed_section import changed
from fake_gates import GATE, OWN, SOUND, make_answers, make_rows
from fake_study import whole_report
from two_reports import source, with_gates

from harness.findings.report.markdown_summary import SIGNS, escaped, write_markdown
from harness.findings.verdicts.gate_results import gate_result
from harness.findings.verdicts.verdict_data import GateResult, Kind, Margins
from harness.plugin.terminal import STEP_SUMMARY, add_step_summary, annotations, tell_workflow

CITY, YEAR = (part.largest.name for part in OWN)
ANSWERS: dict[Kind, tuple[dict[str, str], float]] = {
    "pass": ({CITY: "-" * 20, YEAR: "--++" * 5}, -2.1),
    "fail": ({}, -2.1),
    "inconclusive": ({CITY: "--++++++++" * 2, YEAR: "-+++++++++" * 2}, -2.1),
    "invalid": ({CITY: "-" * 20}, -9.0),
}
"""What is right without the judged heads, and how likely plain text is then; the verdicts are the rule's own."""


def judged(verdict: Kind) -> GateResult:
    right, text = ANSWERS[verdict]
    rows = make_rows(20)
    answers = make_answers(GATE, rows, right, {f"plain_text[{CITY}]": text})
    return gate_result(GATE, rows, answers, Margins(), SOUND)


@pytest.mark.parametrize("verdict", ANSWERS)
def test_the_summaries_of_every_verdict(verdict: Kind, tmp_path: Path) -> None:
    """`summary.md` and the step's summary are one text: the verdict, its numbers and why."""
    gate = judged(verdict)
    assert gate.verdict == verdict
    report = whole_report().model_copy(update={"gates": (gate,)})
    step = tmp_path / "step"
    told = list(tell_workflow(report, {STEP_SUMMARY: str(step)}, annotate=True))
    text = write_markdown(report, tmp_path).read_text(encoding="utf-8")
    assert step.read_text(encoding="utf-8") == text
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {escaped(gate.name)} |")]
    assert f"| {SIGNS[verdict]} {verdict} |" in line
    assert gate.share is not None
    assert f"| {gate.share:.1%} of the right answers |" in line
    assert all(f"- {escaped(gate.name)}: {escaped(reason)}" in text for reason in gate.reasons)
    assert bool(gate.reasons) == (verdict != "pass")
    assert [each.split(" ")[0] for each in told] == {"pass": [], "inconclusive": ["::warning"]}.get(
        verdict, ["::error"]
    )


def test_the_step_summary_is_added_to(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    file.write_text("before\n")
    assert add_step_summary("ours\n", {STEP_SUMMARY: str(file)}) is None
    assert file.read_text() == "before\nours\n"
    assert add_step_summary("ours\n", {}) is None
    said = add_step_summary("ours\n", {STEP_SUMMARY: str(tmp_path)})
    assert said is not None
    assert "expected a file that can be added to" in said


def test_gates_that_did_not_pass_are_annotated() -> None:
    names = {"gate[a]": "pass", "gate[b]": "fail", "gate[c]": "inconclusive", "gate[d,e:f]": "invalid"}
    report = with_gates(source(), names).data  # type: ignore[arg-type]  # verdicts
    report = changed(report, {"gates.1.reasons": ["100% of\nthem"]})
    fail, undecided, invalid = annotations(report)
    assert fail == "::error title=gate[b]::gate[b]: fail; 100%25 of%0Athem"
    assert undecided.startswith("::warning title=gate[c]::gate[c]: inconclusive")
    assert invalid.startswith("::error title=gate[d%2Ce%3Af]::gate[d,e:f]: invalid")

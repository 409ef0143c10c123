"""What GitHub's workflows are told."""

from pathlib import Path

from changed_section import changed
from two_reports import source, with_gates

from harness.plugin.terminal import STEP_SUMMARY, add_step_summary, annotations


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

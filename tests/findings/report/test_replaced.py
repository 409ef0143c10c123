"""A report in the place of another session's says what is lost."""

from pathlib import Path

from changed_section import changed
from fake_study import make_report

from harness.findings.report.replaced import what_is_replaced
from harness.findings.report.report_writing import write_report

TASKS = ("ceo_lastname", "incorporation_year")


def test_conditions_that_are_lost_are_named(tmp_path: Path) -> None:
    """As where pytest-split runs parts of one study, each of which wrote over the one before."""
    old, samples = make_report(TASKS, (1, 2), ("within_task",), 2)
    write_report(old, samples, tmp_path)
    new, _ = make_report(TASKS, (1,), ("general",), 2)
    said = what_is_replaced(new, tmp_path)
    assert said is not None
    assert said.startswith(f"{tmp_path / 'report.json'}: took the place of a report of 2026-01-02T03:04:05+00:00 with ")
    assert "4 conditions that this one has not (within_task[ceo_lastname-k01], " in said
    assert "--ablation-run" in said


def test_other_settings_are_named(tmp_path: Path) -> None:
    """Two sessions under one run name that differ in the model alone have the same conditions."""
    old, samples = make_report(TASKS, (1,), (), 2)
    write_report(old, samples, tmp_path)
    new = changed(old, {"configuration.model": "other", "configuration.seed": 1})
    said = what_is_replaced(new, tmp_path)
    assert said is not None
    assert "+00:00 with other settings (seed, model); give each session" in said


def test_the_same_again_loses_nothing(tmp_path: Path) -> None:
    report, samples = make_report(TASKS, (1,), (), 2)
    assert what_is_replaced(report, tmp_path) is None
    write_report(report, samples, tmp_path)
    assert what_is_replaced(report, tmp_path) is None
    more, _ = make_report(TASKS, (1,), ("within_task",), 2)
    assert what_is_replaced(more, tmp_path) is None


def test_what_is_no_report_is_nothing_to_keep(tmp_path: Path) -> None:
    report, _ = make_report(TASKS, (1,), (), 2)
    for text in ("", "{", "[]", "{}", '{"run": {"started": 1}}', "[" * 100_000):
        (tmp_path / "report.json").write_text(text)
        assert what_is_replaced(report, tmp_path) is None

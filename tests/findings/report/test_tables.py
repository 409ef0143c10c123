"""The tables: the right figure in the right cell, and CSV that comes back as it went."""

import csv
import io
from pathlib import Path

import pytest
from changed_section import changed
from fake_study import KS, TASKS, make_report, whole_report

from harness.errors import ReportError
from harness.findings.report.tables import accuracy_by_k, as_csv, export_csv, figures


def test_accuracy_by_k_has_a_line_a_curve_and_the_mean_of_draws() -> None:
    lines = accuracy_by_k(whole_report())
    assert [(line["experiment"], line["draw"]) for line in lines] == [
        ("within_task", None),
        ("across_task", None),
        ("general", None),
        ("global", None),
        *[("random_control", seed) for seed in (0, 1, 2, 3, 4, "mean")],
        ("bottom", None),
    ]
    assert all(
        list(line) == ["experiment", "draw", "rows", "baseline", *(f"k={k}" for k in KS), "note"] for line in lines
    )
    by_name = {c.name: c for c in whole_report().conditions}
    assert lines[3]["k=10"] == by_name["global[k10]"].accuracy
    assert lines[3]["baseline"] == by_name["baseline"].accuracy
    draws = [by_name[f"random_control[seed{seed}-k10]"].accuracy or 0 for seed in range(5)]
    assert lines[9]["k=10"] == pytest.approx(sum(draws) / 5)
    assert lines[9]["note"] == "of 5 draws"


def test_notes_tell_too_few_heads_and_missing_rows() -> None:
    report = whole_report()
    (place,) = [i for i, each in enumerate(report.conditions) if each.name == "general[k10]"]
    n = report.conditions[place].per_task["ceo_lastname"].n
    report = changed(report, {f"conditions.{place}.per_task.ceo_lastname.n": n - 3})
    assert accuracy_by_k(report)[2]["note"] == "k=10: 7 heads; k=20: 7 heads; k=10: 3 rows missing"
    assert accuracy_by_k(report)[0]["note"] == ""


def test_the_baseline_is_that_of_the_experiments_own_tasks() -> None:
    kept = [c for c in whole_report().conditions if c.experiment == "baseline" or c.tasks == ("ceo_lastname",)]
    report = changed(whole_report(), {"conditions": kept})
    baseline = report.conditions[0].per_task["ceo_lastname"].accuracy
    assert {line["baseline"] for line in accuracy_by_k(report)} == {baseline}


def test_figures_have_a_line_a_condition_and_task() -> None:
    report, _ = make_report(TASKS[:2], (1, 5), ("within_task", "general"), 3)
    lines = figures(report)
    assert [(line["condition"], line["task"]) for line in lines] == [
        (condition.name, task) for condition in report.conditions for task in ("pooled", *condition.per_task)
    ]
    assert len({tuple(line) for line in lines}) == 1
    first = report.conditions[1]
    assert lines[3]["accuracy"] == first.accuracy
    assert first.interval is not None
    assert (lines[3]["low"], lines[3]["high"]) == first.interval
    assert lines[4]["mcnemar_p"] == first.per_task[TASKS[0]].mcnemar_p


def test_files_come_back_as_they_went(tmp_path: Path) -> None:
    paths = export_csv(whole_report(), tmp_path / "plots")
    assert [path.name for path in paths] == ["accuracy_by_k.csv", "figures.csv"]
    for path, lines in zip(paths, (accuracy_by_k(whole_report()), figures(whole_report())), strict=True):
        read = list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))
        assert read == [{k: "" if v is None else str(v) for k, v in line.items()} for line in lines]


def test_nothing_gives_empty_tables(tmp_path: Path) -> None:
    report, _ = make_report(TASKS[:1], (1,), (), 2)
    assert accuracy_by_k(report) == []
    assert as_csv([]) == ""
    report = changed(report, {"conditions": []})
    assert all(path.read_text() == "" for path in export_csv(report, tmp_path))


def test_a_folder_that_cannot_be_one_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ReportError, match="taken: the tables cannot be written"):
        export_csv(whole_report(), tmp_path / "taken")


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_a_name_is_no_formula(first: str) -> None:
    """A spreadsheet once ran what a report's condition was called."""
    name = f'{first}HYPERLINK("http://a.invalid")'
    read = list(csv.DictReader(io.StringIO(as_csv([{"condition": name, "drop": -0.5}]), newline="")))
    assert read == [{"condition": f"'{name}", "drop": "-0.5"}]

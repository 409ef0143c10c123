"""Writing a report: what it says of a run that went well, of one that did not, and how it gets onto disk."""

import errno
import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from changed_section import changed, plain_of
from fake_study import (
    make_conditions,
    make_ranking,
    make_records,
    make_report,
    make_rows,
    make_setup,
)
from fake_study import score as fake_score
from jsonschema import Draft202012Validator

from harness.errors import ReportError
from harness.experiment.stability import ListStability, Stability
from harness.findings.report.report_data import ExcludedRow, ReportData, TaskRows
from harness.findings.report.report_writing import build_report, what_is_replaced, write_report
from harness.findings.report.summary import summary_lines
from harness.findings.samples import Sample, score_samples

TASKS = ("ceo_lastname", "incorporation_year")


def part_report(keep: int) -> tuple[ReportData, tuple[Sample, ...]]:
    """A run that was interrupted after `keep` rows."""
    ranking, rows = make_ranking(tasks=TASKS), make_rows(TASKS, 4)
    conditions = make_conditions(ranking, TASKS, (1, 5), ("within_task",))
    records = make_records(conditions, rows[:keep], ranking)
    samples = score_samples(conditions, rows, records, fake_score)
    setup = make_setup(ranking)
    setup = replace(setup, run=changed(setup.run, {"exit": "interrupted"}))
    return build_report(setup, conditions, rows, samples), samples


def test_sections_say_what_was_given() -> None:
    report, _ = make_report(TASKS, (1, 5), ("within_task",), n_filings=3)
    assert report.run.finished
    assert report.run.missing == ()
    assert report.data.rows == 6
    assert report.data.filings == 3
    assert report.data.tasks == {task: TaskRows(rows=3, majority_floor=1 / 3) for task in TASKS}
    assert report.data.excluded == (ExcludedRow(row="filing_900.txt/ceo_lastname", reason="needle is in the haystack"),)
    assert report.model is not None
    assert (report.model.n_layers, report.model.n_heads, report.model.head_dim) == (
        8,
        16,
        24,
    )
    assert report.ranking is not None
    assert [len(heads) for heads in report.ranking.tasks.values()] == [20, 20]
    assert [c.name for c in report.conditions] == [
        "baseline",
        "within_task[ceo_lastname-k01]",
        "within_task[ceo_lastname-k05]",
        "within_task[incorporation_year-k01]",
        "within_task[incorporation_year-k05]",
    ]


def test_how_far_a_ranking_rests_on_its_filings() -> None:
    """At each k: of the first two shared heads the second is named again by half the weighings, the first by nine."""
    ranking = make_ranking(tasks=TASKS)
    shared = [each.head for each in ranking.shared()]
    parts = dict.fromkeys(shared[1:], (0.0, 0.5)) | {shared[0]: (0.9, 0.9)}
    of_shared = ListStability(parts, (1, 0))
    ranking = replace(ranking, chance={TASKS[0]: 0.05}, stability=Stability(7, 1000, {}, of_shared, None))
    report = build_report(make_setup(ranking), [], [], [])
    assert report.ranking is not None
    assert report.ranking.chance == {TASKS[0]: 0.05}
    assert report.ranking.stability is not None
    assert report.ranking.stability.clusters == 7
    found = report.ranking.stability.shared_heads
    assert found is not None
    assert list(found.again[:2]) == pytest.approx([0.9, 0.7])
    assert (len(found.again), found.kept[:2]) == (len(shared), (1, 0))


def test_clusters_are_counted() -> None:
    rows = [replace(row, cluster="Acme" if row.filename < "filing_002" else None) for row in make_rows(TASKS, 4)]
    report = build_report(make_setup(None), [], rows, [])
    assert (report.data.filings, report.data.clusters) == (4, 3)
    assert next(iter(summary_lines(report))) == "demo (8 layers of 16 heads), 8 rows of 4 filings in 3 clusters"


def test_missing_rows_are_named_and_never_count_as_wrong() -> None:
    report, samples = part_report(keep=5)
    assert not report.run.finished
    assert report.run.missing == (
        "baseline",
        "within_task[ceo_lastname-k01]",
        "within_task[ceo_lastname-k05]",
        "within_task[incorporation_year-k01]",
        "within_task[incorporation_year-k05]",
    )
    baseline = report.conditions[0]
    assert (baseline.requested, baseline.n) == (8, 5)
    assert baseline.accuracy == sum(s.match for s in samples if s.condition == "baseline") / 5


def test_a_report_of_a_run_that_answered_nothing_is_whole() -> None:
    report, samples = part_report(keep=0)
    assert samples == ()
    assert [condition.accuracy for condition in report.conditions] == [None] * 5
    Draft202012Validator(ReportData.model_json_schema()).validate(plain_of(report))


def test_a_run_that_never_knew_its_model_still_reports() -> None:
    setup = replace(make_setup(None), model=None)
    report = build_report(setup, [], [], [])
    assert report.model is None
    assert report.ranking is None
    assert report.conditions == ()


def test_files_hold_exactly_what_was_built(tmp_path: Path) -> None:
    report, samples = make_report(TASKS, (1,), ("within_task",), n_filings=2)
    written = write_report(report, samples, tmp_path / "reports" / "latest")
    path = tmp_path / "reports" / "latest" / "report.json"
    data = path.with_name("samples.jsonl").read_bytes()
    beside = {"sha256": hashlib.sha256(data).hexdigest(), "lines": len(samples)}
    assert json.loads(path.read_text("utf-8")) == plain_of(report) | {"samples": beside} == plain_of(written)
    lines = data.decode().splitlines()
    assert [json.loads(line) for line in lines] == [plain_of(sample) for sample in samples]
    assert sorted(file.name for file in path.parent.iterdir()) == ["report.json", "samples.jsonl"]


def test_lists_of_numbers_stand_on_one_line_and_texts_are_left_alone(tmp_path: Path) -> None:
    report, _ = make_report(TASKS, (5,), ("within_task",), n_filings=2)
    report = changed(report, {"data.source": "a [\n1,\n  2] b"})
    write_report(report, [], tmp_path)
    text = (tmp_path / "report.json").read_text("utf-8")
    assert json.loads(text)["data"]["source"] == "a [\n1,\n  2] b"
    heads = report.conditions[1].heads
    assert f"[ {heads[0][0]}, {heads[0][1]} ]" in text


def test_equal_studies_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_report(*make_report(TASKS, (1, 5), ("within_task", "random_control"), 3), tmp_path / name)
    for file in ("report.json", "samples.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_not_a_number_is_never_written(tmp_path: Path) -> None:
    report, _ = make_report(TASKS, (1,), (), n_filings=2)
    first = report.conditions[0].model_copy(update={"gold_logprob_change": math.nan})
    report = report.model_copy(update={"conditions": (first,)})
    with pytest.raises(ValueError, match="JSON"):
        write_report(report, [], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_one_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    report, samples = make_report(TASKS, (1,), (), n_filings=2)
    with pytest.raises(ReportError, match=r"taken: the report cannot be written .*choose another"):
        write_report(report, samples, tmp_path / "taken")


def test_a_full_disk_leaves_the_old_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the two files it comes to first: an old report once stood beside new samples."""
    old = make_report(TASKS, (1,), (), n_filings=2)
    write_report(*old, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full_at(n: int) -> Callable[[Path, bytes], int]:
        rooms = iter(range(n))

        def write(path: Path, data: bytes) -> int:
            if next(rooms, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            with path.open("wb") as file:
                return file.write(data)

        return write

    for n in (0, 1):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full_at(n))
            with pytest.raises(ReportError, match="No space left on device"):
                write_report(*make_report(TASKS, (1,), ("within_task",), n_filings=3), tmp_path)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_writing_needs_neither_pandas_nor_figures_nor_torch() -> None:
    """It is imported by runs that only read records."""
    code = (
        "import sys, harness.findings.report.report_writing, harness.findings.report.tables\n"
        "print([m for m in ('pandas', 'matplotlib', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


REPLACED_TASKS = ("ceo_lastname", "incorporation_year")


def test_conditions_that_are_lost_are_named(tmp_path: Path) -> None:
    """As where pytest-split runs parts of one study, each of which wrote over the one before."""
    old, samples = make_report(REPLACED_TASKS, (1, 2), ("within_task",), 2)
    write_report(old, samples, tmp_path)
    new, _ = make_report(REPLACED_TASKS, (1,), ("general",), 2)
    said = what_is_replaced(new, tmp_path)
    assert said is not None
    assert said.startswith(f"{tmp_path / 'report.json'}: took the place of a report of 2026-01-02T03:04:05+00:00 with ")
    assert "4 conditions that this one has not (within_task[ceo_lastname-k01], " in said
    assert "--ablation-run" in said


def test_other_settings_are_named(tmp_path: Path) -> None:
    """Two sessions under one run name that differ in the model alone have the same conditions."""
    old, samples = make_report(REPLACED_TASKS, (1,), (), 2)
    write_report(old, samples, tmp_path)
    new = changed(old, {"configuration.model": "other", "configuration.seed": 1})
    said = what_is_replaced(new, tmp_path)
    assert said is not None
    assert "+00:00 with other settings (seed, model); give each session" in said


def test_the_same_again_loses_nothing(tmp_path: Path) -> None:
    report, samples = make_report(REPLACED_TASKS, (1,), (), 2)
    assert what_is_replaced(report, tmp_path) is None
    write_report(report, samples, tmp_path)
    assert what_is_replaced(report, tmp_path) is None
    more, _ = make_report(REPLACED_TASKS, (1,), ("within_task",), 2)
    assert what_is_replaced(more, tmp_path) is None


def test_what_is_no_report_is_nothing_to_keep(tmp_path: Path) -> None:
    report, _ = make_report(REPLACED_TASKS, (1,), (), 2)
    for text in ("", "{", "[]", "{}", '{"run": {"started": 1}}', "[" * 100_000):
        (tmp_path / "report.json").write_text(text)
        assert what_is_replaced(report, tmp_path) is None

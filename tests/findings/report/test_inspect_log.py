"""The log of Inspect, read back by its own reader: as many samples as the report has, with the same scores."""

from pathlib import Path

import pytest
from fake_study import make_report

from harness.cli import main
from harness.errors import ReportError
from harness.findings.report.inspect_log import inspect_log, write_inspect_log
from harness.findings.report.report_data import ReportData
from harness.findings.report.report_writing import write_report
from harness.findings.report.row_texts import RowText, write_row_texts
from harness.findings.samples import Sample

inspect_ai = pytest.importorskip("inspect_ai.log", reason="inspect_ai, an extra, is not installed")


@pytest.fixture(scope="module")
def made() -> tuple[ReportData, tuple[Sample, ...]]:
    report, samples = make_report(("ceo_lastname", "incorporation_year"), (1, 5), None, 6)
    own = [
        sample.model_copy(update={"own": {"length": float(len(sample.completion)), "none": None}}) for sample in samples
    ]
    return report, tuple(own)


@pytest.mark.parametrize("name", ["samples.eval", "samples.json"])
def test_its_samples_and_scores_are_the_reports(
    made: tuple[ReportData, tuple[Sample, ...]], tmp_path: Path, name: str
) -> None:
    report, samples = made
    text = RowText(row=samples[0].row, question="Who?", needle="<n>", before="b ", after=" a", depth=0.5)
    write_inspect_log(inspect_log(report, samples, [text]), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    log = inspect_ai.read_eval_log(tmp_path / name)
    assert (log.status, log.eval.task, log.results.completed_samples) == ("success", report.run.name, len(samples))
    assert len(log.samples) == len(samples)
    by_id = {sample.id: sample for sample in log.samples}
    assert len(by_id) == len(samples)
    for sample in samples:
        found = by_id[f"{sample.row} {sample.condition}"]
        assert (found.target, found.output.completion) == (sample.value, sample.completion)
        assert [found.scores[rule].value == "C" for rule in ("match", "published_match")] == [
            sample.match,
            sample.published_match,
        ]
        assert found.scores["length"].value == len(sample.completion)
        assert "none" not in found.scores
        assert found.metadata["gold_logprob"] == sample.gold_logprob
    inputs = {sample.input for sample in log.samples if sample.metadata["row"] == text.row}
    assert inputs == {"b <n> a\n\nWho?"}
    accuracies = {metric.name: metric.value for metric in log.results.scores[0].metrics.values()}
    assert accuracies == {each.name: each.accuracy for each in report.conditions}


@pytest.mark.parametrize(("how", "status"), [("failed", "success"), ("interrupted", "cancelled"), ("error", "error")])
def test_how_the_run_ended(made: tuple[ReportData, tuple[Sample, ...]], how: str, status: str) -> None:
    run = made[0].run.model_copy(update={"exit": how})
    assert inspect_log(made[0].model_copy(update={"run": run}), made[1]).status == status


def test_by_the_command(made: tuple[ReportData, tuple[Sample, ...]], tmp_path: Path) -> None:
    report, samples = made
    write_report(report, samples, tmp_path)
    write_row_texts(
        [RowText(row=samples[0].row, question="Who?", needle="n", before="", after="", depth=0.0)], tmp_path
    )
    assert main(["export", str(tmp_path), "--inspect"]) == 0
    assert len(inspect_ai.read_eval_log(tmp_path / "samples.eval").samples) == len(samples)


def test_a_place_that_cannot_be_written(made: tuple[ReportData, tuple[Sample, ...]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match=r"samples.eval: the log cannot be written"):
        write_inspect_log(inspect_log(*made), tmp_path / "file" / "samples.eval")

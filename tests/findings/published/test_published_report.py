"""The report of published counts: the schema, heads, and the figures of the real files."""

from dataclasses import replace
from pathlib import Path

import pytest
from changed_section import plain_of
from fake_study import SHAPE, make_setup
from jsonschema import Draft202012Validator
from published_files import documents, published_folder, write_documents

from harness.errors import ReportError
from harness.experiment.heads import ModelShape
from harness.findings.published.published_report import fitting_ranking, limit_lines, published_report
from harness.findings.published.result_files import read_published
from harness.findings.report.curves import curves
from harness.findings.report.report_data import ReportData, TaskRows
from harness.findings.report.summary import summary_lines

REAL = Path(__file__).parents[4] / "shared" / "reference" / "edgar_haystack"
REAL_SHAPE = ModelShape(32, 32)


def report_of(folder: Path, shape: ModelShape = SHAPE) -> ReportData:
    results = read_published(folder)
    return published_report(make_setup(fitting_ranking(results), shape), results)


def test_figures_by_hand(tmp_path: Path) -> None:
    """Within at k = 2: 3 of 10 and 2 of 6; the baseline 15 of 16, Wilson's interval [71.7 %, 98.9 %]."""
    report = report_of(published_folder(tmp_path))
    by_name = {condition.name: condition for condition in report.conditions}
    assert len(by_name) == 1 + 18
    baseline = by_name["baseline"]
    assert (baseline.matches, baseline.n, baseline.accuracy) == (15, 16, 15 / 16)
    assert [round(end, 3) for end in baseline.interval or ()] == [0.717, 0.989]
    assert baseline.macro_accuracy == pytest.approx((0.9 + 1) / 2)
    own = by_name["within_task[city-k02]"]
    assert (own.heads, own.tasks, own.source_task) == (((2, 1), (1, 0)), ("city",), "city")
    assert own.per_task["city"].drop == pytest.approx(0.6)
    assert own.per_task["city"].lost is None
    assert own.drop is None
    assert by_name["transfer[year:city-k01]"].heads == ((1, 0),)
    short = by_name["general[k02]"]
    assert (short.k, short.k_effective, short.heads) == (2, 1, ((3, 3),))
    assert by_name["random_control[seed0-k02]"].heads == ((0, 0), (3, 3))
    assert report.data.filings is None
    assert report.data.tasks == {
        "city": TaskRows(rows=10, majority_floor=None),
        "year": TaskRows(rows=6, majority_floor=None),
    }


def test_it_fits_the_schema_and_the_summary(tmp_path: Path) -> None:
    report = report_of(published_folder(tmp_path))
    Draft202012Validator(ReportData.model_json_schema()).validate(plain_of(report))
    lines = list(summary_lines(report))
    assert lines[0] == "demo (8 layers of 16 heads), 16 rows"
    assert "within_task        k=2   31.2%  [ 14.2%,  55.6%]       5/16   drop +62.5 points" in lines
    assert "random_control     k=2   81.2%  [ 57.0%,  93.4%]      13/16   drop +12.5 points   one draw" in lines


def test_without_a_ranking_heads_are_counted_alone(tmp_path: Path) -> None:
    results = replace(read_published(published_folder(tmp_path)), rankings=())
    assert fitting_ranking(results) is None
    report = published_report(make_setup(None), results)
    own = next(c for c in report.conditions if c.name == "within_task[city-k02]")
    assert (own.heads, own.k_effective) == ((), 2)


def test_the_ranking_is_the_one_that_fits(tmp_path: Path) -> None:
    results = read_published(published_folder(tmp_path))
    older, fitting = results.rankings
    assert fitting_ranking(results) is fitting
    with pytest.raises(ReportError, match="each may have chosen the heads"):
        fitting_ranking(replace(results, rankings=(fitting, older, fitting)))
    with pytest.raises(ReportError, match=r"2 heads, but 1 follow from the ranking; .* --heads"):
        published_report(make_setup(older), results)


def test_a_condition_in_two_files_is_an_error(tmp_path: Path) -> None:
    results = read_published(published_folder(tmp_path))
    with pytest.raises(ReportError, match=r"general\[k01\] again, after across_task_ablation\.json: 1; expected"):
        published_report(make_setup(None), replace(results, cells=(*results.cells, results.cells[0])))


@pytest.mark.skipif(not REAL.is_dir(), reason="the published files are not on this machine")
def test_the_published_figures() -> None:
    """As their README states them; the last list holds 102 heads."""
    report = report_of(REAL, REAL_SHAPE)
    ks = (8, 16, 32, 48, 64, 96, 128)
    stated = {
        "within_task": (220, 187, 173, 120, 90, 49, 25),
        "general": (229, 211, 72, 71, 90, 39, 39),
        "global": (229, 211, 167, 76, 64, 50, 18),
        "random_control": (237, 234, 236, 236, 224, 181, 124),
    }
    baseline = report.conditions[0]
    assert (baseline.matches, baseline.n) == (234, 255)
    found = {curve.experiment: curve for curve in curves(report)}
    assert found.keys() == stated.keys()
    for experiment, matches in stated.items():
        assert tuple((p.k, p.matches, p.n) for p in found[experiment].points) == tuple(
            (k, m, 255) for k, m in zip(ks, matches, strict=True)
        )
    assert [point.heads for point in found["general"].points][-2:] == ["96", "102"]
    assert all(c.interval for c in report.conditions)
    names = {condition.name: condition for condition in report.conditions}
    assert all(
        names[f"transfer[{task}:{task}-k{k:02d}]"].matches == names[f"within_task[{task}-k{k:02d}]"].matches
        for task in report.data.tasks
        for k in ks
    )


def test_one_draw(tmp_path: Path) -> None:
    """Random heads cost 2 of 16 at k = 2, own heads 10 of 16: 50 points beyond."""
    lines = list(limit_lines(report_of(published_folder(tmp_path))))
    assert lines[:5] == [
        "a task's own heads on its own rows: transfer equals within_task in 4 of 4 cells",
        "the control is not flat: random heads cost +12.5 points at k=2",
        "1 of the 2 random heads at k=2 are among some task's best 2",
        "counts only: lost rows and filings are unknown; intervals take rows as independent, nothing is paired",
        "no run without the needle: what guessing scores is unknown",
    ]
    table = {line.split()[0]: line for line in lines if line.strip().startswith("k=")}
    assert "+50.0 [" in table["k=2"]
    assert "1 head only" in table["k=2"]
    assert "one random seed" in lines[-2]
    assert lines[-1].endswith("no gate can pass on these files")


def test_more_draws_and_none(tmp_path: Path) -> None:
    files = documents()
    files["random_again"] = files["random_ablation_control"]
    lines = list(limit_lines(report_of(write_documents(files, tmp_path / "two"))))
    assert "the control is not flat: random heads cost +12.5 points at k=2" in lines, "each k once"
    assert lines[-1] == "2 random seeds show how draws differ, but a gate also needs the rows"
    del files["random_again"], files["random_ablation_control"]
    lines = list(limit_lines(report_of(write_documents(files, tmp_path / "none"))))
    assert lines[-1] == ("no random heads: nothing shows that these heads do more than any others, so no gate can pass")


@pytest.mark.skipif(not REAL.is_dir(), reason="the published files are not on this machine")
def test_the_published_files() -> None:
    lines = list(limit_lines(report_of(REAL, REAL_SHAPE)))
    assert lines[0].endswith("in 63 of 63 cells")
    assert "one head of 32 apart at k=32: general with L13H18 28.2%, global with L17H29 65.5%" in lines
    assert any("+43.1 points at k=128" in line for line in lines)
    assert lines[-1].endswith("no gate can pass on these files")

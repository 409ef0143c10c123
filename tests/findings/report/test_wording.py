"""What figures and summaries say was done to the heads, for every way of ablating that there is."""

from dataclasses import replace
from typing import get_args

from changed_section import changed
from fake_study import make_report

from harness.choices import Mode
from harness.findings.figures.curve_plots import accuracy_by_k
from harness.findings.report.report_data import ReportData
from harness.findings.report.summary import summary_lines
from harness.findings.report.wording import PARTICIPLES, manner_note, participle
from harness.settings import Settings


def reported(settings: Settings) -> ReportData:
    report, _ = make_report(experiments=("global",), n_filings=2)
    return changed(report, {"configuration": settings.shown(settings.reports)})


def test_every_mode_has_its_word() -> None:
    assert set(PARTICIPLES) == set(get_args(Mode))


def test_the_usual_is_not_spoken_of() -> None:
    report = reported(Settings())
    assert (participle(report), manner_note(report)) == ("zeroed", None)
    old = changed(report, {"configuration": {}})
    assert (participle(old), manner_note(old)) == ("zeroed", None)


def test_the_unusual_is_said_in_summaries_and_figures() -> None:
    assert manner_note(reported(Settings(phase="decode"))) == "heads zeroed from the prompt's last token on"
    report = reported(replace(Settings(), mode="mean"))
    assert manner_note(report) == "heads set to their mean"
    assert next(summary_lines(report)).endswith("18 rows of 2 filings, heads set to their mean")
    figure = accuracy_by_k(report)
    assert figure is not None
    assert figure.axes[0].get_xlabel() == "heads set to their mean (k)"

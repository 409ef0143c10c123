"""How findings are said: numbers by hand, columns, and what was done to the heads in every way of ablating there is."""

from dataclasses import replace
from typing import get_args

from changed_section import changed
from fake_study import make_report

from harness.choices import Mode
from harness.findings.figures.curve_plots import accuracy_by_k
from harness.findings.report.report_data import ReportData
from harness.findings.report.summary import summary_lines
from harness.findings.wording import (
    PARTICIPLES,
    aligned,
    manner_note,
    participle,
    percent,
    points,
    points_between,
    span,
)
from harness.settings import Settings


def reported(settings: Settings) -> ReportData:
    report, _ = make_report(experiments=("global",), n_filings=2)
    return changed(report, {"configuration": settings.shown(settings.reports)})


def test_numbers() -> None:
    assert (points(0.125), points(-0.5), points(0.0), points(None)) == ("+12.5", "-50.0", "+0.0", "unknown")
    assert (points_between((-0.01, 0.2)), points_between(None)) == ("[-1.0, +20.0]", "[unknown]")
    assert (percent(0.125), percent(None)) == ("12.5%", "unknown")
    assert (span(7, 20), span(20, 20)) == ("7-20", "20")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    table = [("name", "n", "what"), ("a", "100", ""), ("long name", "7", "x")]
    assert list(aligned(table, "lrl")) == ["name         n  what", "a          100", "long name    7  x"]


def test_every_mode_has_its_word() -> None:
    assert set(PARTICIPLES) == set(get_args(Mode))


def test_the_usual_is_not_spoken_of() -> None:
    for settings in (Settings().shown(Settings().reports), {}):
        assert (participle(settings), manner_note(settings)) == ("zeroed", None)


def test_what_nobody_knows_is_an_ablation() -> None:
    assert (participle({"mode": 3}), manner_note({"mode": "melted"})) == ("ablated", "heads ablated")


def test_the_unusual_is_said_in_summaries_and_figures() -> None:
    decode = reported(Settings(phase="decode"))
    assert manner_note(decode.configuration) == "heads zeroed from the prompt's last token on"
    report = reported(replace(Settings(), mode="mean"))
    assert manner_note(report.configuration) == "heads set to their mean"
    assert next(summary_lines(report)).endswith("18 rows of 2 filings, heads set to their mean")
    figure = accuracy_by_k(report)
    assert figure is not None
    assert figure.axes[0].get_xlabel() == "heads set to their mean (k)"

"""Markdown against the report, of every verdict and of names that Markdown would take for its own."""

import pytest
from changed_section import changed
from fake_study import whole_report
from markdown_it import MarkdownIt
from two_reports import source, with_gates

from harness.findings.report.markdown_summary import MOST_LETTERS, escaped, markdown_summary

HOSTILE = "<script>|`a`*b*_c_ [x](y) @someone #1 </b>\n| - x"


def cells(text: str) -> list[list[str]]:
    """The table lines' cells, entities read."""
    html = MarkdownIt("commonmark").enable("table").parse(text)
    found: list[list[str]] = []
    for token in html:
        if token.type == "tr_open":
            found.append([])
        elif token.type == "inline" and token.level >= 3 and found:
            found[-1].append("".join(child.content for child in token.children or ()))
    return found


def test_accuracies_are_the_reports() -> None:
    report = whole_report()
    lines = {(line[0], line[1]): line for line in cells(markdown_summary(report, "index.html"))}
    shown = [each for each in report.conditions if (each.experiment, each.k) == ("within_task", 5)]
    matches, n = sum(each.matches for each in shown), sum(each.n for each in shown)
    assert lines["within_task", "5"][2] == f"{matches / n:.1%} ({matches}/{n})"
    (baseline,) = [each for each in report.conditions if each.name == "baseline"]
    assert baseline.accuracy is not None
    assert lines["within_task", "5"][4] == f"{100 * (baseline.accuracy - matches / n):+.1f}"
    assert ("general", "20 (7 heads)") in lines
    assert "random_control, mean and range of 5 draws" in {name for name, _ in lines}


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive", "invalid"])
def test_every_verdict(verdict: str) -> None:
    report = with_gates(source(), {"gate[own-all-k20]": verdict}).data  # type: ignore[dict-item]  # a verdict
    text = markdown_summary(report, "index.html")
    (line,) = [line for line in cells(text) if line[0] == "gate[own-all-k20]"]
    assert line[1].endswith(verdict)
    for reason in report.gates[0].reasons:
        assert f": {escaped(reason)}" in text


def test_rows_that_need_no_needle_are_told() -> None:
    report = whole_report()
    rows = {"data.value_recurs": [f"row {i}" for i in range(2)]}
    line = "- 2 rows may be answered without the needle: the value stands in its document"
    assert line in markdown_summary(changed(report, rows), "index.html").splitlines()
    assert line not in markdown_summary(changed(report, {"data.value_recurs": []}), "index.html").splitlines()


def test_hostile_names_stay_text_in_their_cell() -> None:
    report = changed(whole_report(), {"conditions.0.experiment": HOSTILE, "run.name": HOSTILE, "model.id": HOSTILE})
    text = markdown_summary(report, "index.html")
    assert "<script>" not in text
    assert {len(line) for line in cells(text)} == {5}


def test_short_enough_for_a_comment() -> None:
    """GitHub takes 65,536 characters."""
    report = whole_report()
    many = [changed(report.conditions[0], {"name": f"mine{i}", "experiment": f"mine{i}"}) for i in range(2000)]
    text = markdown_summary(report.model_copy(update={"conditions": (*report.conditions, *many)}), "index.html")
    assert len(text) < 20_000
    assert " lines more are in the report." in text
    assert len(escaped("x" * 100_000)) == MOST_LETTERS

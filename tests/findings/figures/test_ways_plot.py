"""The figure of ways: a mark for each way and group of heads, with its numbers in words."""

from findings.test_ways import BEFORE, SETS, data
from harness.findings.figures.plot_style import house_style
from harness.findings.figures.ways_plot import ways_plot
from harness.findings.ways import elsewhere


def test_marks_and_words() -> None:
    with house_style():
        figure = ways_plot(data(elsewhere(SETS, [], [], untouched=BEFORE)))
    answers, likelihood = figure.axes
    assert [label.get_text() for label in answers.get_yticklabels()] == ["zeroed", "kept from the needle"]
    said = [line.get_gid() for axes in (answers, likelihood) for line in axes.lines if line.get_gid()]
    assert said == [
        "say: random heads, kept from the needle: +20.0 over 10 rows",
        "say: random heads, kept from the needle: +1.2 over 10 rows",
    ]
    notes = " ".join(text.get_text() for text in figure.texts)
    assert "random heads zeroed, facts and sums: the untouched model answers none of 0" in notes

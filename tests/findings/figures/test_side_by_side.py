"""Figures of ways and of methods tell what was found."""

from pathlib import Path

from findings.test_damage import BEFORE, SETS, data
from harness.findings.damage import elsewhere
from harness.findings.figures.plot_style import house_style
from harness.findings.figures.side_by_side import draw_methods, methods_figure, ways_plot
from harness.findings.rankings.ranking_comparison import MethodArea, MethodAreas


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


FOUND = MethodAreas(
    n=40,
    clusters=8,
    k=5,
    baseline=0.9,
    random={1: (0.85, 0.9), 5: (0.8, 0.9)},
    methods=(
        MethodArea("first", {1: 0.8, 5: 0.2}, {1: (0.7, 0.9), 5: (0.1, 0.3)}, 0.35, (0.3, 0.4)),
        MethodArea("second", {1: 0.9, 5: 0.5}, {1: (0.8, 1.0), 5: (0.4, 0.6)}, 0.2, None, 0.15, (0.1, 0.2)),
    ),
    common=(("first", "second", 3.0),),
)


def test_lines_areas_and_words() -> None:
    curves, areas = methods_figure(FOUND, "some/model").axes
    random, first, second = (list(line.get_ydata()) for line in curves.get_lines())  # type: ignore[arg-type]  # an array
    assert random == [0.9, 0.875, 0.85000000000000009]
    assert (first, second) == ([0.9, 0.8, 0.2], [0.9, 0.9, 0.5])
    assert list(curves.get_lines()[0].get_xdata()) == [0, 1, 5]  # type: ignore[arg-type]  # an array
    said = [text.get_text() for text in areas.texts]
    assert said == ["second", "15.0 behind [+10.0, +20.0]", "first", "the best"]


def test_a_vector_file_says_its_numbers_and_is_the_same_again(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw_methods(FOUND, "some/model", tmp_path / name)
    one, two = ((tmp_path / name).read_text() for name in ("one.svg", "two.svg"))
    assert one == two
    assert "<title>first: +35.0 points [+30.0, +40.0]</title>" in one

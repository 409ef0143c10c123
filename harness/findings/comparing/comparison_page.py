"""The page of a comparison: what changed from A to B, row by row, as one file of the same parts as a report's page.

A cell's colour says what became of an answer: lost, gained, said in other words, or the same. Everything is the
comparison's own and its samples'; nothing is worked out here but the letters of cells. Knows nothing of how it is drawn
(`harness.findings.page`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from harness.findings.comparing.compare import Comparison, LineChange, Source
from harness.findings.comparing.comparison_text import comparison_lines
from harness.findings.page.page_data import RIGHT, WRONG, Answers, Column, PageRow, answers_of, columns, page_row
from harness.findings.page.page_writing import rendered
from harness.findings.report.row_texts import RowText
from harness.findings.report.tables import Cell
from harness.findings.samples import Sample, by_condition
from harness.findings.section import Section

OTHER: Final = "o"
"""The letter of an answer in other words, as right or wrong as before; the others are those of `page_data`."""


class ComparedCondition(Section):
    """A condition that both reports have, with both reports' answers to the rows that both asked."""

    name: str
    experiment: str
    before: Answers
    answers: Answers
    """B's; their states are beside A's answers."""


class ComparisonData(Section):
    """All that the comparison's own program shows."""

    table: tuple[tuple[Cell, ...], ...]
    """A line of the comparison each, and the conditions of pooled ones, in the columns below."""
    columns_of_table: tuple[str, ...]
    conditions: tuple[ComparedCondition, ...]
    columns: tuple[Column, ...]
    rows: tuple[PageRow, ...]
    texts: tuple[str, ...]


def comparison_page(comparison: Comparison, before: Source, after: Source, texts: Iterable[RowText] = ()) -> str:
    """The page as HTML; `texts` are what rows asked."""
    data = comparison_data(comparison, before, after, texts)
    rows = comparison.rows
    alone = [
        ("Conditions only in A", comparison.only_before),
        ("Conditions only in B", comparison.only_after),
        ("Rows only in A", () if rows is None else rows.only_before),
        ("Rows only in B", () if rows is None else rows.only_after),
        ("Rows with another right value", () if rows is None else rows.other_value),
    ]
    return rendered(
        "compare",
        data,
        comparison=comparison,
        summary=list(comparison_lines(comparison)),
        alone=[(what, names) for what, names in alone if names],
        has_samples=bool(data.rows),
    )


def comparison_data(
    comparison: Comparison, before: Source, after: Source, texts: Iterable[RowText] = ()
) -> ComparisonData:
    """The data of a comparison's page."""
    old, new = (by_condition(source.samples or ()) for source in (before, after))
    rows: dict[str, Sample] = {}
    pairs: dict[str, tuple[dict[str, Sample], dict[str, Sample]]] = {}
    for name in (each.name for each in after.data.conditions if each.name in old and each.name in new):
        both = [row for row, sample in new[name].items() if _is_pair(old[name].get(row), sample)]
        if both:
            pairs[name] = ({row: old[name][row] for row in both}, {row: new[name][row] for row in both})
            for row in both:
                rows.setdefault(row, new[name][row])
    places: dict[str, int] = {}
    shown = [each for each in after.data.conditions if each.name in pairs]
    of_row = {text.row: text for text in texts}
    lines = list(_table(comparison.lines))
    return ComparisonData(
        table=tuple(tuple(line.values()) for line in lines),
        columns_of_table=tuple(lines[0]) if lines else (),
        conditions=tuple(
            _condition(each.name, each.experiment, tuple(rows), *pairs[each.name], places) for each in shown
        ),
        columns=columns(shown, shown),
        rows=tuple(page_row(sample, of_row.get(row)) for row, sample in rows.items()),
        texts=tuple(places),
    )


def _is_pair(before: Sample | None, after: Sample) -> bool:
    return before is not None and before.value == after.value


def _condition(
    name: str,
    experiment: str,
    rows: Sequence[str],
    before: Mapping[str, Sample],
    after: Mapping[str, Sample],
    places: dict[str, int],
) -> ComparedCondition:
    old, new = answers_of(rows, before, {}, places), answers_of(rows, after, before, places)
    states = "".join(
        OTHER if letter in (RIGHT, WRONG) and old.texts[i] != new.texts[i] else letter
        for i, letter in enumerate(new.states)
    )
    return ComparedCondition(
        name=name, experiment=experiment, before=old, answers=new.model_copy(update={"states": states})
    )


def _table(lines: Iterable[LineChange]) -> Iterator[dict[str, Cell]]:
    for whole in lines:
        for line in (whole, *whole.parts):
            paired = line.paired
            interval = line.interval if paired is None else paired.interval
            yield {
                "line": line.name,
                "experiment": line.experiment,
                "is_condition": int(line.conditions == (line.name,)),
                "is_equal": int(line.is_equal),
                "before": line.before.accuracy,
                "before_matches": line.before.matches,
                "before_n": line.before.n,
                "after": line.after.accuracy,
                "after_matches": line.after.matches,
                "after_n": line.after.n,
                "n": None if paired is None else paired.n,
                "change": line.change,
                "low": None if interval is None else interval.low,
                "high": None if interval is None else interval.high,
                "p": None if paired is None else paired.p,
                "lost": None if paired is None else paired.lost,
                "gained": None if paired is None else paired.gained,
                "other_answers": None if paired is None else paired.other_answers,
                "other_heads": line.other_heads or None,
            }

"""Lost retrieval and a broken model, told apart by plain text and by degenerate completions."""

from dataclasses import replace

import pytest
from fake_gates import GATE, OWN, make_answers, make_rows

from harness.findings.verdicts.validity import damage, degenerate_shares, plain_text
from harness.findings.verdicts.verdict_data import DegenerateShares, PlainText

ROWS = make_rows(4)
CITY, YEAR = OWN


def shares(untouched: float, retrieval: float, draws: float) -> DegenerateShares:
    return DegenerateShares(untouched=untouched, retrieval=retrieval, draws=draws)


def test_plain_text_by_hand() -> None:
    """City rows: -3 under the heads, -2 untouched; year rows -2.5; the second draw of the year -1."""
    texts: dict[str, float | None] = {
        f"plain_text[{CITY.retrieval.name}]": -3.0,
        f"plain_text[{YEAR.retrieval.name}]": -2.5,
        f"plain_text[{YEAR.controls[1].name}]": -1.0,
    }
    found = plain_text(GATE, ROWS, make_answers(GATE, ROWS, {}, texts))
    assert found == PlainText(n=8, filings=4, untouched=-2.0, change=-0.75, draw_changes=(0.0, 0.5))


def test_no_plain_text_is_none() -> None:
    assert plain_text(GATE, ROWS, make_answers(GATE, ROWS, {}, {"plain_text": None})) is None


def test_degenerate_shares_by_hand() -> None:
    answers = make_answers(GATE, ROWS, {}, {})
    assert degenerate_shares(GATE, ROWS, answers) == shares(0.0, 0.0, 0.0)
    for name, n in ((CITY.retrieval.name, 3), (YEAR.controls[0].name, 2), ("baseline", 1)):
        of_rows = dict(answers.samples[name])
        for row in list(of_rows)[:n]:
            of_rows[row] = of_rows[row].model_copy(update={"faults": ("cut_off", "empty")})
        answers = replace(answers, samples={**answers.samples, name: of_rows})
    assert degenerate_shares(GATE, ROWS, answers) == shares(1 / 8, 3 / 8, 2 / 16)
    assert degenerate_shares(GATE, (), answers) is None


def text_of(change: float) -> PlainText:
    return PlainText(n=1, filings=1, untouched=-2.0, change=change, draw_changes=())


WHOLE, GARBLED = shares(0.1, 0.3, 0.1), shares(0.1, 0.4, 0.1)


@pytest.mark.parametrize(
    ("drop", "text", "found", "expected"),
    [
        (0.8, text_of(-0.1), WHOLE, "lost retrieval"),
        (0.8, text_of(-0.6), WHOLE, "broken model"),
        (0.8, text_of(-0.1), GARBLED, "broken model"),
        (0.0, text_of(-0.6), WHOLE, "broken model"),
        (0.1, text_of(0.2), WHOLE, "none"),
        (None, text_of(0.0), WHOLE, "unknown"),
        (0.8, None, WHOLE, "unknown"),
        (0.8, text_of(0.0), None, "unknown"),
    ],
)
def test_damage(drop: float | None, text: PlainText | None, found: DegenerateShares | None, expected: str) -> None:
    assert damage(drop, 0.1, text, found) == expected

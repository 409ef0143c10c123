"""Lost answers and a broken model, told apart by plain text and by degenerate completions."""

from dataclasses import replace

import pytest
from fake_gates import GATE, OWN, make_answers, make_rows

from harness.findings.verdicts.validity import damage, degenerate_shares, how_broken, plain_text
from harness.findings.verdicts.verdict_data import DegenerateShares, PlainText

ROWS = make_rows(4)
CITY, YEAR = OWN
CITY_HEADS, YEAR_HEADS = CITY.largest.name, YEAR.largest.name


def shares(untouched: float, judged: float, controls: float) -> DegenerateShares:
    return DegenerateShares(untouched=untouched, judged=judged, controls=controls)


def test_plain_text_by_hand() -> None:
    """City rows: -3 under the heads, -2 untouched; year rows -2.5; the second control of the year -1."""
    texts: dict[str, float | None] = {
        f"plain_text[{CITY_HEADS}]": -3.0,
        f"plain_text[{YEAR_HEADS}]": -2.5,
        f"plain_text[{YEAR.controls[1][0].name}]": -1.0,
    }
    found = plain_text(GATE, ROWS, make_answers(GATE, ROWS, {}, texts))
    assert found == PlainText(n=8, filings=4, untouched=-2.0, change=-0.75, control_changes=(0.0, 0.5))


def test_plain_text_stands_under_five_controls_and_no_permutation() -> None:
    over_text = {each.setting for each in GATE.conditions if each.prompt == "plain_text"}
    assert over_text == {"", *(each.name for part in OWN for each in (part.largest, *(c[0] for c in part.controls)))}
    many = replace(CITY, controls=tuple(CITY.controls[0] for _ in range(8)))
    assert len(replace(GATE, parts=(many,)).over_text) == 1 + 5


def test_no_plain_text_is_none() -> None:
    assert plain_text(GATE, ROWS, make_answers(GATE, ROWS, {}, {"plain_text": None})) is None


def test_degenerate_shares_by_hand() -> None:
    answers = make_answers(GATE, ROWS, {}, {})
    assert degenerate_shares(GATE, ROWS, answers) == shares(0.0, 0.0, 0.0)
    for name, n in ((CITY_HEADS, 3), (YEAR.controls[0][0].name, 2), ("baseline", 1)):
        of_rows = dict(answers.samples[name])
        for row in list(of_rows)[:n]:
            of_rows[row] = of_rows[row].model_copy(update={"faults": ("cut_off", "empty")})
        answers = replace(answers, samples={**answers.samples, name: of_rows})
    assert degenerate_shares(GATE, ROWS, answers) == shares(1 / 8, 3 / 8, 2 / 16)
    assert degenerate_shares(GATE, (), answers) is None


def text_of(change: float) -> PlainText:
    return PlainText(n=1, filings=1, untouched=-2.0, change=change, control_changes=())


WHOLE, GARBLED = shares(0.1, 0.3, 0.1), shares(0.1, 0.4, 0.1)


@pytest.mark.parametrize(
    ("share", "text", "found", "expected"),
    [
        (0.8, text_of(-0.1), WHOLE, "lost answers"),
        (0.8, text_of(-0.6), WHOLE, "broken model"),
        (0.8, text_of(-0.1), GARBLED, "broken model"),
        (0.0, text_of(-0.6), WHOLE, "broken model"),
        (0.1, text_of(0.2), WHOLE, "none"),
        (None, text_of(0.0), WHOLE, "unknown"),
        (0.8, None, WHOLE, "unknown"),
        (0.8, text_of(0.0), None, "unknown"),
    ],
)
def test_damage(share: float | None, text: PlainText | None, found: DegenerateShares | None, expected: str) -> None:
    assert damage(share, 0.1, text, found) == expected


def test_how_a_model_is_broken_is_said() -> None:
    assert how_broken(text_of(-1.9), GARBLED) == (
        "plain text -1.90 nats a token, 40% of its completions degenerate, 10% untouched"
    )
    assert how_broken(text_of(-0.1), WHOLE) is None
    assert how_broken(None, None) is None

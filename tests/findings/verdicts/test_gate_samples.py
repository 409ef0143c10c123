"""What a gate compares: rows that every condition of their part has, gathered by filing."""

from fake_gates import GATE, OWN, make_answers, make_rows

from harness.findings.verdicts.gate_samples import lacking_samples, paired_counts
from harness.findings.verdicts.gates import FilingCounts

ROWS = make_rows(3)
CITY, YEAR = OWN


def test_counts_by_filing() -> None:
    """City rows under the city's own heads, year rows under the year's; draws are pooled by their number."""
    right = {
        "baseline": "++++-+",
        CITY.retrieval.name: "--+",
        YEAR.retrieval.name: "+-+",
        CITY.controls[0].name: "+-+",
        YEAR.controls[1].name: "--+",
    }
    data = paired_counts(GATE.parts, ROWS, make_answers(GATE, ROWS, right, {}))
    assert data.n_draws == 2
    assert data.filings == (
        FilingCounts(2, 2, 1, 0, (2, 1)),
        FilingCounts(2, 2, 0, 0, (1, 1)),
        FilingCounts(2, 1, 2, 0, (2, 2)),
    )


def test_a_row_that_any_condition_lacks_is_in_none() -> None:
    right = {YEAR.controls[1].name: "+.+", "needle_absent": "+-----"}
    answers = make_answers(GATE, ROWS, right, {})
    data = paired_counts(GATE.parts, ROWS, answers)
    assert [(filing.n, filing.absent) for filing in data.filings] == [(2, 1), (1, 0), (2, 0)]
    assert lacking_samples(GATE, ROWS, answers) == (f"{YEAR.controls[1].name} (1 of 3 rows)",)


def test_the_needle_absent_run_may_be_left_out() -> None:
    answers = make_answers(GATE, ROWS, {"needle_absent": "......"}, {})
    assert paired_counts(GATE.parts, ROWS, answers).n_rows == 0
    assert paired_counts(GATE.parts, ROWS, answers, needle_absent=False).n_rows == 6


def test_what_is_lacking_is_named() -> None:
    text = f"plain_text[{CITY.retrieval.name}]"
    answers = make_answers(GATE, ROWS, {"baseline": "....++", CITY.retrieval.name: "..."}, {text: None})
    assert lacking_samples(GATE, ROWS, answers) == (
        "baseline (4 of 6 rows)",
        f"{CITY.retrieval.name} (3 of 3 rows)",
        f"{text} (3 of 3 rows)",
    )


def test_nothing_is_nothing() -> None:
    assert paired_counts((), ROWS, make_answers(GATE, ROWS, {}, {})).filings == ()
    assert paired_counts(GATE.parts, (), make_answers(GATE, (), {}, {})).filings == ()

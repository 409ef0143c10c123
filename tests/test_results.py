"""What tests assert on is read from the report, and nothing is made up where that has nothing."""

from fake_gates import GATE, make_answers, make_rows
from fake_study import make_report

from harness.experiment.conditions import BASELINE, Condition
from harness.findings.report.gate_message import gate_message
from harness.findings.verdicts.gate_results import gate_result
from harness.findings.verdicts.gates import Margins
from harness.results import GateVerdict, Result


def test_a_result_is_its_conditions_part_of_the_report() -> None:
    report, _ = make_report(tasks=("ceo_lastname",), ks=(2,), experiments=("within_task",), n_filings=4)
    figures = report["conditions"][1]
    figures["n"], figures["requested"], figures["accuracy"] = 3, 4, 0.25
    assert figures["drop"] is not None
    figures["drop"]["estimate"] = 0.5
    condition = Condition("within_task", figures["setting"], heads=((0, 1), (2, 3)))  # type: ignore[arg-type]  # pairs become heads
    result = Result(condition, figures)
    assert (result.n, result.missing, result.accuracy, result.drop) == (3, 1, 0.25, 0.5)
    assert result.interval == figures["interval"]
    assert dict(result.properties()) == {
        "condition": condition.name,
        "k_effective": 2,
        "n": 3,
        "missing": 1,
        "accuracy": 0.25,
        "drop": 0.5,
    }


def test_without_rows_there_is_no_accuracy_and_the_baseline_has_no_drop() -> None:
    report, _ = make_report(tasks=("ceo_lastname",), ks=(2,), experiments=("within_task",), n_filings=4)
    figures = report["conditions"][0]
    assert Result(BASELINE, figures).drop is None
    figures["n"], figures["accuracy"], figures["interval"] = 0, None, None
    result = Result(BASELINE, figures)
    assert (result.n, result.missing, result.accuracy, result.interval) == (0, 4, None, None)


def test_what_a_bare_assert_shows_of_a_verdict() -> None:
    """It once was every figure of the report's part, cut off in the middle."""
    rows = make_rows(9)
    figures = gate_result(GATE, rows, make_answers(GATE, rows, {}, {}), Margins(), candidates=(), leaked_filings=0)
    verdict = GateVerdict(figures, False, gate_message(figures, report="r", again="a"))
    assert repr(verdict) == (
        "<gate[own-all-k01]: inconclusive; 9 filings: fewer than 10 decide nothing; give 10 or more; the difference is "
        "below the margin, but 9 filings are too few to fail on>"
    )

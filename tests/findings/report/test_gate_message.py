"""The message read at night, line by line, and the lines that open the summary."""

from changed_section import changed
from fake_gates import GATE, OWN, make_answers, make_rows
from fake_study import whole_report

from harness.findings.report.gate_message import gate_lines, gate_message, verdict_lines
from harness.findings.verdicts.gate_results import gate_result
from harness.findings.verdicts.verdict_data import GateResult, Margins

CITY, YEAR = OWN
DEFAULT = Margins()
LOST = {CITY.retrieval.name: "-" * 20, YEAR.retrieval.name: "--++" * 5, YEAR.controls[0].name: "-" + "+" * 19}


def result_of(right: dict[str, str], n_filings: int = 20, margins: Margins = DEFAULT) -> GateResult:
    rows = make_rows(n_filings)
    text: dict[str, float | None] = {f"plain_text[{CITY.retrieval.name}]": -2.1}
    answers = make_answers(GATE, rows, {name: letters[:n_filings] for name, letters in right.items()}, text)
    return gate_result(GATE, rows, answers, margins, candidates=(), leaked_filings=None, held_out=True)


def test_every_line() -> None:
    """(b) by hand: 1.25 + 6.3138 x 1.7678 x sqrt(1.5) = 14.92 points."""
    assert gate_message(result_of(LOST), report="reports/latest/report.json", again="pytest evals -m gate") == (
        "gate[own-all-k01]: pass\n"
        "  what       each task's own heads, k = 1 ablated; 40 rows of 20 filings\n"
        "  untouched  100.0% right; 0.0% with the needle left out\n"
        "  drop       +75.0 by these heads; +1.2 by random ones (layer draws +2.5 +0.0, SD 1.8; "
        "up to 2 of 2 heads from another layer)\n"
        "  difference +73.8 points, 95 % interval [+61.8, +85.7] (t, 20.0 degrees of freedom), "
        "bootstrap [+63.7, +85.0]\n"
        "  (a)        yes  the interval's lower end is above the margin: +61.8 > +10.0\n"
        "  (b)        yes  the drop lies outside what one more draw would give: +75.0 > +14.9\n"
        "  (c)        yes  the control is flat, at the upper end of the draws' mean drop: +6.3 <= +10.0\n"
        "  rank       0 of 2 draws cost as much: p = 0.333; 2 draws cannot give less than 0.333\n"
        "  model      lost retrieval: plain text -0.050 nats a token (+0.000 by random heads), degenerate completions "
        "0.0% (untouched 0.0%, random 0.0%)\n"
        "  tasks      alone, by Holm: 2 pass\n"
        "  note       split unknown: the ranking does not say its filings\n"
        "  report     reports/latest/report.json\n"
        "  again      pytest evals -m gate"
    )


def test_a_drop_below_the_margin_is_not_nothing() -> None:
    """75 points are lost, and the margin is 90; it once said that nothing was."""
    said = gate_message(result_of(LOST, margins=Margins(margin=0.9)), report="r", again="a")
    assert "  model      no more lost than the margin: plain text -0.050 nats" in said


def test_margins_are_not_rounded() -> None:
    found = result_of({}, margins=Margins(margin=0.125))
    assert "  why        these heads cost no 12.5 points more than" in gate_message(found, report="r", again="a")
    report = changed(whole_report(), {"gates": [found]})
    assert next(verdict_lines(report))[1].endswith(" over random, margin 12.5")


def test_one_of_a_thing() -> None:
    few = changed(result_of(LOST, 1), {"n": 1, "draw_drops": [0.0], "drop": 0.5, "rank_p": 0.5, "least_rank_p": 0.5})
    said = gate_message(few, report="r", again="a")
    assert "k = 1 ablated; 1 row of 1 filing\n" in said
    assert "  rank       0 of 1 draw cost as much: p = 0.500; 1 draw cannot give less than 0.500" in said


def test_tasks_that_each_have_to_pass() -> None:
    """Pooled the gate passes; the year, where six of 20 rows are lost, does not alone, and the test fails for it."""
    found = result_of({CITY.retrieval.name: "-" * 20, YEAR.retrieval.name: "-" * 6 + "+" * 14})
    assert found.verdict == "pass"
    why = (
        "not every task passes alone, as --ablation-gate-tasks asks: inconclusive, which more filings may decide: year"
    )
    pooled = gate_message(found, report="r", again="a")
    assert pooled.startswith("gate[own-all-k01]: pass\n")
    assert "  tasks      alone, by Holm: 1 pass, 1 inconclusive (year)\n" in pooled
    assert "  why " not in pooled
    said = gate_message(found, report="r", again="a", each_task=True)
    assert said.startswith("gate[own-all-k01]: pass; not each task alone\n")
    assert f"  why        {why}\n" in said
    report = changed(whole_report(), {"gates": [found]})
    assert [kind for kind, _ in gate_lines(report)] == ["pass", "pass"]
    report = changed(report, {"configuration.gate_tasks": True})
    (kind, first), (_, second), _ = gate_lines(report)
    assert (kind, first.endswith("margin 10; not each task alone"), second.strip()) == ("inconclusive", True, why)
    assert list(verdict_lines(report)) == [(kind, first)]
    report = changed(report, {"gates": [result_of(LOST)]})
    assert [kind for kind, _ in gate_lines(report)] == ["pass", "pass"]


def test_what_to_do_next_is_said() -> None:
    said = gate_message(result_of(LOST, 9), report="r", again="a")
    assert said.startswith("gate[own-all-k01]: inconclusive\n")
    assert "  why        9 filings: fewer than 10 decide nothing; give 10 or more\n" in said


def test_checks_that_do_not_hold() -> None:
    said = gate_message(result_of({}), report="r", again="a")
    assert "  (a)        no   the interval's lower end is above the margin: +0.0 <= +10.0" in said
    assert "  (b)        no   the drop lies outside what one more draw would give: +0.0 <= +0.0" in said
    assert "  tasks      alone, by Holm: 2 fail" in said
    assert "  why        these heads cost no 10 points more than random ones" in said


def test_of_nothing_everything_is_unknown() -> None:
    said = gate_message(result_of({}, 0), report="r", again="a")
    assert "  untouched  unknown right; unknown with the needle left out" in said
    assert "  difference unknown points, 95 % interval [unknown] (t), bootstrap [unknown]" in said
    assert "  (b)        ?    the drop lies outside what one more draw would give: unknown" in said
    assert "  rank       unknown" in said
    assert "  model      whether the model is whole is unknown" in said
    assert "  why        no row has all the records that are compared" in said


def test_fewer_heads_than_asked_for() -> None:
    found = changed(result_of(LOST), {"k": 20, "k_effective": [7, 8]})
    said = gate_message(found, report="r", again="a")
    assert "each task's own heads, 7 to 8 (no more are ranked; 20 were asked for) ablated" in said


def test_lines_of_the_summary() -> None:
    assert list(gate_lines(whole_report())) == []
    report = changed(whole_report(), {"gates": [result_of(LOST), result_of({}, 9)]})
    lines = list(gate_lines(report))
    assert [kind for kind, _ in lines] == [
        "pass",
        "pass",
        "inconclusive",
        "inconclusive",
        "inconclusive",
        "inconclusive",
    ]
    texts = [text for _, text in lines]
    assert texts[0].startswith("gate[own-all-k01]        pass         +73.8 points [")
    assert texts[0].endswith("] over random, margin 10")
    assert texts[1].strip().startswith("lost retrieval: plain text -0.050 nats a token")
    assert texts[3].strip() == "9 filings: fewer than 10 decide nothing; give 10 or more"

"""The message read at night, line by line, and the lines that open the summary."""

from dataclasses import replace

from changed_section import changed
from fake_gates import GATE, OWN, SOUND, make_answers, make_rows
from fake_study import whole_report

from harness.findings.report.gate_message import claim_line, gate_lines, gate_message, verdict_lines
from harness.findings.verdicts.gate_results import gate_result
from harness.findings.verdicts.verdict_data import Claim, ClaimPart, FactsLost, GateResult, Lowest, Margins

CITY, YEAR = OWN
CITY_HEADS, YEAR_HEADS = CITY.largest.name, YEAR.largest.name
DEFAULT = Margins()
LOST = {CITY_HEADS: "-" * 20, YEAR_HEADS: "--++" * 5, YEAR.controls[0][0].name: "-" + "+" * 19}


def result_of(
    right: dict[str, str],
    n_filings: int = 20,
    margins: Margins = DEFAULT,
    text: float = -2.1,
    notes: tuple[str, ...] = (),
) -> GateResult:
    rows = make_rows(n_filings)
    texts: dict[str, float | None] = {f"plain_text[{CITY_HEADS}]": text}
    answers = make_answers(GATE, rows, {name: letters[:n_filings] for name, letters in right.items()}, texts)
    known = replace(SOUND, leaked_filings=None, held_out=True, notes=notes)
    return gate_result(GATE, rows, answers, margins, known)


def test_every_line() -> None:
    found = result_of(LOST, notes=("judged 2 times before",))
    assert gate_message(found, report="reports/latest/report.json", again="pytest evals -m gate") == (
        "gate[own-all-k01]: pass\n"
        "  what       each task's own heads, k = 1 ablated; 40 rows of 20 clusters\n"
        "  untouched  100.0% right; 0.0% with the needle left out; 40 right answers rest on it\n"
        "  drop       +75.0 by these heads; +1.2 by controls, other heads of their layers (2: +0.0 to +2.5; "
        "up to 2 of 2 heads from another layer)\n"
        "  difference +73.8 points, 73.8% of the right answers, 95 % interval [61.8%, 85.7%] (t, 20.0 degrees of "
        "freedom), bootstrap [63.7%, 85.0%]\n"
        "  (a)        yes  the interval's lower end is above the margin of 10% (10.0 points): 61.8% > 10.0%\n"
        "  (b)        yes  few permutations cost as much: 0 of 19, p = 0.050 <= 0.05; 19 cannot give less than 0.050\n"
        "  (c)        yes  controls cost at most 10% (10.0 points) in the mean: 1.2% <= 10.0%\n"
        "  draws      heads permuted within a layer: 992 sets, which cost +0.0 to +0.0 points of the 40 rows answered "
        "rightly (the judged heads +75.0); one holds 3% of the judged heads in the mean; were one head to carry all, p "
        "would be at least 0.05\n"
        "  model      needed for these answers: plain text -0.050 nats a token (+0.000 by controls), degenerate "
        "completions 0.0% (untouched 0.0%, controls 0.0%)\n"
        "  tasks      alone, by Holm: 2 pass\n"
        "  note       split unknown: the ranking does not say its filings\n"
        "  note       judged 2 times before\n"
        "  report     reports/latest/report.json\n"
        "  again      pytest evals -m gate"
    )


def test_facts_stand_beside_plain_text_in_one_line() -> None:
    lost = FactsLost(asked=48, known=40, lost=0.05, interval=(0.0, 0.12), controls_lost=0.0125)
    found = result_of(LOST).model_copy(update={"facts": lost})
    (line,) = [line for line in gate_message(found, report="r", again="a").splitlines() if line.startswith("  model ")]
    assert line.endswith("controls 0.0%), facts and sums 5.0% lost of the 40 of 48 known (1.2% by controls)")
    none = lost.model_copy(update={"known": 0, "lost": None, "interval": None, "controls_lost": None})
    (line,) = [
        line
        for line in gate_message(result_of(LOST).model_copy(update={"facts": none}), report="r", again="a").splitlines()
        if line.startswith("  model ")
    ]
    assert line.endswith("controls 0.0%), facts and sums: the untouched model knows none of 48")


def test_a_drop_below_the_margin_is_not_nothing() -> None:
    """75 points are lost, and the margin is 90; it once said that nothing was."""
    said = gate_message(result_of(LOST, margins=Margins(margin=0.9)), report="r", again="a")
    assert "  model      no more lost than the margin: plain text -0.050 nats" in said


def test_a_broken_model_is_said_to_be_one() -> None:
    said = gate_message(result_of(LOST, text=-6.0), report="r", again="a")
    assert said.startswith("gate[own-all-k01]: invalid\n")
    assert (
        "  why        these heads break the model (plain text -2.00 nats a token): what is lost is not retrieval"
        in said
    )
    assert "  model      broken model: plain text" in said


def test_margins_that_differ_are_shown_with_flat() -> None:
    report = changed(whole_report(), {"gates": [result_of({}, margins=Margins(margin=0.2, flat=0.05))]})
    assert next(verdict_lines(report))[1].endswith(" of the right answers, margin 20%, flat 5%; rank p 1.00")


def test_a_margin_of_a_model_that_knows_half_is_half_as_many_points() -> None:
    said = gate_message(changed(result_of(LOST), {"baseline": 0.5}), report="r", again="a")
    assert "the margin of 10% (5.0 points)" in said


def test_the_lowest_heads_are_named_where_they_would_pass_too() -> None:
    for lowest, end in (
        (Lowest(drop=0.89, would_pass=True), "would pass too: a pass does not say that heads were ranked rightly"),
        (Lowest(drop=0.01, would_pass=False), "points, and would not pass"),
    ):
        found = result_of(LOST).model_copy(update={"lowest": lowest})
        assert any(
            line.startswith("  lowest ") and line.endswith(end)
            for line in gate_message(found, report="r", again="a").split("\n")
        )
        report = changed(whole_report(), {"gates": [found]})
        assert any("as many lowest-scoring heads cost" in line for _, line in gate_lines(report)) is lowest.would_pass


def test_tasks_that_each_have_to_pass() -> None:
    """Pooled the gate passes; the year, where six of 20 rows are lost, does not alone, and the test fails for it."""
    found = result_of({CITY_HEADS: "-" * 20, YEAR_HEADS: "-" * 6 + "+" * 14})
    assert found.verdict == "pass"
    why = (
        "not every task passes alone, as --ablation-gate-tasks asks: inconclusive, which more clusters may decide: year"
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
    assert (kind, first.endswith("; not each task alone"), second.strip()) == ("inconclusive", True, why)
    assert list(verdict_lines(report)) == [(kind, first)]


def test_what_to_do_next_is_said() -> None:
    said = gate_message(result_of({}, 12), report="r", again="a")
    assert said.startswith("gate[own-all-k01]: inconclusive\n")
    assert "  why        the difference is below the margin, but 12 clusters are too few to fail on\n" in said


def test_checks_that_do_not_hold() -> None:
    said = gate_message(result_of({}), report="r", again="a")
    assert "  (a)        no   the interval's lower end is above the margin of 10% (10.0 points): 0.0% <= 10.0%" in said
    assert "  (b)        no   few permutations cost as much: 19 of 19, p = 1.000 > 0.05" in said
    assert "  tasks      alone, by Holm: 2 fail" in said
    assert "  why        these heads do not cost 10% of the right answers more than other heads of the same" in said


def test_of_nothing_everything_is_unknown() -> None:
    said = gate_message(result_of({}, 0), report="r", again="a")
    assert "  untouched  unknown right; unknown with the needle left out" in said
    assert (
        "  difference unknown points, unknown of the right answers, 95 % interval [unknown] (t), bootstrap [unknown]"
        in said
    )
    assert "  (b)        ?    few permutations cost as much: unknown" in said
    assert "  model      whether the model is whole is unknown" in said
    assert "  why        no row has all the records that are compared" in said


def test_fewer_heads_than_asked_for_and_a_band() -> None:
    found = changed(result_of(LOST), {"k": 20, "k_effective": [7, 8]})
    said = gate_message(found, report="r", again="a")
    assert "each task's own heads, 7 to 8 (no more are ranked; 20 were asked for) ablated" in said
    said = gate_message(changed(found, {"ks": [1, 5, 20]}), report="r", again="a")
    assert "each task's own heads, the mean over k = 1, 5, 20 ablated" in said


def test_several_gates_are_stated_as_one_claim() -> None:
    def part(gate: str, holds: bool) -> ClaimPart:
        return ClaimPart(gate=gate, adjusted_p=0.001, adjusted_rank_p=0.05 if holds else 0.1, holds=holds)

    claim = Claim(parts=(part("gate[own-all-k20]", True), part("gate[shared-all-k20]", False)))
    line = (
        "as one claim of 2 gates, corrected: needed: gate[own-all-k20]; not shown: gate[shared-all-k20] (margin p "
        "0.001, rank p 0.10)"
    )
    assert claim_line(claim) == line
    report = whole_report().model_copy(update={"claim": claim})
    assert [(kind, text.strip()) for kind, text in gate_lines(report)] == [("pass", line)]


def test_lines_of_the_summary() -> None:
    assert list(gate_lines(whole_report())) == []
    report = changed(whole_report(), {"gates": [result_of(LOST), result_of({}, 12)]})
    lines = list(gate_lines(report))
    assert [kind for kind, _ in lines] == ["pass", "pass", *["inconclusive"] * 4]
    texts = [text for _, text in lines]
    assert texts[0] == (
        "gate[own-all-k01]        pass         +73.8 points over controls, 73.8% [61.8%, 85.7%] of the right answers, "
        "margin 10%, flat 10%; rank p 0.05"
    )
    assert texts[1].strip().startswith("needed for these answers: plain text -0.050 nats a token")
    assert texts[4].strip() == "the difference is below the margin, but 12 clusters are too few to fail on"

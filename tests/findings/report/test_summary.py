"""The summary's lines, with figures worked out by hand."""

import math
from collections.abc import Mapping
from dataclasses import replace

from changed_section import changed
from fake_gates import GATE, SOUND, make_answers, make_rows
from fake_study import make_setup, score, whole_report

from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.heads import Head
from harness.experiment.plan import jobs_of
from harness.experiment.record import Completion, Record
from harness.findings.report.curves import Curve, Point
from harness.findings.report.markdown_summary import escaped, markdown_summary
from harness.findings.report.report_data import Degenerate, ReportData
from harness.findings.report.report_writing import build_report
from harness.findings.report.summary import rising_lines, summary_lines
from harness.findings.samples import score_samples
from harness.findings.statistics import wilson
from harness.findings.verdicts.gate_results import gate_result
from harness.findings.verdicts.verdict_data import Margins, Specificity
from harness.retrieval.rows import Row

ROWS = tuple(
    Row(f"f{filing}", task, f"The {task} is 7.", "7", "Nothing here.")
    for filing in range(2)
    for task in ("city", "year")
)
CITY_1 = Condition("within_task", "city-k01", (Head(0, 0),), tasks=("city",), k=1)
YEAR_1 = Condition("within_task", "year-k01", (Head(0, 1),), tasks=("year",), k=1)
GENERAL_2 = Condition("general", "k02", (Head(0, 2),), k=2)
DRAWS = tuple(Condition("random_control", f"seed{seed}-k01", (Head(1, seed),), k=1, seed=seed) for seed in range(2))


def make_report(right: Mapping[Condition, str]) -> ReportData:
    """For each condition one letter a row of its tasks: + right, - wrong, . no record.

    The untouched model's answer is as likely as ever where a condition is right, else a quarter so.
    """
    records = {}
    for condition, letters in right.items():
        for job, letter in zip(jobs_of(condition, ROWS), letters, strict=True):
            if letter != ".":
                text = "7." if letter == "+" else "8."
                records[job] = Record(job, _said(0.0 if letter == "+" else math.log(0.25)), text, 0.1)
    samples = score_samples(right, ROWS, records, score, place=_place)
    return build_report(make_setup(None), tuple(right), ROWS, samples)


def _said(logprob: float) -> Completion:
    return Completion((1,), 2, -0.1, -0.1, 1, 1.0, baseline_logprobs=(logprob, -9.0))


def _place(row: Row, untouched: Record) -> tuple[int, int] | None:
    """The first token is the value, where it is one."""
    return (0, 1) if untouched.text == "7." else None


def test_every_kind_of_line() -> None:
    """Wilson: 4 of 4 is [51.0, 100.0], 3 of 4 [30.1, 95.4], 1 of 4 [4.6, 69.9], 0 of 4 [0.0, 49.0]."""
    report = make_report(
        {
            BASELINE: "++++",
            NEEDLE_ABSENT: "----",
            CITY_1: "+-",
            YEAR_1: "--",
            GENERAL_2: "+++-",
            DRAWS[0]: "++++",
            DRAWS[1]: "+-+-",
        }
    )
    assert list(summary_lines(report)) == [
        "demo (8 layers of 16 heads), 4 rows of 2 filings",
        "baseline                100.0%  [ 51.0%, 100.0%]        4/4",
        "needle absent             0.0%  [  0.0%,  49.0%]        0/4   at most 0.0% in a task; "
        "always the commonest value: at most 100.0%",
        "likelihood of the value where the untouched model says it, over 4 rows: 100.0% untouched, within_task k=1 "
        "43.8%, general k=2 81.2%, random_control k=1 81.2%",
        "within_task        k=1   25.0%  [  4.6%,  69.9%]        1/4   drop +75.0 points",
        "general            k=2   75.0%  [ 30.1%,  95.4%]        3/4   drop +25.0 points   of 1 head only",
        "random_control     k=1   75.0%  [ 50.0%, 100.0%]   drop +25.0 points   mean and range of 2 draws",
    ]


def test_cards_are_named() -> None:
    report = changed(make_report({BASELINE: "++++"}), {"model.cards": ["NVIDIA H100", "cpu"]})
    assert next(summary_lines(report)) == "demo (8 layers of 16 heads), 4 rows of 2 filings, on NVIDIA H100"


def test_rows_whose_likelihood_is_unknown_are_told() -> None:
    """Only the first row of `general` was measured: the others are of an older store."""
    report = make_report({BASELINE: "++-+", GENERAL_2: "++-+"})
    found = report.conditions[1].likelihood
    assert found is not None
    assert (found.n, found.missing, found.untouched, found.logprob_change) == (3, 0, 1.0, 0.0)
    lacking = {"conditions.1.likelihood.n": 1, "conditions.1.likelihood.missing": 2}
    assert (
        "likelihood unknown of 2 rows answered rightly: the store is older than it (--ablation-gate-outcome likelihood "
        "computes it), or the answer cannot be cut where the value stands"
        in list(summary_lines(changed(report, lacking)))
    )


def test_donors_values_are_told_draws_and_tasks_together() -> None:
    report = make_report({BASELINE: "++++", CITY_1: "+-", YEAR_1: "--", DRAWS[0]: "++++", DRAWS[1]: "+-+-"})
    for i, said in enumerate((0.0, 0.5, 1.0, 0.0, 0.25)):
        report = changed(report, {f"conditions.{i}.own": {"donor_value": {"n": report.conditions[i].n, "mean": said}}})
    assert list(summary_lines(report))[-2:] == [
        "within_task        k=1  the donor's value instead  75.0%  of 4",
        "random_control     k=1  the donor's value instead  12.5%  of 8",
    ]


def test_missing_rows_are_told_and_give_no_drop() -> None:
    report = make_report({BASELINE: "++++", GENERAL_2: "+..+", CITY_1: ".."})
    lines = list(summary_lines(report))
    assert "general            k=2  100.0%  [ 34.2%, 100.0%]   2/2 of 4   of 1 head only" in lines
    assert "within_task        k=1  none of 2 rows done" in lines
    assert lines[-1] == "missing: 2 conditions without all records: general[k02], within_task[city-k01]"


def test_rows_that_need_no_needle_are_counted() -> None:
    report = make_report({BASELINE: "++++"})
    line = "2 rows may be answered without the needle: the value stands in its document"
    assert line in summary_lines(changed(report, {"data.value_recurs": (ROWS[0].id, ROWS[2].id)}))
    for none in ((), None):
        lines = summary_lines(changed(report, {"data.value_recurs": none}))
        assert not any("without the needle" in each for each in lines)


def test_a_part_of_a_study_says_so_and_not_what_other_parts_do() -> None:
    report = changed(
        make_report({BASELINE: "+...", CITY_1: "+."}), {"run.part": {"number": 2, "of": 4, "rows": 1, "left": 0}}
    )
    lines = [*summary_lines(report)]
    assert lines[-1].startswith("part 2 of 4: 1 of 4 rows; no verdict before the stores of all parts are put together ")
    assert not any(line.startswith("missing: ") for line in lines)
    assert f"**{escaped(lines[-1])}**" in markdown_summary(report, "index.html")
    left = changed(report, {"run.part.left": 1})
    assert "part 2 of 4: 1 of 4 rows, 1 of them not done: run it again; no verdict " in [*summary_lines(left)][-1]


def test_a_long_list_of_missing_conditions_is_cut() -> None:
    report = changed(make_report({BASELINE: "++++"}), {"run.missing": [f"c{i}" for i in range(7)]})
    *_, last = summary_lines(report)
    assert last == "missing: 7 conditions without all records: c0, c1, c2, c3, c4 ..."


def test_the_drop_is_over_the_experiments_own_rows() -> None:
    """The baseline is wrong on the other task's rows, which the experiment does not ask."""
    report = make_report({BASELINE: "+-+-", CITY_1: "+-"})
    (line,) = [line for line in summary_lines(report) if line.startswith("within_task")]
    assert line.endswith("1/2   drop +50.0 points")


def test_a_gain_is_a_negative_drop() -> None:
    report = make_report({BASELINE: "+---", GENERAL_2: "++--"})
    (line,) = [line for line in summary_lines(report) if line.startswith("general")]
    assert line.endswith("drop -25.0 points   of 1 head only")


def test_an_overlap_of_ranking_and_evaluation_is_told() -> None:
    report = make_report({BASELINE: "++++"})
    assert not any("filings also" in line or "split" in line for line in summary_lines(report))
    report = changed(report, {"data.ranking_overlap": 1, "data.known_by": {"text": 1}})
    said = "warning: 1 of 2 evaluated filings also made the ranking, 1 by an equal text"
    assert said in list(summary_lines(report))


def test_a_ranking_that_does_not_say_its_filings_is_told() -> None:
    report = changed(whole_report(), {"data.ranking_overlap": None})
    assert "split unknown: the ranking does not say which filings it was made from" in list(summary_lines(report))


def test_control_heads_of_another_layer_are_told() -> None:
    draws = [replace(draw, random_match="layer", mismatches=seed) for seed, draw in enumerate(DRAWS)]
    *_, last = summary_lines(make_report({BASELINE: "++++", draws[0]: "++++", draws[1]: "+-+-"}))
    assert last.endswith("mean and range of 2 draws, up to 1 of 1 heads from another layer")


def test_a_gates_own_controls_have_a_line() -> None:
    """The untouched model reaches 90 %, the draws cost 0, 2 and 10 points: 86 % in the mean."""
    report = make_report({BASELINE: "++++"})
    rows = make_rows(20)
    gate = gate_result(GATE, rows, make_answers(GATE, rows, {}, {}), Margins(), SOUND)
    known = changed(
        gate, {"baseline": 0.9, "control_drops": [0.0, 0.02, 0.1], "permutation_drops": [], "control_heads": 2}
    )
    several = changed(known, {"mismatches": [0, 0], "k_effective": [7, 8]})
    report = changed(report, {"gates": [known, several, changed(known, {"baseline": None})]})
    assert list(summary_lines(report))[-2:] == [
        "random_control     k=1   86.0%  [ 80.0%,  90.0%]   drop  +4.0 points   mean and range of 3 draws for "
        "gate[own-all-k01], up to 2 of 2 heads from another layer",
        "random_control   k=7-8   86.0%  [ 80.0%,  90.0%]   drop  +4.0 points   mean and range of 3 draws for "
        "gate[own-all-k01]",
    ]
    one_row = changed(known, {"n": 1, "mismatches": []})
    report = changed(report, {"gates": [one_row], "run.missing": [gate.conditions[-1]]})
    assert list(summary_lines(report))[-2].endswith("3 draws for gate[own-all-k01], over 1 row")


def test_mismatches_of_gates_controls_are_not_random_controls() -> None:
    theirs = [
        replace(draw, setting=f"shared-seed{seed}-k01", gate="shared", random_match="layer", mismatches=1)
        for seed, draw in enumerate(DRAWS)
    ]
    lines = summary_lines(make_report({BASELINE: "++++", **dict.fromkeys((*DRAWS, *theirs), "++++")}))
    assert not any("another layer" in line for line in lines)


def test_experiments_with_many_conditions_at_one_k_have_their_range() -> None:
    singles = [Condition("single", f"city-{head}", (Head(0, head),), tasks=("city",), k=1) for head in range(3)]
    *_, last = summary_lines(make_report({BASELINE: "++++", singles[0]: "++", singles[1]: "+-", singles[2]: "--"}))
    assert last == "single             k=1  0.0% to 100.0% over 3 conditions: plots/figures.csv has each"


def test_one_draw_has_the_interval_of_its_rows() -> None:
    """A range of one draw would look like certainty; Wilson's interval of 3 of 4 is [30.1, 95.4]."""
    lines = list(summary_lines(make_report({BASELINE: "++++", DRAWS[0]: "+++-"})))
    assert lines[-1] == "random_control     k=1   75.0%  [ 30.1%,  95.4%]        3/4   drop +25.0 points   one draw"


def test_degenerate_completions_are_told_where_they_are_many() -> None:
    report = make_report({BASELINE: "++++", GENERAL_2: "+++-"})
    assert not any(line.startswith("degenerate") for line in summary_lines(report))
    bad = Degenerate(any=2, empty=1, repeating=0, cut_off=2, several_numbers=0, hedging=0, turn_marker=0)
    report = changed(report, {"conditions.1.degenerate": bad})
    *_, last = summary_lines(report)
    assert last == (
        "degenerate completions: 0.0% in the baseline, over 5% more in 1 condition; most in general[k02]: "
        "50.0% of 4 (1 empty, 2 cut off)"
    )


def test_a_model_that_does_not_end_is_told() -> None:
    report = make_report({BASELINE: "++++", GENERAL_2: "+++-"})
    assert not any(line.startswith("warning: ") for line in summary_lines(report))
    places = {f"conditions.0.degenerate.{name}": n for name, n in (("any", 4), ("cut_off", 4), ("turn_marker", 1))}
    report = changed(report, {"configuration.max_new_tokens": 20} | places)
    assert [line for line in summary_lines(report) if line.startswith("warning: ")] == [
        "warning: none of the untouched model's 4 completions ended within 20 tokens; allow more with max-new-tokens, "
        "or see whether the model's files name its end token",
        "warning: 1 of the untouched model's 4 completions hold a turn marker: it goes on into the next turn; see "
        "whether the model's files name all of its end tokens",
    ]
    report = changed(report, {"conditions.0.degenerate.cut_off": 3, "conditions.0.degenerate.turn_marker": 0})
    assert not any(line.startswith("warning: ") for line in summary_lines(report))


def test_specificity_is_told() -> None:
    found = Specificity(
        finding="specific",
        k=5,
        n=4,
        filings=2,
        own_drop=0.5,
        other_drop=0.125,
        difference=0.375,
        interval=(0.2, 0.55),
        overlap=1.5,
    )
    report = changed(make_report({BASELINE: "++++"}), {"specificity": found})
    *_, last = summary_lines(report)
    assert last == (
        "specificity k=5: specific: own heads +50.0 points, other tasks' +12.5 points, difference +37.5 points "
        "[+20.0, +55.0]; 1.5 of 5 heads in common"
    )


def curve(*matches: int) -> Curve:
    """A hundred rows at k = 1, 2, ..."""
    return Curve(
        "general", None, tuple(Point(100, 100, n, n / 100, wilson(n, 100), k, k, k) for k, n in enumerate(matches, 1))
    )


def test_a_curve_that_rises_beyond_both_intervals_is_named() -> None:
    """Published: 9 % right at k = 10, 84 % at k = 20, 6 % at k = 30."""
    assert list(rising_lines([curve(9, 84, 6), curve(50, 55), curve(90, 40)])) == [
        "general is not monotone: 9.0% at k=1, 84.0% at k=2, beyond both intervals: one k says little; "
        "--ablation-gate-k band judges all"
    ]

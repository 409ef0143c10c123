"""A comparison as text, line by line."""

from dataclasses import replace

from changed_section import changed
from two_reports import CEO, DRAW, GENERAL, RIGHT, source, with_gates

from harness.experiment.conditions import BASELINE
from harness.experiment.heads import Head
from harness.findings.comparing.compare import VerdictChange, compare
from harness.findings.comparing.comparison_text import comparison_lines


def test_equal_reports_take_one_line() -> None:
    assert list(comparison_lines(compare(source(), source()))) == ["no difference: 5 conditions, 32 answers"]
    unpaired = compare(replace(source(), samples=None), source())
    assert list(comparison_lines(unpaired)) == [
        "no difference: 5 conditions; answers not compared, for a report has no samples"
    ]


def test_every_section() -> None:
    """Wilson: 6 of 8 is [40.9, 92.9], 4 of 8 [21.5, 78.5]; the sum of four filings 0, 0, -1, -1: p = 1/2."""
    before = source()
    after = source(
        {c: text for c, text in RIGHT.items() if c is not DRAW} | {CEO: "----", GENERAL: "++++x+--"}, name="b"
    )
    after = replace(after, data=changed(after.data, {"configuration.seed": 7}))
    before = with_gates(before, {"gate[own-all-k20]": "pass", "gate[shared-all-k20]": "pass"})
    after = with_gates(after, {"gate[own-all-k20]": "inconclusive", "gate[shared-all-k20]": "pass"})
    assert list(comparison_lines(compare(before, after))) == [
        "A  a",
        "B  b",
        "",
        "setup           A  B",
        "settings  seed  0  7",
        "",
        "conditions only in A: 1: random_control[seed0-k01]",
        "",
        "accuracy                             A            95 %           B            95 %       change",
        "within_task[k01]                 75.0%  [40.9%, 92.9%]  6/8  50.0%  [21.5%, 78.5%]  4/8   -25.0",
        "  within_task[ceo_lastname-k01]  50.0%  [15.0%, 85.0%]  2/4   0.0%   [0.0%, 49.0%]  0/4   -50.0",
        "2 other lines the same",
        "",
        "the same rows                    n  lost  gained  change             95 %      p  other answers   log p",
        "general[k02]                     8     0       0    +0.0     [+0.0, +0.0]  1.000              1  +0.000",
        "within_task[k01]                 8     2       0   -25.0   [-70.9, +20.9]  0.500              2  -0.100",
        "  within_task[ceo_lastname-k01]  4     2       0   -50.0  [-141.9, +41.9]  0.500              2  -0.200",
        "1 other line the same",
        "95 %: t over filings; p: exact, McNemar's or of filings' signs; log p: gold value's, mean change in nats",
        "",
        "verdict            A     B",
        "gate[own-all-k20]  pass  inconclusive",
        "1 other gate the same",
    ]


def test_controls_of_single_tasks_are_told_together() -> None:
    own = replace(DRAW, heads=(Head(1, 1),))
    controls = {
        replace(own, setting=f"own:{task}-seed0-k01", tasks=(task,), gate="own"): "++++"
        for task in ("ceo_lastname", "incorporation_year")
    }
    lines = list(comparison_lines(compare(source(RIGHT | controls), source(RIGHT | dict.fromkeys(controls, "+++-")))))
    assert [line.split()[0] for line in lines if "random_control" in line] == ["random_control[own-seed0-k01]"] * 2


def test_without_samples_changes_have_newcombes_intervals() -> None:
    lines = list(comparison_lines(compare(replace(source(), samples=None), source(RIGHT | {GENERAL: "+++-----"}))))
    assert "the same settings, versions, model, ranking and data" in lines
    assert any(line.endswith("  -37.5  [-67.3, +9.2]") for line in lines)
    assert lines[-1].startswith("no samples in a report: not compared row by row")


def test_rows_without_records_and_other_probabilities() -> None:
    after = source(RIGHT | {BASELINE: "." * 8, CEO: "+.--"})
    samples = [
        changed(sample, {"gold_logprob": -0.1 + 1e-6 if sample.match else -0.5}) for sample in after.samples or ()
    ]
    after = replace(after, samples=samples)
    lines = list(comparison_lines(compare(source(), after)))
    assert any("none of 8" in line for line in lines)
    assert any("1/3 of 4" in line for line in lines)
    assert "the same answers to the same rows: 23" in lines
    assert lines[-1] == "log-probabilities differ by up to 1e-06 nats where all answers of a line are equal"


def test_verdicts_that_stand_and_no_common_rows() -> None:
    same = compare(source(), source(RIGHT | {GENERAL: "........"}))
    gate = VerdictChange("gate[own-all-k20]", "pass", "pass")
    assert list(comparison_lines(replace(same, verdicts=(gate,))))[-1] == "the same verdicts of 1 gate"
    samples = [changed(sample, {"row": f"other {sample.row}"}) for sample in source().samples or ()]
    strangers = replace(source(), samples=samples)
    lines = list(comparison_lines(compare(source(), strangers)))
    assert (
        "rows only in A: 8: f0/ceo_lastname, f0/incorporation_year, f1/ceo_lastname, f1/incorporation_year, ..."
        in lines
    )
    assert lines[-1] == "no row is in both reports: nothing to compare row by row"

"""The little language of --fail-on: what it reads, what it refuses, and what each check sees."""

from dataclasses import replace

import pytest
from changed_section import changed
from two_reports import CEO, DRAW, GENERAL, RIGHT, ROWS, YEAR, source

from harness.errors import SettingsError
from harness.experiment.conditions import BASELINE
from harness.findings.comparing.compare import Comparison, VerdictChange, compare
from harness.findings.comparing.fail_expression import Check, Failure, failures, parse_checks

SAME = compare(source(), source())


def failed(expression: str, comparison: Comparison) -> tuple[Failure, ...]:
    return failures(parse_checks(expression), comparison)


def test_what_is_read() -> None:
    assert parse_checks("config, drop>0.05,within_task[ceo_lastname-k05]:fall > .1 ,transfer[a:b-k02]:p<0.01") == (
        Check("config", "config"),
        Check("drop>0.05", "drop", None, 0.05),
        Check("within_task[ceo_lastname-k05]:fall > .1", "fall", "within_task[ceo_lastname-k05]", 0.1),
        Check("transfer[a:b-k02]:p<0.01", "p", "transfer[a:b-k02]", 0.01),
    )


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "--fail-on '': no check; expected config, versions"),
        ("config,", "--fail-on 'config,': '': no check"),
        ("speed>2", "no check; expected"),
        ("fall>5%", "write 0.05 for five points"),
        ("fall>5", "'fall>5': 5; expected a fraction of 1"),
        ("fall<0.05", "expected fall>0.05: a check says what fails"),
        ("p>0.05", "expected p<0.05: a check says what fails"),
        ("fall>-0.05", "no check"),
        ("within task:fall>0.05", "no check"),
        ("__import__('os')", "no check"),
        ("baseline:config", "no check"),
    ],
)
def test_what_is_refused(expression: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_checks(expression)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_equal_reports_fail_nothing() -> None:
    assert not failed("config,versions,missing,answers,accuracy>0,fall>0,rise>0,drop>0,p<1", SAME)


def test_limits_see_the_change_on_the_same_rows() -> None:
    """General falls by 2 of 8 rows while its baseline stays; within falls by 1 of 8, in CEO by 1 of 4."""
    comparison = compare(source(), source(RIGHT | {GENERAL: "++++----", CEO: "+---"}))
    assert failed("fall>0.2", comparison) == (Failure("fall>0.2", "general[k02]: 25.0 points"),)
    assert failed("fall>0.1", comparison) == (Failure("fall>0.1", "general[k02]: 25.0 points and 1 more"),)
    assert not failed("fall>0.25,rise>0,baseline:accuracy>0", comparison)
    assert not failed("within_task:fall>0.125", comparison)
    assert failed(f"{CEO.name}:fall>0.2", comparison) == (Failure(f"{CEO.name}:fall>0.2", f"{CEO.name}: 25.0 points"),)
    assert not failed(f"{YEAR.name}:fall>0", comparison)
    assert failed("within_task[k01]:drop>0.1", comparison)[0].reason == "within_task[k01]: 12.5 points"
    back = compare(source(RIGHT | {GENERAL: "++++----", CEO: "+---"}), source())
    assert not failed("fall>0", back)
    assert failed("rise>0.2", back)[0].reason == failed("accuracy>0.2", back)[0].reason == "general[k02]: 25.0 points"


def test_a_drop_moves_with_its_baseline() -> None:
    """The baseline loses a row, the others none: every drop is 12.5 points smaller."""
    comparison = compare(source(), source(RIGHT | {BASELINE: "-+++++++"}))
    assert failed("drop>0.12", comparison) == (Failure("drop>0.12", "general[k02]: 12.5 points and 2 more"),)
    assert not failed("drop>0.125,fall>0.125", comparison)


def test_p_is_adjusted_for_the_lines_in_the_scope() -> None:
    """Four filings that all fall: 2 of 16 sign patterns. Five lines are four more chances."""
    comparison = compare(source(), source(RIGHT | {BASELINE: "-" * 8}))
    assert failed("baseline:p<0.2", comparison)[0].reason == (
        "baseline: p = 0.12 by Holm over 1 line (sign permutation 0.12)"
    )
    assert not failed("p<0.2", comparison)


def test_words() -> None:
    fewer = {condition: text for condition, text in RIGHT.items() if condition is not DRAW} | {YEAR: "xx.+"}
    after = source(fewer, rows=(replace(ROWS[0], needle_value="8"), *ROWS[1:]))
    data = changed(after.data, {"configuration.seed": 1, "versions.torch": "2.13.0"})
    after = replace(after, data=data)
    found = {each.check: each.reason for each in failed("config,versions,missing,answers", compare(source(), after))}
    assert found == {
        "config": "settings: seed: 0 -> 1 and 1 more",
        "versions": "torch: none -> 2.13.0",
        "missing": f"condition {DRAW.name} is not in B and 1 more",
        "answers": "within_task[k01]: 2 of 6 answers differ",
    }


def test_verdict_fails_on_a_pass_that_is_lost() -> None:
    def gates(*verdicts: tuple[str, str | None, str | None]) -> Comparison:
        return replace(SAME, verdicts=tuple(VerdictChange(*each) for each in verdicts))

    assert failed("verdict", gates(("gate[a]", "pass", "inconclusive"))) == (
        Failure("verdict", "gate[a]: pass -> inconclusive"),
    )
    assert failed("verdict", gates(("gate[a]", "pass", None))) == (Failure("verdict", "gate[a]: pass -> not in B"),)
    assert not failed(
        "verdict", gates(("gate[a]", "fail", "pass"), ("gate[b]", None, "fail"), ("gate[c]", "pass", "pass"))
    )


def test_verdict_fails_where_there_was_none() -> None:
    """A CI job that compares with a report of before gates were run must not be green for that."""
    nothing = (Failure("verdict", "cannot be shown: A has no gate"),)
    assert failed("verdict", SAME) == nothing
    assert failed("verdict", replace(SAME, verdicts=(VerdictChange("gate[a]", None, "pass"),))) == nothing


def test_answers_fail_where_no_condition_is_in_both() -> None:
    apart = compare(source({GENERAL: "++++++--"}), source({CEO: "++--"}))
    assert failed("answers", apart) == (Failure("answers", "nothing to compare: no such condition is in both reports"),)


def test_what_cannot_be_shown_fails() -> None:
    unpaired = compare(replace(source(), samples=None), source(RIGHT | {CEO: ".+--"}))
    assert [each.reason for each in failed("answers,baseline:p<0.01", unpaired)] == [
        "cannot be shown: a report has no samples",
        "baseline: cannot be shown: no row has samples in both reports",
    ]
    assert failed("within_task:drop>0.9", unpaired)[0].reason == (
        "within_task[k01]: cannot be shown: rows are missing in a report"
    )
    alone = compare(source({BASELINE: RIGHT[BASELINE]}), source())
    assert failed("general:fall>0.9", alone)[0].reason == "nothing to compare: no such condition is in both reports"
    with pytest.raises(SettingsError, match=r"no generall in either report; expected an experiment \(baseline\)"):
        failed("generall:fall>0.9", alone)
    assert failed("drop>0.9", alone)[0].reason.startswith("baseline: cannot be shown")

"""What a comparison says of itself."""

import json
from dataclasses import replace

import pytest
from two_reports import GENERAL, RIGHT, source

from harness.findings.comparing.compare import compare
from harness.findings.comparing.comparison import Comparison, RowChanges, VerdictChange
from harness.findings.comparing.setup_changes import SetupChange

SAME = compare(source(), source())


@pytest.mark.parametrize(
    "changed",
    [
        replace(SAME, setup=(SetupChange("settings", "seed", "0", "1"),)),
        replace(SAME, only_before=("single",)),
        replace(SAME, only_after=("single",)),
        replace(SAME, rows=RowChanges(other_value=("f0/city",))),
        replace(SAME, verdicts=(VerdictChange("gate[a]", "pass", None),)),
        compare(source(), source(RIGHT | {GENERAL: "x+++++--"})),
    ],
)
def test_any_difference_is_one(changed: Comparison) -> None:
    assert SAME.is_equal
    assert not changed.is_equal


def test_what_is_alike_is_none() -> None:
    assert replace(SAME, rows=None, verdicts=(VerdictChange("gate[a]", "fail", "fail"),)).is_equal


def test_a_change_on_the_same_rows_goes_before_that_of_the_accuracies() -> None:
    """One of the rows that were right has no record any more: 6/8 to 5/7, but nothing was lost."""
    found = next(
        line for line in compare(source(), source(RIGHT | {GENERAL: ".+++++--"})).lines if line.name == GENERAL.name
    )
    assert found.accuracy_change == pytest.approx(5 / 7 - 6 / 8)
    assert found.change == 0.0
    assert replace(found, paired=None).change == found.accuracy_change


def test_it_can_be_written_as_json() -> None:
    whole = json.loads(json.dumps(SAME.as_json(), allow_nan=False))
    assert (whole["schema_version"], whole["kind"]) == (1, "ablation-comparison")
    assert whole["lines"][0]["before"]["interval"].keys() == {"low", "high"}

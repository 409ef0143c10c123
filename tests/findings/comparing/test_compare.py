"""What a comparison says of itself.

Comparisons by hand, and what must hold of any: nothing against itself, symmetry, no order.
"""

import json
from dataclasses import replace
from random import Random

import pytest
from fake_study import make_report
from hypothesis import given, settings
from hypothesis import strategies as st
from two_reports import CEO, DRAW, GENERAL, RIGHT, ROWS, YEAR, source, with_gates

from harness.errors import ReportError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.findings.comparing.compare import Comparison, LineChange, RowChanges, Source, VerdictChange, compare
from harness.findings.comparing.setup_changes import SetupChange
from harness.findings.statistics import Interval

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


repeatable = settings(derandomize=True, deadline=None, max_examples=40)
letters = st.fixed_dictionaries(
    {condition: st.text("+-x.", min_size=len(s), max_size=len(s)) for condition, s in RIGHT.items()}
)


def line(comparison: Comparison, name: str) -> LineChange:
    (found,) = (each for each in comparison.lines if each.name == name)
    return found


def test_a_line_by_hand() -> None:
    """General: of 8 rows in 4 filings, one lost in f0, one gained in f3, one answered in other words.

    Filing sums of changes: -1, 0, 0, +1, so the mean is 0 and SE^2 = 4/3 x (1 + 1) / 64; t(.975, 3) = 3.1824.
    The signs of two filings: all four patterns are at least as far from 0 as the sum, 0.
    """
    found = line(compare(source(), source(RIGHT | {GENERAL: "-x++++-+"})), "general[k02]")
    assert (found.before.matches, found.after.matches, found.accuracy_change) == (6, 6, 0.0)
    paired = found.paired
    assert paired is not None
    assert (paired.n, paired.filings, paired.lost, paired.gained, paired.other_answers) == (8, 4, 1, 1, 3)
    assert (paired.change, paired.p, paired.test) == (0.0, 1.0, "sign permutation")
    reach = 3.1824463 * (8 / 3 / 64) ** 0.5
    assert paired.interval is not None
    assert (paired.interval.low, paired.interval.high) == pytest.approx((-reach, reach))
    assert paired.gold_logprob_change == pytest.approx(0.0, abs=1e-12)
    assert paired.logprob_gap == pytest.approx(0.4)


def test_a_gates_controls_of_every_task_are_one_line_a_draw() -> None:
    """Each task has controls of its own; with nine tasks and five draws they were 45 lines."""
    controls = {
        replace(DRAW, setting=f"own:{task}-seed{i}-k01", tasks=(task,), seed=i, gate="own"): "++++"
        for i in range(2)
        for task in ("ceo_lastname", "incorporation_year")
    }
    shared = {replace(DRAW, setting="shared-seed0-k01", gate="shared"): "++++++++"}
    names = [each.name for each in compare(source(RIGHT | controls | shared), source(RIGHT | controls | shared)).lines]
    assert [name for name in names if name.startswith("random_control")] == [
        "random_control[own-seed0-k01]",
        "random_control[own-seed1-k01]",
        "random_control[seed0-k01]",
        "random_control[shared-seed0-k01]",
    ]


def test_what_is_asked_on_rightly_answered_rows_alone_is_compared_on_these() -> None:
    """A permutation costs one of seven right rows, then two; the row that is wrong untouched counts in neither."""
    permuted = Condition("permutation", "shared-draw00-k02", (Head(0, 5), Head(0, 6)), k=2, only_right=True)
    before, after = (source(RIGHT | {BASELINE: "-+++++++", permuted: letters}) for letters in ("++-+++++", "++--++++"))
    found = line(compare(before, after), permuted.name)
    assert (found.before.requested, found.before.n, found.before.matches) == (7, 7, 6)
    assert [found.drop_before, found.drop_after] == pytest.approx([1 / 7, 2 / 7])
    assert found.paired is not None
    assert (found.paired.n, found.paired.lost) == (7, 1)
    (figures,) = (each for each in after.data.conditions if each.name == permuted.name)
    assert (figures.only_right, figures.requested, figures.drop.estimate) == (True, 7, pytest.approx(2 / 7))  # type: ignore[union-attr]
    assert permuted.name not in after.data.run.missing


def test_conditions_of_one_k_are_pooled_and_keep_their_own_lines() -> None:
    """CEO loses its two right rows: 1/2 exact of McNemar's, and 2 of 8 points pooled."""
    comparison = compare(source(), source(RIGHT | {CEO: "----"}))
    pooled = line(comparison, "within_task[k01]")
    assert pooled.conditions == (CEO.name, YEAR.name)
    assert (pooled.before.matches, pooled.after.matches, pooled.after.n) == (6, 4, 8)
    assert (pooled.drop_before, pooled.drop_after) == (0.25, 0.5)
    assert pooled.paired is not None
    assert pooled.paired.test == "sign permutation"
    ceo, year = pooled.parts
    assert ceo.name == CEO.name
    assert ceo.paired is not None
    assert (ceo.paired.lost, ceo.paired.gained, ceo.paired.p, ceo.paired.test) == (2, 0, 0.5, "mcnemar")
    assert year.is_equal
    assert [each.name for each in comparison.lines] == [
        "baseline",
        "general[k02]",
        "random_control[seed0-k01]",
        pooled.name,
    ]
    assert not pooled.is_equal
    assert line(comparison, "baseline").drop_after is None


def test_what_only_one_has_is_named() -> None:
    fewer = {condition: text for condition, text in RIGHT.items() if condition is not DRAW}
    after = source(fewer | {YEAR: "++.+"}, rows=(replace(ROWS[0], needle_value="8"), *ROWS[1:]))
    after = replace(after, samples=[each for each in after.samples or () if each.row != ROWS[-1].id])
    comparison = compare(source(), after)
    assert (comparison.only_before, comparison.only_after) == ((DRAW.name,), ())
    assert comparison.rows == RowChanges(only_before=(ROWS[-1].id,), other_value=(ROWS[0].id,))
    found = line(comparison, "within_task[k01]")
    assert found.drop_after is None  # a row is missing
    assert found.paired is not None
    assert found.paired.n == 8 - 3


def test_without_samples_nothing_is_paired() -> None:
    """6 of 8, [0.4093, 0.9285], to 3 of 8, [0.1368, 0.6943]: -0.375 less the root of 0.2382^2 + 0.1785^2, and so on."""
    comparison = compare(replace(source(), samples=None), source(RIGHT | {GENERAL: "+++-----"}))
    found = line(comparison, "general[k02]")
    assert comparison.rows is None
    assert found.paired is None
    assert found.change == pytest.approx(-3 / 8)
    assert found.interval is not None
    assert (round(found.interval.low, 3), round(found.interval.high, 3)) == (-0.673, 0.092)


def test_other_heads_and_verdicts_are_seen() -> None:
    other = replace(GENERAL, heads=(Head(0, 3), Head(1, 1)))
    before = with_gates(source(), {"gate[own-all-k20]": "pass"})
    after = source({(other if c is GENERAL else c): text for c, text in RIGHT.items()})
    after = with_gates(after, {"gate[shared-all-k20]": "fail"})
    comparison = compare(before, after)
    assert line(comparison, "general[k02]").other_heads == 1
    assert comparison.verdicts == (
        VerdictChange("gate[own-all-k20]", "pass", None),
        VerdictChange("gate[shared-all-k20]", None, "fail"),
    )
    assert not comparison.is_equal
    reordered = replace(GENERAL, heads=GENERAL.heads[::-1])
    same = compare(source(), source({(reordered if c is GENERAL else c): text for c, text in RIGHT.items()}))
    assert same.is_equal


def test_a_row_twice_is_an_error() -> None:
    twice = source(name="b")
    twice = replace(twice, samples=[*(twice.samples or ()), (twice.samples or ())[0]])
    with pytest.raises(ReportError, match=r"b: samples: row f0/ceo_lastname twice under baseline; expected it once"):
        compare(source(), twice)


def test_a_whole_study_equals_itself() -> None:
    data, samples = make_report(n_filings=3)
    comparison = compare(Source("a", data, samples), Source("b", data, samples))
    assert comparison.is_equal
    assert all(each.change == 0.0 for each in comparison.lines)
    assert {c for each in comparison.lines for c in each.conditions} == {c.name for c in data.conditions}
    json.dumps(comparison.as_json(), allow_nan=False)


@repeatable
@given(letters)
def test_nothing_against_itself(right: dict[Condition, str]) -> None:
    comparison = compare(source(right), source(right))
    assert comparison.is_equal
    assert all(each.paired is None or each.paired.p == 1.0 for each in comparison.lines)


@repeatable
@given(letters, letters)
def test_symmetric_up_to_sign(one: dict[Condition, str], other: dict[Condition, str]) -> None:
    a, b = source(one), source(other)
    there, back = compare(a, b), compare(b, a)
    for forth, reverse in zip(there.lines, back.lines, strict=True):
        assert (forth.name, forth.before, forth.after) == (reverse.name, reverse.after, reverse.before)
        assert (forth.drop_before, forth.drop_after) == (reverse.drop_after, reverse.drop_before)
        mirrored(forth.interval, reverse.interval)
        if forth.paired is None or reverse.paired is None:
            assert forth.paired is reverse.paired
            continue
        assert (forth.paired.lost, forth.paired.gained) == (reverse.paired.gained, reverse.paired.lost)
        assert forth.paired.change == -reverse.paired.change
        assert forth.paired.p == pytest.approx(reverse.paired.p)
        assert forth.paired.other_answers == reverse.paired.other_answers
        mirrored(forth.paired.interval, reverse.paired.interval)


def mirrored(there: Interval | None, back: Interval | None) -> None:
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)


@repeatable
@given(letters, letters, st.randoms(use_true_random=False))
def test_order_does_not_matter(one: dict[Condition, str], other: dict[Condition, str], random: Random) -> None:
    a, b = source(one), source(other)
    samples = list(a.samples or ())
    random.shuffle(samples)
    conditions = [
        each.model_copy(
            update={
                "per_task": dict(random.sample(list(each.per_task.items()), len(each.per_task))),
                "heads": tuple(random.sample(each.heads, len(each.heads))),
            }
        )
        for each in random.sample(a.data.conditions, len(a.data.conditions))
    ]
    shuffled = Source(a.name, a.data.model_copy(update={"conditions": tuple(conditions)}), samples)
    assert compare(shuffled, b) == compare(a, b)
    assert compare(b, shuffled) == compare(b, a)


def test_rows_of_a_filing_are_one_cluster() -> None:
    """All changes in one filing: its two rows fall together, and no test can tell it from chance."""
    found = line(compare(source(), source(RIGHT | {BASELINE: "--++++++"})), "baseline")
    assert found.paired is not None
    assert (found.paired.change, found.paired.p) == (-0.25, 1.0)

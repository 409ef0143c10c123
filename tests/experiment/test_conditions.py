"""Conditions that tests declare: each once, and the same after the way to another process."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HeadsError, SettingsError, StoreError
from harness.experiment.conditions import (
    BASELINE,
    NEEDLE_ABSENT,
    Condition,
    distinct,
    read_conditions,
    write_conditions,
)
from harness.experiment.heads import Head

MINE = Condition("mine", heads=((1, 2), (0, 3)))  # type: ignore[arg-type]  # pairs become heads


def test_a_condition_of_ones_own_takes_pairs() -> None:
    mine = Condition("mine", heads=[(17, 24), Head(3, 1)])  # type: ignore[arg-type]  # pairs are for users
    assert mine.heads == (Head(17, 24), Head(3, 1))
    assert (mine.name, mine.k, mine.k_effective, mine.tasks) == ("mine", None, 2, None)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([(17, 24), (17, 24)], "condition mine: L17H24 is given twice"),
        ([(17,)], r"condition mine: head \(17,\); expected \(layer, head\)"),
        ([17], "condition mine: head 17; expected"),
        ([(-1, 2)], r"condition mine: head \(-1, 2\); expected"),
        (["ab"], "condition mine: head 'ab'; expected"),
    ],
)
def test_heads_that_are_none_are_refused(heads: list[object], message: str) -> None:
    with pytest.raises(HeadsError, match=message):
        Condition("mine", heads=heads)  # type: ignore[arg-type]  # what a careless user does


@pytest.mark.parametrize(("experiment", "setting"), [("", ""), ("a b", ""), ("a", "ä"), ("a", "b/c"), ("a\n", "")])
def test_names_are_those_of_tests(experiment: str, setting: str) -> None:
    with pytest.raises(SettingsError, match=r"expected a name of letters, digits and _ \. : \+ - \[ \] only"):
        Condition(experiment, setting)


def test_baseline_and_needle_absent_zero_nothing() -> None:
    assert (BASELINE.name, BASELINE.heads, BASELINE.prompt) == ("baseline", (), "full")
    assert (NEEDLE_ABSENT.name, NEEDLE_ABSENT.heads, NEEDLE_ABSENT.prompt) == (
        "needle_absent",
        (),
        "needle_absent",
    )


def test_a_condition_that_is_declared_again_is_one() -> None:
    assert distinct([BASELINE, MINE, BASELINE, Condition("mine", heads=MINE.heads)]) == (BASELINE, MINE)


@pytest.mark.parametrize(
    "other",
    [
        Condition("mine", heads=(Head(1, 2),)),
        Condition("mine", heads=MINE.heads, tasks=("ceo_lastname",)),
        Condition("mine", heads=MINE.heads, prompt="needle_absent"),
    ],
)
def test_a_name_has_one_meaning(other: Condition) -> None:
    with pytest.raises(SettingsError, match=r"condition mine: declared twice with different heads or rows; .* name$"):
        distinct([MINE, other])


heads = st.lists(st.builds(Head, st.integers(0, 5), st.integers(0, 5)), unique=True, max_size=4).map(tuple)
conditions = st.builds(
    Condition,
    experiment=st.sampled_from(["mine", "within_task"]),
    setting=st.text("abk05-:+", max_size=5),
    heads=heads,
    tasks=st.none() | st.lists(st.text(max_size=3), max_size=3).map(tuple),
    k=st.none() | st.integers(1, 99),
    prompt=st.sampled_from(["full", "needle_absent"]),
    source_task=st.none() | st.text(max_size=3),
    seed=st.none() | st.integers(0, 9),
    random_match=st.sampled_from([None, "uniform", "layer"]),
    overlap=st.none() | st.integers(0, 9),
    mismatches=st.none() | st.integers(0, 9),
    controls_for=st.none() | st.text(max_size=3),
    gate=st.sampled_from([None, "own", "shared"]),
)


@settings(derandomize=True, deadline=None)
@given(first=st.lists(conditions, max_size=4), second=st.lists(conditions, max_size=4))
def test_what_is_written_is_read_each_name_once(first: list[Condition], second: list[Condition]) -> None:
    expected: dict[str, Condition] = {}
    for condition in (*first, *second):
        expected.setdefault(condition.name, condition)
    assert read_conditions([write_conditions(first), write_conditions(second)]) == tuple(expected.values())


@pytest.mark.parametrize("text", ["", "1", "[1]", "[{}]", '[{"tasks": 1}]', "[" * 100_000, "9" * 5000])
def test_declared_conditions_that_are_damaged_are_one_error(text: str) -> None:
    with pytest.raises(StoreError, match="conditions that a session declared: damaged"):
        read_conditions([text])

"""Conditions that tests declare: each once, and the same after the way to another process."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SettingsError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.declarations import distinct, read_conditions, write_conditions
from harness.experiment.heads import Head

MINE = Condition("mine", heads=((1, 2), (0, 3)))  # type: ignore[arg-type]  # pairs become heads


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
    match=st.sampled_from([None, "uniform", "layer"]),
    overlap=st.none() | st.integers(0, 9),
    mismatches=st.none() | st.integers(0, 9),
    controls_for=st.none() | st.text(max_size=3),
)


@settings(derandomize=True, deadline=None)
@given(first=st.lists(conditions, max_size=4), second=st.lists(conditions, max_size=4))
def test_what_is_written_is_read_each_name_once(first: list[Condition], second: list[Condition]) -> None:
    expected: dict[str, Condition] = {}
    for condition in (*first, *second):
        expected.setdefault(condition.name, condition)
    assert read_conditions([write_conditions(first), write_conditions(second)]) == tuple(expected.values())

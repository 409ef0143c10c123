"""Gates' conditions: whose heads, which rows, which controls, and what they are called."""

from dataclasses import replace

import pytest
from fake_study import SHAPE, TASKS, make_ranking
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HeadsError, SettingsError
from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Study, within_task
from harness.experiment.gate_conditions import (
    PLAIN_TEXT,
    Gate,
    Part,
    candidates_in_controls,
    make_gate,
    own_gate,
    shared_gate,
)
from harness.experiment.heads import Head

RANKING = make_ranking()
MATCHES = st.sampled_from(["uniform", "layer"])
STUDY = Study(RANKING, SHAPE, TASKS, (1, 2, 5, 10, 20), random_draws=3)


def test_own_heads_and_their_controls() -> None:
    gate = own_gate(STUDY, 5)
    assert gate.name == "gate[own-all-k05]"
    assert [part.retrieval for part in gate.parts] == [each for each in within_task(STUDY) if each.k == 5]
    for part, task in zip(gate.parts, TASKS, strict=True):
        assert [each.name for each in part.controls] == [f"random_control[own:{task}-seed{i}-k05]" for i in range(3)]
        assert {each.tasks for each in part.controls} == {(task,)}
        assert {each.k_effective for each in part.controls} == {5}
    same = {part.controls[0].heads for part in gate.parts}
    assert len(same) == 1, "uniform draws are the same for every task, and computed once"


def test_layer_matched_controls_match_each_tasks_own_heads() -> None:
    gate = own_gate(replace(STUDY, random_match="layer"), 5)
    for part in gate.parts:
        for control in part.controls:
            pairs = zip(control.heads, part.retrieval.heads, strict=True)
            assert sum(ours.layer != theirs.layer for ours, theirs in pairs) == control.mismatches


def test_shared_heads_run_short() -> None:
    gate = shared_gate(STUDY, 10)
    (part,) = gate.parts
    assert (gate.k, gate.k_effective, gate.name) == (10, (7, 7), "gate[shared-all-k07]")
    assert part.retrieval.tasks is None
    assert {each.k_effective for each in part.controls} == {7}
    assert part.controls[0].name == "random_control[shared-seed0-k07]"


def test_no_shared_heads() -> None:
    tasks = {task: heads[i : i + 1] for i, (task, heads) in enumerate(RANKING.tasks.items())}
    with pytest.raises(HeadsError, match="expected at least one shared head"):
        make_gate("shared", replace(STUDY, ranking=replace(RANKING, tasks=tasks, mean_scores=None)), 5)


def test_lists_of_unequal_length_are_named_by_both() -> None:
    tasks = {task: heads[: 3 + i % 2] for i, (task, heads) in enumerate(RANKING.tasks.items())}
    gate = own_gate(replace(STUDY, ranking=replace(RANKING, tasks=tasks)), 5)
    assert (gate.k_effective, gate.setting) == ((3, 4), "own-all-k03-4")


def test_an_unknown_gate() -> None:
    with pytest.raises(SettingsError, match="'mine'; expected one of own, shared"):
        make_gate("mine", STUDY, 5)


def test_everything_a_verdict_needs() -> None:
    """Each set of heads once more over plain text, on the same rows."""
    gate = shared_gate(STUDY, 5)
    asked = [each for each in gate.conditions if each.prompt != "plain_text"]
    over_text = [each for each in gate.conditions if each.prompt == "plain_text"]
    assert asked[:2] == [BASELINE, NEEDLE_ABSENT]
    assert over_text[0] == PLAIN_TEXT
    assert [each.heads for each in over_text[1:]] == [each.heads for each in asked[2:]]
    assert [each.tasks for each in over_text[1:]] == [each.tasks for each in asked[2:]]
    assert over_text[1].name == "plain_text[general[k05]]"
    assert len({each.name for each in gate.conditions}) == len(gate.conditions)
    own = own_gate(STUDY, 5)
    of_text = {each.name: each for each in own.conditions if each.prompt == "plain_text"}
    for part in own.parts:
        assert {of_text[f"plain_text[{each.name}]"].tasks for each in part.conditions} == {part.retrieval.tasks}


def test_a_control_that_holds_a_candidate_is_found() -> None:
    gate = shared_gate(STUDY, 5)
    candidates = RANKING.all_candidates()
    assert candidates_in_controls(gate, candidates) == ()
    (part,) = gate.parts
    bad = replace(part.controls[1], heads=(*part.controls[1].heads[:4], part.retrieval.heads[0]))
    spoilt = Gate("shared", 5, (Part(part.retrieval, (part.controls[0], bad)),))
    assert candidates_in_controls(spoilt, candidates) == (f"{part.retrieval.heads[0]} in {bad.name}",)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    st.sampled_from(["own", "shared"]), st.integers(1, 20), st.sampled_from(["uniform", "layer"]), st.integers(0, 99)
)
def test_controls_are_never_candidates(name: str, k: int, match: str, seed: int) -> None:
    study = replace(STUDY, seed=seed, random_match=match)  # type: ignore[arg-type]  # one of the two
    gate = make_gate(name, study, k)
    candidates = RANKING.all_candidates()
    assert candidates_in_controls(gate, candidates) == ()
    for part in gate.parts:
        for control in part.controls:
            assert len(control.heads) == len(part.retrieval.heads)
            assert isinstance(control.heads[0], Head)

"""Gates' conditions: whose heads, which rows, which draws, and what they are called."""

from dataclasses import replace
from itertools import pairwise

import pytest
from fake_study import SHAPE, TASKS, make_ranking
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HeadsError, SettingsError
from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT
from harness.experiment.experiments import Study, within_task
from harness.experiment.gate_conditions import GATES, PLAIN_TEXT, candidates_in_controls, make_gate
from harness.experiment.heads import Head, ModelShape
from harness.experiment.permutations import permutation, strata
from harness.experiment.rankings import rank

RANKING = make_ranking()
STUDY = Study(RANKING, SHAPE, TASKS, (1, 2, 5, 10, 20), random_draws=3)


def test_own_heads_and_their_draws() -> None:
    gate = make_gate("own", STUDY, (5,))
    assert gate.name == "gate[own-all-k05]"
    assert [part.largest for part in gate.parts] == [each for each in within_task(STUDY) if each.k == 5]
    assert (gate.n_controls, gate.n_permutations, gate.experiment) == (19, 19, "within_task")
    for part, task in zip(gate.parts, TASKS, strict=True):
        controls = [control for (control,) in part.controls]
        assert [each.name for each in controls] == [f"random_control[own:{task}-seed{i}-k05]" for i in range(19)]
        assert {each.tasks for each in controls} == {(task,)}
        assert {(each.k_effective, each.random_match) for each in controls} == {(5, "layer")}
        permuted = [each for (each,) in part.permutations]
        assert permuted[3].name == f"permutation[own:{task}-draw{permuted[3].seed:02d}-k05]"
        assert {each.controls_for for each in permuted} == {f"within_task[{task}-k05]"}
        assert {each.gate for each in (*controls, *permuted)} == {"own"}


def test_controls_match_each_tasks_own_heads() -> None:
    for part in make_gate("own", STUDY, (5,)).parts:
        for (control,) in part.controls:
            pairs = zip(control.heads, part.largest.heads, strict=True)
            assert sum(ours.layer != theirs.layer for ours, theirs in pairs) == control.mismatches


def test_one_permutation_serves_every_task_every_k_and_every_gate() -> None:
    study = replace(STUDY, seed=4)
    gates = [make_gate(name, study, (2, 5)) for name in GATES]
    assert len({gate.draws for gate in gates}) == 1
    for gate in gates:
        for part in gate.parts:
            for nested in part.permutations:
                drawn = permutation(strata(SHAPE), seed=4, draw=nested[0].seed or 0)
                for judged, condition in zip(part.judged, nested, strict=True):
                    assert condition.heads == drawn.image(judged.heads)
                    assert [head.layer for head in condition.heads] == [head.layer for head in judged.heads]


def test_strata_may_be_wider() -> None:
    gate = make_gate("shared", replace(STUDY, gate_strata=None), (5,))
    layers = {tuple(sorted(head.layer for head in nested[0].heads)) for nested in gate.parts[0].permutations}
    assert len(layers) > 1
    assert gate.reach.held < make_gate("shared", STUDY, (5,)).reach.held


def test_the_band_judges_every_k() -> None:
    gate = make_gate("own", STUDY, STUDY.ks)
    assert (gate.name, gate.k, gate.ks) == ("gate[own-all-band]", 20, (1, 2, 5, 10, 20))
    for part in gate.parts:
        assert [condition.k for condition in part.judged] == [1, 2, 5, 10, 20]
        for nested in part.controls:
            assert all(set(few.heads) <= set(many.heads) for few, many in pairwise(nested))


def test_shared_heads_run_short() -> None:
    gate = make_gate("shared", STUDY, (10,))
    (part,) = gate.parts
    assert (gate.k, gate.k_effective, gate.name) == (10, (7, 7), "gate[shared-all-k07]")
    assert part.largest.tasks is None
    assert {control.k_effective for (control,) in part.controls} == {7}
    assert part.controls[0][0].name == "random_control[shared-seed0-k07]"


def test_global_heads_are_judged_too() -> None:
    gate = make_gate("global", STUDY, (5,))
    assert (gate.name, gate.experiment) == ("gate[pooled-all-k05]", "global")
    assert gate.parts[0].largest.heads == tuple(each.head for each in RANKING.global_candidates()[:5])


def test_no_shared_heads() -> None:
    tasks = {task: heads[i : i + 1] for i, (task, heads) in enumerate(RANKING.tasks.items())}
    with pytest.raises(HeadsError, match="expected at least one shared head"):
        make_gate("shared", replace(STUDY, ranking=replace(RANKING, tasks=tasks, mean_scores=None)), (5,))


def test_lists_of_unequal_length_are_named_by_both() -> None:
    tasks = {task: heads[: 3 + i % 2] for i, (task, heads) in enumerate(RANKING.tasks.items())}
    gate = make_gate("own", replace(STUDY, ranking=replace(RANKING, tasks=tasks)), (5,))
    assert (gate.k_effective, gate.setting) == ((3, 4), "own-all-k03-4")


def test_an_unknown_gate() -> None:
    with pytest.raises(SettingsError, match="'mine'; expected one of own, shared, global"):
        make_gate("mine", STUDY, (5,))


def small(n_heads: int, *, tasks: int = 1) -> Study:
    """A model of three layers; the best heads of every task lie in the first."""
    first = [float(n_heads - head) for head in range(n_heads)]
    scores = {f"t{i}": [first, [0.0] * n_heads, [0.0] * n_heads] for i in range(tasks)}
    ranking = rank(scores, top_k=2, samples=dict.fromkeys(scores, 1))
    return Study(ranking, ModelShape(3, n_heads), tuple(scores), (1, 2))


def test_where_no_rank_p_of_a_twentieth_can_be_reached_what_could_is_known() -> None:
    """One head in a layer of nine: nine sets. Two of nine are 36; two layers of nine, with the third, hold 27 heads."""
    gate = make_gate("shared", small(9), (1,))
    assert (gate.reach.n_sets, gate.n_permutations, gate.reach.held) == (9, 8, 0.0)
    assert (gate.reach.enough_heads, gate.reach.enough_layers) == (2, 2)
    assert make_gate("shared", small(9), (2,)).reach.n_sets == 36
    assert make_gate("shared", small(20), (1,)).reach.enough_heads is None, "twenty are enough"


def test_where_there_are_few_sets_all_are_taken() -> None:
    gate = make_gate("shared", small(9), (2,))
    assert (gate.n_permutations, gate.n_controls) == (35, 19)
    assert len({frozenset(nested[0].heads) for nested in gate.parts[0].permutations}) == 35


def test_what_one_head_alone_could_give_is_counted_over_the_permutations() -> None:
    """Of the 36 sets of two of nine heads, 8 hold a given one: 8 / 36."""
    gate = make_gate("shared", small(9), (2,))
    assert gate.reach.one_head_p == pytest.approx(8 / 36)
    assert gate.reach.held == pytest.approx((14 * 1 / 2) / 35)


def test_everything_a_verdict_needs() -> None:
    """The judged heads and five controls once more over plain text, on the same rows, and the lowest heads."""
    gate = make_gate("own", STUDY, (5,))
    asked = [each for each in gate.conditions if each.prompt != "plain_text"]
    over_text = [each for each in gate.conditions if each.prompt == "plain_text"]
    assert asked[:2] == [BASELINE, NEEDLE_ABSENT]
    assert len(asked) == 2 + len(TASKS) * (1 + 19 + 19) + (gate.lowest is not None)
    assert over_text[0] == PLAIN_TEXT
    assert len(over_text) == 1 + len(TASKS) * (1 + 5)
    assert len({each.name for each in gate.conditions}) == len(gate.conditions)
    of_text = {each.name: each for each in over_text}
    for part in gate.parts:
        for each in (part.largest, *(nested[0] for nested in part.controls[:5])):
            found = of_text[f"plain_text[{each.name}]"]
            assert (found.heads, found.tasks) == (each.heads, part.largest.tasks)


def test_the_lowest_heads_are_as_many_and_need_all_scores() -> None:
    lowest = make_gate("shared", small(20), (2,)).lowest
    assert lowest is not None
    assert (lowest.name, lowest.k_effective, lowest.tasks) == ("bottom[k02]", 2, None)
    assert make_gate("own", replace(STUDY, ranking=replace(RANKING, mean_scores=None)), (5,)).lowest is None


def test_a_control_that_holds_a_candidate_is_found() -> None:
    gate = make_gate("shared", STUDY, (5,))
    candidates = RANKING.all_candidates()
    assert candidates_in_controls(gate, candidates) == ()
    (part,) = gate.parts
    (control,) = part.controls[1]
    bad = replace(control, heads=(*control.heads[:4], part.largest.heads[0]))
    spoilt = replace(gate, parts=(replace(part, controls=(part.controls[0], (bad,))),))
    assert candidates_in_controls(spoilt, candidates) == (f"{part.largest.heads[0]} in {bad.name}",)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.sampled_from(sorted(GATES)), st.integers(1, 20), st.integers(0, 99))
def test_controls_are_never_candidates(name: str, k: int, seed: int) -> None:
    gate = make_gate(name, replace(STUDY, seed=seed), (k,))
    assert candidates_in_controls(gate, RANKING.all_candidates()) == ()
    for part in gate.parts:
        for (control,) in part.controls:
            assert len(control.heads) == len(part.largest.heads)
            assert isinstance(control.heads[0], Head)

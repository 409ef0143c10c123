"""Each experiment's conditions, by hand, and what random controls keep to."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HeadsError, SettingsError
from harness.experiment.conditions import (
    Condition,
)
from harness.experiment.experiments import (
    EXPERIMENTS,
    Study,
    across_exclusive,
    across_task,
    bottom,
    global_heads,
    leave_one_in,
    matched,
    random_control,
    random_controls_for,
    shared_heads,
    shuffled,
    single,
    transfer,
    within_task,
)
from harness.experiment.heads import Head, ModelShape
from harness.experiment.rankings import EVERY_TASK, HeadRanking, ScoredHead, rank

SHAPE = ModelShape(4, 8)
TASKS = ("ceo_lastname", "headquarters_city", "incorporation_year")


def ranking(top_k: int = 4) -> HeadRanking:
    """Three tasks over 32 heads; all like L3H0 to L3H2 best, then each a row of heads of its own."""
    scores = {}
    for i, task in enumerate(TASKS):
        grid = [[((7 * layer + 3 * head + i) % 11) / 1000 for head in range(8)] for layer in range(4)]
        grid[3][:3] = [0.9, 0.8, 0.7 - i / 10]
        grid[i] = [0.5 - head / 100 for head in range(8)]
        scores[task] = grid
    return rank(scores, top_k=top_k)


def study(**changes: object) -> Study:
    standard = Study(ranking(), SHAPE, TASKS, (1, 2, 4))
    return replace(standard, **changes)  # type: ignore[arg-type]  # each test changes fields it knows


def by_name(conditions: tuple[Condition, ...]) -> dict[str, Condition]:
    names = {condition.name: condition for condition in conditions}
    assert len(names) == len(conditions)
    return names


def numbers(heads: tuple[Head, ...]) -> list[tuple[int, int]]:
    return [(head.layer, head.head) for head in heads]


def test_within_task_takes_a_tasks_own_best_on_its_own_rows() -> None:
    conditions = by_name(within_task(study()))
    assert list(conditions)[:3] == [f"within_task[ceo_lastname-k0{k}]" for k in (1, 2, 4)]
    assert len(conditions) == 9
    own = conditions["within_task[headquarters_city-k04]"]
    assert numbers(own.heads) == [(3, 0), (3, 1), (3, 2), (1, 0)]
    assert (own.tasks, own.k, own.source_task) == (("headquarters_city",), 4, "headquarters_city")


def test_k_has_two_digits_or_three() -> None:
    shape = ModelShape(16, 40)
    best = rank({"a": [[float(8 * i + j) for j in range(40)] for i in range(16)]}, top_k=128)
    names = [c.name for c in within_task(Study(best, shape, ("a",), (5, 20, 100, 128)))]
    assert names == ["within_task[a-k05]", "within_task[a-k20]", "within_task[a-k100]", "within_task[a-k128]"]


def test_with_too_few_heads_a_condition_keeps_its_k() -> None:
    (only,) = within_task(study(ks=(20,), tasks=("ceo_lastname",)))
    assert (only.name, only.k, only.k_effective) == ("within_task[ceo_lastname-k20]", 20, 4)


def test_across_task_takes_the_best_of_all_other_tasks_and_counts_the_overlap() -> None:
    condition = by_name(across_task(study()))["across_task[ceo_lastname-k04]"]
    means = {
        head: math.fsum(ranking().mean_scores[t][head.layer][head.head] for t in TASKS[1:]) / 2  # type: ignore[index]
        for head in SHAPE.heads()
    }
    assert list(condition.heads) == sorted(means, key=lambda head: (-means[head], head))[:4]
    assert condition.tasks == ("ceo_lastname",)
    assert condition.overlap == len(set(condition.heads) & set(ranking().candidates("ceo_lastname"))) == 3
    assert condition.source_task is None


def test_no_experiment_goes_beyond_the_candidates() -> None:
    """Heads past top_k may be in the pool that controls are drawn from."""
    for build in (within_task, across_task, global_heads, transfer):
        assert {condition.k_effective for condition in build(study(ks=(20,)))} == {4}


def test_across_exclusive_leaves_the_overlap_out() -> None:
    conditions = by_name(across_exclusive(study()))
    assert conditions["across_exclusive[ceo_lastname-k01]"].heads == ()
    (head,) = conditions["across_exclusive[ceo_lastname-k04]"].heads
    assert head not in ranking().candidates("ceo_lastname")
    assert conditions["across_exclusive[ceo_lastname-k04]"].k == 4


def test_general_takes_the_shared_heads_on_all_rows() -> None:
    conditions = by_name(shared_heads(study()))
    assert list(conditions) == ["general[k01]", "general[k02]", "general[k04]"]
    assert numbers(conditions["general[k04]"].heads) == [(3, 0), (3, 1), (3, 2)]
    assert (conditions["general[k04]"].k, conditions["general[k04]"].k_effective) == (4, 3)
    assert conditions["general[k04]"].tasks is None


def test_general_without_shared_heads_is_an_error() -> None:
    lists = {task: (ScoredHead(Head(i, 0), 1.0),) for i, task in enumerate(TASKS)}
    with pytest.raises(HeadsError, match=r"^own\.json: no head is among the candidates of 7 in 9 tasks"):
        shared_heads(study(ranking=HeadRanking("own.json", lists, 1)))


def test_global_takes_the_best_over_all_rows() -> None:
    conditions = by_name(global_heads(study()))
    assert list(conditions) == ["global[k01]", "global[k02]", "global[k04]"]
    assert conditions["global[k04]"].heads == tuple(s.head for s in ranking().global_heads()[:4])


def test_bottom_takes_the_lowest_and_needs_full_scores() -> None:
    conditions = by_name(bottom(study()))
    assert conditions["bottom[k02]"].heads == tuple(s.head for s in ranking().bottom()[:2])
    with pytest.raises(HeadsError, match="no full scores"):
        bottom(study(ranking=replace(ranking(), mean_scores=None)))


def test_transfer_is_a_map_whose_diagonal_is_within_task() -> None:
    conditions = by_name(transfer(study()))
    assert len(conditions) == 27
    there = conditions["transfer[ceo_lastname:headquarters_city-k04]"]
    assert there.heads == ranking().candidates("ceo_lastname")
    assert (there.tasks, there.source_task, there.overlap) == (("headquarters_city",), "ceo_lastname", 3)
    for own in within_task(study()):
        same = conditions[own.name.replace("within_task[", f"transfer[{own.source_task}:")]
        assert (same.heads, same.tasks, same.overlap) == (own.heads, own.tasks, own.k_effective)


def test_single_and_leave_one_in_take_the_largest_k() -> None:
    assert [c.setting for c in single(study(tasks=("ceo_lastname",), ks=(1, 2)))] == [
        "ceo_lastname-L3H0",
        "ceo_lastname-L3H1",
    ]
    conditions = by_name(leave_one_in(study(tasks=("ceo_lastname",))))
    assert next(iter(conditions)) == "leave_one_in[ceo_lastname-k04-L3H0]"
    left = conditions["leave_one_in[ceo_lastname-k04-L3H1]"]
    assert numbers(left.heads) == [(3, 0), (3, 2), (0, 0)]
    assert (left.k, left.k_effective) == (4, 3)


@pytest.mark.parametrize("match", ["uniform", "layer"])
def test_random_controls_are_nested_disjoint_from_candidates_and_told_apart(match: str) -> None:
    ours = study(random_match=match, random_draws=3)
    conditions = by_name(random_control(ours))
    assert list(conditions) == [f"random_control[seed{d}-k0{k}]" for d in range(3) for k in (1, 2, 4)]
    candidates = {head for task in TASKS for head in ranking().candidates(task)}
    for draw in range(3):
        small, middle, large = (conditions[f"random_control[seed{draw}-k0{k}]"].heads for k in (1, 2, 4))
        assert (small, middle) == (large[:1], large[:2])
        assert not candidates & set(large)
        assert len(large) == 4
    last = conditions["random_control[seed2-k04]"]
    assert (last.seed, last.random_match, last.k, last.tasks) == (2, match, 4, None)
    assert last.controls_for == "global[k04]"
    assert len({conditions[f"random_control[seed{d}-k04]"].heads for d in range(3)}) == 3


def test_draws_depend_on_seed_and_draw_and_not_on_what_else_is_asked_for() -> None:
    few = by_name(random_control(study(random_draws=2, ks=(2,))))
    many = by_name(random_control(study(random_draws=5, ks=(1, 2, 4, 8))))
    assert {name: few[name].heads for name in few} == {name: many[name].heads for name in few}
    other = by_name(random_control(study(random_draws=2, ks=(2,), seed=1)))
    assert all(other[name].heads != few[name].heads for name in few)


def test_layer_matched_controls_come_from_the_layers_they_control_for() -> None:
    controlled = Condition("general", "k03", (Head(1, 0), Head(2, 0), Head(1, 1)))
    for control in random_controls_for(study(random_match="layer"), controlled, gate="shared"):
        assert [head.layer for head in control.heads] == [1, 2, 1]
        assert control.mismatches == 0
    # layer 3 has 8 heads less 3 candidates: five are free
    eight = Condition("general", "k08", tuple(Head(3, head) for head in range(8)))
    control = random_controls_for(study(random_match="layer", ks=(4,)), eight, gate="shared")[0]
    assert [head.layer for head in control.heads] == [3] * 5 + [2] * 3
    assert control.mismatches == 3


def test_a_gates_controls_are_those_of_random_control_where_that_matches_layers_too() -> None:
    """Global heads: the first five draws of the gate's nineteen are the draws of `random_control`."""
    layers = study(ks=(4,), random_match="layer")
    (best,) = global_heads(layers)
    controls = random_controls_for(layers, best, gate="global")
    assert [c.name for c in controls] == [f"random_control[global-seed{d}-k04]" for d in range(19)]
    assert [c.heads for c in controls[:5]] == [c.heads for c in random_control(layers)]
    assert random_controls_for(study(ks=(4,)), best, gate="global") == controls, "whatever random_control does"
    assert (controls[0].controls_for, controls[0].gate, controls[0].tasks) == ("global[k04]", "global", None)
    own = random_controls_for(layers, within_task(layers)[0], gate="own")
    assert (own[0].name, own[0].tasks) == ("random_control[own:ceo_lastname-seed0-k04]", ("ceo_lastname",))


def test_controls_are_as_many_as_the_heads_they_control_for() -> None:
    (control,) = random_control(study(ks=(9,), random_draws=1))
    assert (control.k, control.k_effective) == (9, 4)


def test_a_small_pool_is_an_error_that_says_by_how_much() -> None:
    size = len(ranking().pool(SHAPE))
    k = size // 2 + 1
    with pytest.raises(HeadsError) as error:
        random_control(study(ks=(1, k)))
    assert str(error.value) == (
        f"ranking: {size} of 32 heads are left for random controls at top_k = 4; expected at least {2 * k}, "
        f"twice the largest k ({k}): {2 * k - size} short; rank with a lower top_k, or ask for a smaller k"
    )
    random_control(study(ks=(1, size // 2)))
    with pytest.raises(HeadsError, match="short"):
        random_controls_for(study(ks=(1, k)), Condition("general", heads=(Head(3, 0),)), gate="shared")


def test_every_experiment_has_a_builder_whose_names_are_distinct_and_fit_for_ids() -> None:
    conditions = [condition for build in EXPERIMENTS.values() for condition in build(study())]
    names = [condition.name for condition in conditions]
    assert len(set(names)) == len(names)
    assert {name.partition("[")[0] for name in names} == set(EXPERIMENTS)
    assert all(re.fullmatch(r"[A-Za-z0-9_.:+\-\[\]]+", name) for name in names)


def test_a_list_for_every_task_serves_all_experiments() -> None:
    heads = tuple(ScoredHead(Head(3, i), 1 - i / 10) for i in range(5))
    flat = study(ranking=HeadRanking("flat.json", {EVERY_TASK: heads}, 5, every_task=True))
    for name in set(EXPERIMENTS) - {"bottom", "random_control", "across_exclusive", "single", "leave_one_in"}:
        for condition in EXPERIMENTS[name](flat):
            assert numbers(condition.heads) == [(3, i) for i in range(condition.k or 0)]


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.integers(0, 100), st.sampled_from(["uniform", "layer"]))
def test_the_same_study_gives_the_same_conditions(seed: int, match: str) -> None:
    once, again = (study(seed=seed, random_match=match) for _ in range(2))
    assert [build(once) for build in EXPERIMENTS.values()] == [build(again) for build in EXPERIMENTS.values()]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"tasks": ()}, SettingsError, "tasks: none"),
        ({"tasks": ("ceo",)}, HeadsError, "ranking: no task ceo; expected one of ceo_lastname, "),
        ({"ks": ()}, SettingsError, "k: "),
        ({"ks": (0, 1)}, SettingsError, r"k: \(0, 1\); expected different integers from 1 up"),
        ({"ks": (2, 2)}, SettingsError, "k: "),
        ({"random_draws": 0}, SettingsError, "random draws: 0"),
        ({"shape": ModelShape(2, 8)}, HeadsError, "ranking: model: 4 layers of 8 heads"),
    ],
)
def test_a_study_that_cannot_be_done(change: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        study(**change)


CONTROLS_SHAPE = ModelShape(5, 4)
heads = st.sampled_from(CONTROLS_SHAPE.heads())


@settings(derandomize=True, deadline=None)
@given(st.sets(heads), st.sets(heads), st.integers(0, 3))
def test_heads_that_join_the_pool_leave_the_order_of_the_others(pool: set[Head], more: set[Head], draw: int) -> None:
    small = shuffled(sorted(pool), CONTROLS_SHAPE, seed=1, draw=draw)
    large = shuffled(sorted(pool | more), CONTROLS_SHAPE, seed=1, draw=draw)
    assert set(small) == pool
    assert small == tuple(head for head in large if head in pool)


def test_seed_and_draw_decide() -> None:
    pool = CONTROLS_SHAPE.heads()
    orders = {shuffled(pool, CONTROLS_SHAPE, seed=seed, draw=draw) for seed in range(3) for draw in range(3)}
    assert len(orders) == 9
    assert shuffled(pool, CONTROLS_SHAPE, seed=2, draw=1) == shuffled(pool[::-1], CONTROLS_SHAPE, seed=2, draw=1)


def test_the_order_is_the_same_on_every_machine_and_python() -> None:
    order = shuffled(ModelShape(2, 3).heads(), ModelShape(2, 3), seed=0, draw=0)
    assert [str(head) for head in order] == ["L0H0", "L0H2", "L1H2", "L1H0", "L0H1", "L1H1"]


def test_every_head_is_drawn_first_about_equally_often() -> None:
    first = [shuffled(CONTROLS_SHAPE.heads(), CONTROLS_SHAPE, seed=7, draw=draw)[0] for draw in range(2000)]
    counts = [first.count(head) for head in CONTROLS_SHAPE.heads()]
    # 100 expected, standard deviation 9.7
    assert min(counts) > 60
    assert max(counts) < 140


def test_layers_are_matched_in_turn_then_the_nearest_the_lower_of_two() -> None:
    order = [Head(3, 1), Head(0, 0), Head(1, 2), Head(3, 0), Head(1, 1)]
    assert matched(order, [Head(3, 3), Head(3, 2)]) == (Head(3, 1), Head(3, 0))
    # layer 2 has none: 1 and 3 are equally near
    assert matched(order, [Head(2, 0)]) == (Head(1, 2),)
    # layer 1 runs out: 0 is nearer than 3
    assert matched(order, [Head(1, 0)] * 3) == (Head(1, 2), Head(1, 1), Head(0, 0))
    assert matched(order, [Head(4, 0)] * 5) == (Head(3, 1), Head(3, 0), Head(1, 2), Head(1, 1), Head(0, 0))


@settings(derandomize=True, deadline=None)
@given(st.permutations(CONTROLS_SHAPE.heads()), st.lists(heads, max_size=20, unique=True), st.integers(0, 20))
def test_matching_is_nested_and_takes_each_head_once(order: list[Head], controlled: list[Head], k: int) -> None:
    drawn = matched(order, controlled)
    assert len(set(drawn)) == len(controlled)
    assert matched(order, controlled[:k]) == drawn[:k]

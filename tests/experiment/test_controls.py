from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.controls import matched, shuffled
from harness.experiment.heads import Head, ModelShape

SHAPE = ModelShape(5, 4)
heads = st.sampled_from(SHAPE.heads())


@settings(derandomize=True, deadline=None)
@given(st.sets(heads), st.sets(heads), st.integers(0, 3))
def test_heads_that_join_the_pool_leave_the_order_of_the_others(pool: set[Head], more: set[Head], draw: int) -> None:
    small = shuffled(sorted(pool), SHAPE, seed=1, draw=draw)
    large = shuffled(sorted(pool | more), SHAPE, seed=1, draw=draw)
    assert set(small) == pool
    assert small == tuple(head for head in large if head in pool)


def test_seed_and_draw_decide() -> None:
    pool = SHAPE.heads()
    orders = {shuffled(pool, SHAPE, seed=seed, draw=draw) for seed in range(3) for draw in range(3)}
    assert len(orders) == 9
    assert shuffled(pool, SHAPE, seed=2, draw=1) == shuffled(pool[::-1], SHAPE, seed=2, draw=1)


def test_the_order_is_the_same_on_every_machine_and_python() -> None:
    order = shuffled(ModelShape(2, 3).heads(), ModelShape(2, 3), seed=0, draw=0)
    assert [str(head) for head in order] == ["L0H0", "L0H2", "L1H2", "L1H0", "L0H1", "L1H1"]


def test_every_head_is_drawn_first_about_equally_often() -> None:
    first = [shuffled(SHAPE.heads(), SHAPE, seed=7, draw=draw)[0] for draw in range(2000)]
    counts = [first.count(head) for head in SHAPE.heads()]
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
@given(st.permutations(SHAPE.heads()), st.lists(heads, max_size=20, unique=True), st.integers(0, 20))
def test_matching_is_nested_and_takes_each_head_once(order: list[Head], controlled: list[Head], k: int) -> None:
    drawn = matched(order, controlled)
    assert len(set(drawn)) == len(controlled)
    assert matched(order, controlled[:k]) == drawn[:k]

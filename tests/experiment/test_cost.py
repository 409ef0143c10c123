"""Costs by hand, for a model small enough to count on fingers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.cost import (
    LayerSize,
    ModelSize,
    Speed,
    decoding_bytes,
    decoding_passes,
    group_flops,
    group_passes,
    least_seconds,
    passes_bytes,
    shared_flops,
    single_flops,
)
from harness.experiment.heads import Head

LAYER = LayerSize(attention=10, rest=100, width=4, cached=6, held=120)
SIZE = ModelSize(layers=(LAYER,) * 3, n_weights=1000, bytes_per_number=2.0)
T = 5
ATTENTION, REST, LAST = 2 * 10 * T + 2 * 4 * T * T, 2 * 100 * T, 2 * 10 * T
LEAF = 2 * 100 + 4 * 4 * T
"""What a leaf costs in the last layer: its last position alone."""
UNTOUCHED = frozenset[Head]()


def test_one_condition_alone() -> None:
    assert single_flops(SIZE, T) == 3 * (ATTENTION + REST)
    assert shared_flops(SIZE, [UNTOUCHED], T) == 2 * (ATTENTION + REST) + LAST + LEAF


def test_conditions_part_behind_the_attention_of_their_first_different_layer() -> None:
    middle = frozenset({Head(1, 0)})
    shared = shared_flops(SIZE, [UNTOUCHED, middle], T)
    assert shared == (ATTENTION + REST) + (ATTENTION + 2 * REST) + 2 * LAST + 2 * LEAF


def test_equal_conditions_cost_nothing_more() -> None:
    heads = frozenset({Head(0, 1), Head(2, 3)})
    assert shared_flops(SIZE, [heads, heads], T) == shared_flops(SIZE, [heads], T)


def test_heads_of_the_last_layer_cost_one_position() -> None:
    both = shared_flops(SIZE, [UNTOUCHED, frozenset({Head(2, 0)})], T)
    assert both - shared_flops(SIZE, [UNTOUCHED], T) == LEAF


heads = st.builds(Head, st.integers(0, 2), st.integers(0, 3))


@given(st.lists(st.frozensets(heads, max_size=4), min_size=1, max_size=8))
@settings(derandomize=True, deadline=None)
def test_sharing_never_costs_more_than_one_by_one(head_sets: list[frozenset[Head]]) -> None:
    assert shared_flops(SIZE, head_sets, T) <= len(head_sets) * single_flops(SIZE, T)
    assert shared_flops(SIZE, head_sets, T) >= shared_flops(SIZE, head_sets[:1], T)


A, B, C = (frozenset({Head(1, head)}) for head in range(3))


def test_answers_are_read_as_long_as_they_are_their_own() -> None:
    # A and B part at the second token; C is answered as A is, and ends before B does
    answers = {A: (1, 2), B: (1, 5, 6), C: (1, 2)}
    first, second, third = decoding_passes(answers, draft=(9, 9))
    assert len(first) == 1
    assert set(first) < {A, B, C}
    assert second in ((A, B), (C, B))
    assert third == (B,)


def test_what_the_draft_says_needs_no_pass_of_its_own() -> None:
    assert [len(each) for each in decoding_passes({A: (1, 2, 3), B: (1, 2, 3)}, draft=(1, 2, 3))] == [1]
    assert [len(each) for each in decoding_passes({A: (1, 2, 3, 4, 5)}, draft=(1, 2, 3))] == [1, 1]
    assert [len(each) for each in decoding_passes({A: (1, 2), B: (7, 8, 9)}, draft=(1, 2))] == [2, 1, 1]


def test_a_pass_reads_all_weights_and_each_node_once() -> None:
    # keys of layers 0 and 1 are of one node, of layer 2 of two: 6 numbers each, of 2 bytes, at T positions
    assert passes_bytes(SIZE, [(A, B)], T) == 2000 + T * 2 * 6 * (1 + 1 + 2)
    assert passes_bytes(SIZE, [(A, B), (B,)], T) == 2 * 2000 + T * 2 * 6 * (4 + 3)


def test_decoding_reads_all_weights_at_each_step_and_each_rows_cache() -> None:
    assert (SIZE.weight_bytes, SIZE.cached_bytes) == (2000, 36)
    assert decoding_bytes(SIZE, 3, 8, T) == 3 * 2000 + 8 * T * 36


def test_products_and_reading_take_their_time_one_after_the_other() -> None:
    assert least_seconds(10.0, 12.0, Speed(flops=5.0, bandwidth=4.0)) == pytest.approx(2 + 3)


def test_a_front_is_paid_once() -> None:
    """Two prompts of six tokens whose first four are the same, by hand: only what hangs on the place is not halved."""
    prompts = [(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 7, 8)]
    apart = group_flops(SIZE, prompts, [[UNTOUCHED], [UNTOUCHED]], least=99)
    assert apart == 2 * shared_flops(SIZE, [UNTOUCHED], 6)
    together = group_flops(SIZE, prompts, [[UNTOUCHED], [UNTOUCHED]], least=1)
    front = shared_flops(SIZE, [UNTOUCHED], 4) - (2 * SIZE.layers[-1].rest + 4 * SIZE.layers[-1].width * 4)
    assert together == apart - front


def test_what_only_one_row_is_asked_is_paid_once_too() -> None:
    """A set of one row alone costs its front, whoever else shares it; and no more than where nothing is shared."""
    prompts, lost = [(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 7, 8)], frozenset({Head(0, 0)})
    one = group_flops(SIZE, prompts, [[UNTOUCHED, lost], [UNTOUCHED]], least=1)
    both = group_flops(SIZE, prompts, [[UNTOUCHED, lost], [UNTOUCHED, lost]], least=1)
    assert group_flops(SIZE, prompts, [[UNTOUCHED], [UNTOUCHED]], least=1) < one < both
    assert one < group_flops(SIZE, prompts, [[UNTOUCHED, lost], [UNTOUCHED]], least=99)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), min_size=1, max_size=4),
    st.lists(st.frozensets(st.builds(Head, st.integers(0, 2), st.integers(0, 2)), max_size=3), min_size=1, max_size=4),
)
def test_a_token_runs_through_a_layer_once_for_all_that_is_the_same_there(
    prompts: list[tuple[int, int]], head_sets: list[frozenset[Head]]
) -> None:
    """Counted one by one: what a token of a layer gives hangs on the tokens up to it and the heads gone up to there."""
    read = [[word] * 40 + [number] * length for number, (word, length) in enumerate(prompts, start=7)]
    met = {
        (tuple(tokens[: n + 1]), layer, frozenset(head for head in heads if head.layer <= layer))
        for tokens in read
        for n in range(len(tokens))
        for layer in range(3)
        for heads in head_sets
    }
    assert group_passes(read, [head_sets] * len(read), 3) == len(met)

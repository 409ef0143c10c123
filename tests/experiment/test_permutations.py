"""Permutations of heads: within strata, the same for all lists, without repetition, and all where there are few."""

import math
from collections import Counter
from itertools import permutations as orders

import pytest

from harness.experiment.heads import Head, ModelShape
from harness.experiment.permutations import ALL_AT_MOST, n_images, permutation, permutations, strata

SHAPE = ModelShape(4, 5)


def heads(*pairs: tuple[int, int]) -> tuple[Head, ...]:
    return tuple(Head(layer, head) for layer, head in pairs)


def key(lists: list[tuple[Head, ...]]) -> tuple[frozenset[Head], ...]:
    return tuple(frozenset(each) for each in lists)


@pytest.mark.parametrize(
    ("n_layers", "width", "expected"),
    [(4, 1, [1, 1, 1, 1]), (4, 2, [2, 2]), (5, 2, [3, 2]), (7, 3, [4, 3]), (4, None, [4]), (4, 9, [4])],
)
def test_strata_are_neighbouring_layers_and_none_is_narrower_than_asked(
    n_layers: int, width: int | None, expected: list[int]
) -> None:
    found = strata(ModelShape(n_layers, 5), width)
    assert [len({head.layer for head in stratum}) for stratum in found] == expected
    assert [head for stratum in found for head in stratum] == list(ModelShape(n_layers, 5).heads())


def test_a_permutation_keeps_every_head_in_its_stratum() -> None:
    for width in (1, 2, None):
        within = strata(SHAPE, width)
        drawn = permutation(within, seed=3, draw=1)
        assert sorted(drawn.to.values()) == sorted(drawn.to) == list(SHAPE.heads())
        for stratum in within:
            assert set(drawn.image(stratum)) == set(stratum)


def test_draws_depend_on_seed_and_draw_alone_and_stay_what_they_are() -> None:
    within = strata(SHAPE)
    assert permutation(within, seed=0, draw=0) == permutation(within, seed=0, draw=0)
    assert permutation(within, seed=0, draw=0) != permutation(within, seed=0, draw=1)
    assert permutation(within, seed=0, draw=0) != permutation(within, seed=1, draw=0)
    image = permutation(within, seed=0, draw=0).image(SHAPE.heads()[:5])
    assert " ".join(map(str, image)) == "L0H3 L0H1 L0H2 L0H0 L0H4"


def test_every_order_of_a_stratum_is_as_likely() -> None:
    small = strata(ModelShape(1, 3))
    found = Counter(permutation(small, seed=seed, draw=0).image(small[0]) for seed in range(3000))
    assert len(found) == math.factorial(3)
    assert all(abs(count - 500) < 5 * math.sqrt(500) for count in found.values())


def test_one_permutation_serves_all_lists_so_that_overlap_and_nesting_stay() -> None:
    first, second = heads((0, 0), (0, 1), (2, 3)), heads((0, 1), (2, 3), (3, 0))
    for drawn in permutations(strata(SHAPE), [first, first[:2], second], seed=5, draws=19):
        image, begun, other = drawn.image(first), drawn.image(first[:2]), drawn.image(second)
        assert image[:2] == begun
        assert len(set(image) & set(other)) == 2
        assert [head.layer for head in image] == [head.layer for head in first]


@pytest.mark.parametrize(
    "lists",
    [
        [heads((0, 0), (0, 1))],
        [heads((0, 0)), heads((0, 1), (1, 2))],
        [heads((0, 0), (0, 1)), heads((0, 1), (0, 2))],
        [heads(*((0, i) for i in range(5)))],
    ],
)
def test_the_number_of_images_is_that_of_a_slow_count(lists: list[tuple[Head, ...]]) -> None:
    """Every permutation of two layers of five heads, 14,400 of them, applied."""
    shape = ModelShape(2, 5)
    within = strata(shape)
    found = set()
    for first in orders(within[0]):
        for second in orders(within[1]):
            to = dict(zip(shape.heads(), first + second, strict=True))
            found.add(tuple(frozenset(to[head] for head in each) for each in lists))
    assert n_images(within, lists) == len(found)
    drawn = permutations(within, lists, seed=0, draws=3)
    assert len(found) <= ALL_AT_MOST
    assert {key([each.image(one) for one in lists]) for each in drawn} == found - {key(lists)}
    assert len(drawn) == len(found) - 1
    assert [each.draw for each in drawn] == list(range(len(drawn)))


def test_where_there_are_many_images_as_many_as_asked_for_are_drawn_without_repetition() -> None:
    shape = ModelShape(1, 24)
    lists = [shape.heads()[:2]]  # 276 images
    within = strata(shape)
    assert n_images(within, lists) == 276
    drawn = permutations(within, lists, seed=1, draws=200)
    images = {key([each.image(lists[0])]) for each in drawn}
    assert len(drawn) == len(images) == 200
    assert key(lists) not in images
    assert permutations(within, lists, seed=1, draws=19) == drawn[:19]
    assert len(permutations(within, lists, seed=1, draws=1000)) == 275  # all that there are

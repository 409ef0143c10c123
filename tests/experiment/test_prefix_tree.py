"""The prefix tree: by hand, against its definition, and cut into parts."""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Head
from harness.experiment.prefix_tree import Front, cuts, prefix_forest, prefix_tree, token_trie

PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "edgar_haystack"
N_LAYERS = 4
HEADS = [Head(layer, head) for layer in range(N_LAYERS) for head in range(2)]
head_sets = st.lists(st.frozensets(st.sampled_from(HEADS), max_size=4), min_size=1, max_size=9)


def test_by_hand() -> None:
    late, early = frozenset({Head(2, 1)}), frozenset({Head(0, 0), Head(2, 1)})
    tree = prefix_tree([early, late, frozenset(), late], 3)
    assert tree.leaves == (frozenset(), late, early)
    first, second, third = tree.levels
    assert first.parents == (0, 0)
    assert first.heads == (frozenset(), frozenset({0}))
    assert first.node_of_leaf == second.node_of_leaf == (0, 0, 1)
    assert second.parents == (0, 1)
    assert second.heads == (frozenset(), frozenset())
    assert third.parents == (0, 0, 1)
    assert third.heads == (frozenset(), frozenset({1}), frozenset({1}))
    assert tree.n_nodes == 7
    assert tree.split(1, 1) == (slice(0, 2), slice(2, 3))
    assert tree.split(2, 2) == (slice(0, 2), slice(2, 3))
    assert tree.nodes(2, slice(1, 3)) == slice(1, 3)
    assert tree.nodes(-1, slice(1, 3)) == slice(0, 1)


@settings(derandomize=True, deadline=None)
@given(head_sets)
def test_a_node_is_a_distinct_prefix(sets: list[frozenset[Head]]) -> None:
    tree = prefix_tree(sets, N_LAYERS)
    assert set(tree.leaves) == set(sets)
    assert len(tree.leaves) == len(set(sets))
    nodes = {(layer, frozenset(head for head in each if head.layer <= layer)) for each in sets for layer in range(4)}
    assert tree.n_nodes == len(nodes)
    above = [0] * len(tree.leaves)
    for layer, level in enumerate(tree.levels):
        prefixes = [frozenset(head for head in leaf if head.layer <= layer) for leaf in tree.leaves]
        for i, one in enumerate(level.node_of_leaf):
            assert level.parents[one] == above[i]
            assert level.heads[one] == {head.head for head in tree.leaves[i] if head.layer == layer}
            for j, other in enumerate(level.node_of_leaf):
                assert (one == other) == (prefixes[i] == prefixes[j])
        assert list(level.node_of_leaf) == sorted(level.node_of_leaf)
        above = list(level.node_of_leaf)
    if frozenset() in sets:
        assert tree.leaves[0] == frozenset()


@settings(derandomize=True, deadline=None)
@given(head_sets, st.integers(0, N_LAYERS - 1), st.integers(1, 4))
def test_parts_are_slices_of_the_whole(sets: list[frozenset[Head]], layer: int, most: int) -> None:
    tree = prefix_tree(sets, N_LAYERS)
    runs = tree.split(layer, most)
    assert [leaf for run in runs for leaf in range(run.start, run.stop)] == list(range(len(tree.leaves)))
    for run in runs:
        part = tree.part(run)
        assert part == prefix_tree(tree.leaves[run], N_LAYERS)
        assert 1 <= len(part.levels[layer].parents) <= most
        for i, level in enumerate(part.levels):
            assert level.heads == tree.levels[i].heads[tree.nodes(i, run)]


def test_a_forest_by_hand() -> None:
    """Two prompts: of the first both sets, of the second one of them."""
    late, early = frozenset({Head(2, 1)}), frozenset({Head(0, 0)})
    forest = prefix_forest([[early, late], [early]], 3)
    assert forest.leaves == (late, early, early)
    assert forest.prompts == (0, 0, 1)
    first, second, third = forest.levels
    assert first.parents == (0, 0, 1)
    assert first.n_parents == 2
    assert first.heads == (frozenset(), frozenset({0}), frozenset({0}))
    assert second.parents == third.parents == (0, 1, 2)
    assert forest.nodes(-1, slice(1, 3)) == slice(0, 2)
    assert forest.split(-1, 1) == (slice(0, 2), slice(2, 3))
    assert forest.split(-1, 2) == (slice(0, 3),)
    last = forest.part(slice(2, 3))
    assert (last.prompts, last.leaves) == ((1,), (early,))
    assert last.nodes(-1, slice(0, 1)) == slice(0, 1)
    assert last.levels == prefix_tree([early], 3).levels


@settings(derandomize=True, deadline=None)
@given(st.lists(head_sets, min_size=1, max_size=4), st.data())
def test_a_forest_is_its_trees_side_by_side(of_prompts: list[list[frozenset[Head]]], data: st.DataObject) -> None:
    forest, trees = prefix_forest(of_prompts, N_LAYERS), [prefix_tree(sets, N_LAYERS) for sets in of_prompts]
    assert forest.leaves == tuple(leaf for tree in trees for leaf in tree.leaves)
    assert forest.n_nodes == sum(tree.n_nodes for tree in trees)
    runs = forest.split(-1, 1)
    assert [forest.prompts[run] for run in runs] == [(i,) * len(tree.leaves) for i, tree in enumerate(trees)]
    for prompt, (run, tree) in enumerate(zip(runs, trees, strict=True)):
        assert forest.nodes(-1, run) == slice(prompt, prompt + 1)
        assert forest.part(run).levels == tree.levels
        for layer in range(N_LAYERS):
            nodes = forest.nodes(layer, run)
            assert forest.levels[layer].heads[nodes] == tree.levels[layer].heads
            above = forest.nodes(layer - 1, run).start
            assert [parent - above for parent in forest.levels[layer].parents[nodes]] == list(
                tree.levels[layer].parents
            )
    start = data.draw(st.integers(0, len(forest.leaves) - 1))
    part = forest.part(slice(start, data.draw(st.integers(start + 1, len(forest.leaves)))))
    assert part.prompts == forest.prompts[start : start + len(part.leaves)]
    assert part.part(slice(0, 1)).leaves == (forest.leaves[start],)


def test_a_layer_past_the_last_is_refused() -> None:
    with pytest.raises(IndexError):
        prefix_tree([{Head(N_LAYERS, 0)}], N_LAYERS)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no published head files at {PUBLISHED}")
def test_nodes_of_the_published_lists() -> None:
    """The head lists of an 8B model at k = 1, 2, 5, 10, 20, counted for a row of registrant_name."""
    ranking = read_ranking(PUBLISHED / "ranked_heads.json")
    draw = json.loads((PUBLISHED / "random_ablation_control.json").read_text())["128"]["heads_ablated"]
    ks = (1, 2, 5, 10, 20)

    def tops(heads: list[Head]) -> list[frozenset[Head]]:
        return [frozenset(heads[:k]) for k in ks]

    own = {task: tops(list(ranking.candidates(task))) for task in ranking.tasks}
    within = [frozenset[Head](), *own["registrant_name"]]
    assert (len(within) * 32, prefix_tree(within, 32).n_nodes) == (192, 107)
    everywhere = [
        *within,
        *tops([entry.head for entry in ranking.listed_shared or ()]),
        *tops([entry.head for entry in ranking.listed_global or ()]),
        *tops([Head(layer, head) for layer, head in draw]),
    ]
    assert (len(everywhere) * 32, prefix_tree(everywhere, 32).n_nodes) == (672, 317)
    assert len(set(everywhere)) * 32 == 544
    transferred = everywhere + [top for task, sets in own.items() if task != "registrant_name" for top in sets]
    assert (len(transferred) * 32, prefix_tree(transferred, 32).n_nodes) == (1952, 720)
    assert len(set(transferred)) * 32 == 1600


LEAST = 2
PROMPTS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9).map(tuple), max_size=6)


def n_common(one: Sequence[int], other: Sequence[int]) -> int:
    """First tokens that two prompts share, the last of either left out."""
    n = 0
    while n < min(len(one), len(other)) - 1 and one[n] == other[n]:
        n += 1
    return n


def test_a_trie_by_hand() -> None:
    prompts = [(1, 2, 3, 4, 9), (1, 2, 3, 5, 9, 9), (1, 2, 3, 4, 8, 7), (6, 7, 8)]
    assert token_trie(prompts, least=3) == (
        Front(0, 3, (0, 1, 2), (Front(3, 5, (0,)), Front(3, 6, (1,)), Front(3, 6, (2,)))),
        Front(0, 3, (3,)),
    )
    (first, _) = token_trie([(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 7), (1, 2, 8, 8, 8, 8), (3, 3)], least=2)
    assert first == Front(
        0, 2, (0, 1, 2), (Front(2, 5, (0, 1), (Front(5, 6, (0,)), Front(5, 6, (1,)))), Front(2, 6, (2,)))
    )
    assert (first.depth, first.n_tokens, len(list(first.nodes()))) == (2, 2, 5)


def test_equal_prompts_part_at_their_last_token() -> None:
    (front,) = token_trie([(4, 5, 6), (4, 5, 6)], least=1)
    assert front == Front(0, 2, (0, 1), (Front(2, 3, (0,)), Front(2, 3, (1,))))


@given(prompts=PROMPTS)
def test_every_prompt_is_read_once_and_whole(prompts: list[tuple[int, ...]]) -> None:
    read: dict[int, list[tuple[int, int]]] = {number: [] for number in range(len(prompts))}
    ends = set()
    for root in token_trie(prompts, least=LEAST):
        for node in root.nodes():
            assert node.children or len(node.prompts) == 1
            assert len({prompts[number][: node.stop] for number in node.prompts}) == 1
            assert (
                sorted(node.prompts) == sorted(number for child in node.children for number in child.prompts)
                or not node.children
            )
            for number in node.prompts:
                read[number].append((node.start, node.stop))
            ends |= {number for number in node.prompts if not node.children}
    assert ends == set(read)
    for number, parts in read.items():
        assert [start for start, _ in parts] == [0, *(stop for _, stop in parts[:-1])]
        assert parts[-1][1] == len(prompts[number])


@given(prompts=PROMPTS)
def test_what_two_prompts_share_is_read_for_both_together(prompts: list[tuple[int, ...]]) -> None:
    nodes = [node for root in token_trie(prompts, least=LEAST) for node in root.nodes() if node.children]
    for i in range(len(prompts)):
        for j in range(i):
            together = sum(node.n_tokens for node in nodes if {i, j} <= set(node.prompts))
            shared = n_common(prompts[i], prompts[j])
            # less than `least` further tokens are not worth a pass of their own
            assert shared - LEAST < together <= shared
            assert together == 0 or together >= LEAST


def test_cuts_by_hand() -> None:
    """Two filings of two rows: 4 and 6 common tokens; then 3, 2, 2 and 1 of their own."""
    prompts = ["aaaabbb", "aaaacc", "ddddddee", "ddddddf"]
    asked = [[ord(letter) for letter in prompt] for prompt in prompts]
    assert cuts(asked, 0) == (4, 5), "the last token of the shortest is behind all cuts"
    assert cuts(asked, 0.9) == (4, 5)
    assert cuts(asked, 1) == (4,), "a token less of the second filing"
    assert cuts(asked, 7.9) == (4,), "eight tokens less"
    assert cuts(asked, 8) == ()
    assert cuts(asked[:1], 0) == ()
    assert cuts([asked[0], asked[0]], 0) == (6,)


@given(
    prompts=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), min_size=1, max_size=5),
    cost=st.integers(0, 4),
)
def test_cuts_leave_least_to_read(prompts: list[list[int]], cost: int) -> None:
    """As cheap as the best of all ways to cut."""

    def price(ends: Sequence[int]) -> int:
        n_read, start = cost * len(ends), 0
        for end in ends:
            n_read += (end - start) * len({tuple(prompt[:end]) for prompt in prompts})
            start = end
        return n_read + sum(len(prompt) - start for prompt in prompts)

    places = range(1, min(map(len, prompts)))
    ways = [ends for n in range(len(places) + 1) for ends in combinations(places, n)]
    chosen = cuts(prompts, cost)
    assert chosen in ways
    assert price(chosen) == min(map(price, ways))

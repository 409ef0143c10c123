"""The prefix tree: by hand, against its definition, and cut into parts."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Head
from harness.experiment.prefix_tree import prefix_tree

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
        assert part.leaves == tree.leaves[run]
        assert 1 <= len(part.levels[layer].parents) <= most
        for i, level in enumerate(part.levels):
            assert level.heads == tree.levels[i].heads[tree.nodes(i, run)]


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

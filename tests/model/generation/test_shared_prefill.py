"""A prompt shared by many conditions: breadth-first and depth-first give the same, and pass what they must."""

import weakref
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from slow_loop import slow_logits
from tiny_models import N_LAYERS, cut_weights, doubled, random_ids, tiny_loaded

from harness.experiment.heads import Head
from harness.experiment.prefix_tree import PrefixTree, prefix_forest, prefix_tree
from harness.model.generation.branching import Branching
from harness.model.generation.node_cache import NodeLayer
from harness.model.generation.room import Room
from harness.model.generation.shared_prefill import _Piece, _Walk, prefill, prefill_together
from harness.model.generation.shared_prompt import SharedPrompt, gather, read_draft, read_prefilled
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance.measures import LayerCounter

SETS = [
    frozenset[Head](),
    frozenset({Head(0, 1)}),
    frozenset({Head(0, 1), Head(2, 0)}),
    frozenset({Head(1, 3)}),
    frozenset({Head(2, 1)}),
]
PROMPT, GOLD, OTHER = random_ids(15, seed=1), random_ids(3, seed=2), random_ids(5, seed=3)

PLENTY = Room(9, 99, 0, N_LAYERS)
ROOMS = [
    PLENTY,
    *(Room(branches, branches * N_LAYERS, 0, N_LAYERS) for branches in (1, 2, 3)),
    Room(1, 99, 0, N_LAYERS),
    Room(2, 7, 0.5, N_LAYERS),
    Room(9, 99, 0, N_LAYERS, tokens=1),
    Room(2, 6, 0.5, N_LAYERS, tokens=7),
]
"""All at once; one, two, three conditions'; all held, of which one node at a time is run; runs, of which two are; a
prompt token by token; in pieces and runs."""


def logits_of(loaded: LoadedModel, heads: frozenset[Head], draft: Sequence[int]) -> torch.Tensor:
    """The plain model with its weights cut, at the prompt's last token and behind."""
    model = cut_weights(loaded.model, heads)
    return model(input_ids=torch.tensor([[*PROMPT, *draft]])).logits[0, len(PROMPT) - 1 :]  # type: ignore[no-any-return]


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma3_text"])
@pytest.mark.parametrize("room", ROOMS, ids=str)
@torch.inference_mode()
def test_drafts_are_read_for_every_leaf_in_any_order(model_type: str, room: Room) -> None:
    loaded, tree = tiny_loaded(model_type), prefix_tree(SETS, N_LAYERS)
    branching = Branching(loaded)
    seen: list[frozenset[Head]] = []
    for shared in prefill(loaded, branching, tree, PROMPT, GOLD, capacity=25, room=room):
        last = PROMPT[-1]
        # each in turn, so that none leaves a trace for the next
        other = read_draft(loaded, branching, shared, (last, *OTHER))
        gold = read_prefilled(loaded, branching, shared, (last, *GOLD))
        again = read_draft(loaded, branching, shared, (last, *OTHER))
        for leaf, heads in enumerate(shared.tree.leaves):
            expected = logits_of(loaded, heads, GOLD)
            torch.testing.assert_close(gold[leaf], expected, atol=1e-4, rtol=1e-4)
            expected = logits_of(loaded, heads, OTHER)
            torch.testing.assert_close(other[leaf], expected, atol=1e-4, rtol=1e-4)
            assert torch.equal(again[leaf], other[leaf])
        rows = gather(shared, range(len(shared.tree.leaves)))
        assert {layer.length for layer in rows.node_layers} == {len(PROMPT) - 1}
        assert {layer.keys.shape[0] for layer in rows.node_layers if layer.keys is not None} == {
            len(shared.tree.leaves)
        }
        seen += shared.tree.leaves
    branching.check()
    assert tuple(seen) == tree.leaves


PROMPTS = [random_ids(9, seed=4), random_ids(1, seed=5), PROMPT, random_ids(12, seed=6)]
DRAFTS = [GOLD, OTHER, GOLD, ()]
SETS_OF_PROMPTS = [SETS, SETS[:1], SETS[2:], SETS[1:4]]


@pytest.mark.parametrize("room", ROOMS, ids=str)
@torch.inference_mode()
def test_prompts_side_by_side_are_read_as_each_alone(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four lengths, with drafts of their own and one with none, each for other conditions; in pieces as on a GPU."""
    monkeypatch.setattr(LoadedModel, "waits_for_launches", room.tokens is not None)
    loaded, forest = doubled("llama"), prefix_forest(SETS_OF_PROMPTS, N_LAYERS)
    branching, alone = Branching(loaded), Branching(loaded)
    assert_equal = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)
    seen: list[tuple[int, frozenset[Head]]] = []
    for together in prefill_together(loaded, branching, forest, PROMPTS, DRAFTS, capacity=25, room=room):
        for shared in together:
            (number,) = set(shared.tree.prompts)
            prompt, draft = PROMPTS[number], DRAFTS[number]
            tree = prefix_tree(shared.tree.leaves, N_LAYERS)
            (other,) = prefill(loaded, alone, tree, prompt, draft, capacity=25, room=PLENTY)
            assert shared.n_held == other.n_held == len(prompt) - 1
            assert (shared.hidden is None) == (other.hidden is None) == (not draft)
            if shared.hidden is not None:
                assert_equal(shared.hidden, other.hidden)
            for layer, expected in zip(shared.layers, other.layers, strict=True):
                assert layer.length == expected.length == len(prompt) + len(draft)
                for held, single in zip(layer.buffers(), expected.buffers(), strict=True):
                    assert_equal(held[:, :, : layer.length], single[:, :, : layer.length])
            fed = (prompt[-1], *draft)
            logits = read_prefilled(loaded, branching, shared, fed)
            assert_equal(logits, read_prefilled(loaded, alone, other, fed))
        for shared in together:  # what is fed behind one leaves no trace in another
            prompt, draft = PROMPTS[shared.tree.prompts[0]], DRAFTS[shared.tree.prompts[0]]
            logits = read_draft(loaded, branching, shared, (prompt[-1], *OTHER))
            for leaf, heads in enumerate(shared.tree.leaves):
                expected_logits = slow_logits(loaded.model, [*prompt, *OTHER], heads)[len(prompt) - 1 :]
                torch.testing.assert_close(logits[leaf], expected_logits, rtol=1e-10, atol=1e-10)
            # of leaves that are given out one by one the next has nodes in common with this
            read_draft(loaded, branching, shared, (prompt[-1], *draft))
            seen += zip(shared.tree.prompts, shared.tree.leaves, strict=True)
    branching.check()
    assert seen == [*zip(forest.prompts, forest.leaves, strict=True)]
    # prompt, draft read with it, and the other draft
    assert branching.fired[0, SETS[2]] >= 4
    assert branching.fired[0, SETS[2]] == branching.fired[2, SETS[2]]
    assert branching.fired[3, SETS[2]] > 0
    assert branching.fired[1, SETS[2]] == 0


@pytest.mark.parametrize(("room", "times"), [(PLENTY, 0), (Room(2, 7, 0.5, N_LAYERS), 3)], ids=str)
@torch.inference_mode()
def test_before_each_run_memory_kept_for_reuse_goes_back(
    room: Room, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all together none, of three runs one before each, or more where a run is parted again."""
    given_back: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(len(read)))
    read: list[SharedPrompt] = []
    loaded, tree = tiny_loaded("llama"), prefix_tree(SETS, N_LAYERS)
    for shared in prefill(loaded, Branching(loaded), tree, PROMPT, GOLD, capacity=25, room=room):
        read.append(shared)
    assert (len(read), sorted({*given_back})) == (max(1, times), [*range(times)])


@torch.inference_mode()
def test_the_last_layer_is_run_for_keys_and_values_alone() -> None:
    loaded = tiny_loaded("llama")
    calls: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in loaded.model.named_modules()
        if name.endswith(("v_proj", "o_proj", "up_proj")) and ".2." in name
    ]
    branching = Branching(loaded)
    (shared,) = prefill(loaded, branching, prefix_tree(SETS, N_LAYERS), PROMPT, GOLD, capacity=25, room=PLENTY)
    assert [name.rpartition(".")[2] for name in calls] == ["v_proj"]
    # one row for each node of the level before
    assert [layer.keys.shape[0] for layer in shared.layers if layer.keys is not None] == [1, 2, 3]
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    ("room", "n_parts"),
    [
        (PLENTY, 1),
        (Room(1, 99, 0, N_LAYERS), 1),
        (Room(9, 6, 0, N_LAYERS), 1),
        (Room(9, 5, 0, N_LAYERS), 2),
        (Room(9, 5, 0, N_LAYERS, tokens=4), 2),
    ],
    ids=str,
)
@torch.inference_mode()
def test_what_fits_is_held_together_and_nothing_is_run_twice(room: Room, n_parts: int) -> None:
    """The tree's keys and values are 1 + 2 + 3 rows: room for five makes two parts, which share the first layers.

    Whoever still knows the first while the second is read keeps no memory.
    """
    loaded, tree = tiny_loaded("llama"), prefix_tree(SETS, N_LAYERS)
    with LayerCounter(loaded, len(PROMPT), most_short=0) as counter:
        parts: list[SharedPrompt] = []
        memory: list[weakref.ref[NodeLayer]] = []
        held: list[int] = []
        hook = loaded.model.model.layers[1].register_forward_pre_hook(
            lambda *_: held.append(sum(each() is not None for each in memory))
        )
        for part in prefill(loaded, Branching(loaded), tree, PROMPT, (), capacity=25, room=room):
            assert {layer.length for layer in part.layers} == {len(PROMPT)}
            parts.append(part)
            memory.append(weakref.ref(part.layers[-1]))
        hook.remove()
    assert set(held) == {0}
    assert len(parts) == n_parts
    assert [level.n_parents for level in tree.levels] == [1, 2, 3]
    assert counter.prefill_passes == pytest.approx(2 + 3)


def runs_of(walk: _Walk, tree: PrefixTree, first: int, rows: float) -> list[int]:
    """How many leaves are read together, run by run, as the walk would part them."""
    layers = [NodeLayer(1) for _ in tree.levels]
    parting = walk._parting(tree, first, layers, rows)
    if parting is None:
        return [len(tree.leaves)]
    left = rows - sum(level.n_parents for level in tree.levels[first:parting])
    runs = walk._runs(tree, parting, layers, left)
    return [found for leaves in runs for found in runs_of(walk, tree.part(leaves), parting, left)]


@pytest.mark.parametrize(("rows", "expected"), [(362, [6]), (361, [1, 5]), (234, [2, 4]), (96, [1] * 6)])
def test_a_tree_is_parted_where_runs_are_few(rows: int, expected: list[int]) -> None:
    """Nested sets part before layers 10, 15, 22, 30 and 41 of 80: 362 rows of keys and values.

    With room for 234, parted where they part first, the untouched model would be read alone, and so the next one.
    """
    heads = [Head(layer, 0) for layer in (9, 14, 21, 29, 40)]
    tree = prefix_tree([heads[:k] for k in range(6)], 80)
    assert sum(level.n_parents for level in tree.levels) == 362
    walk = _Walk(Branching(tiny_loaded("llama")), [_Piece([], [], 0)], [], Room(1, rows, 0, 80))
    assert runs_of(walk, tree, 0, rows) == expected

"""A prompt that was read is handed on to a tree that parts after it, and says what the plain model says."""

import torch
from as_the_plain_loop import SETS
from slow_loop import slow_logits
from tiny_models import N_LAYERS, random_ids, tiny_loaded

from harness.experiment.prefix_tree import prefix_tree
from harness.model.generation.branching import Branching
from harness.model.generation.room import Room
from harness.model.generation.shared_prefill import prefill
from harness.model.generation.shared_prompt import read_prefilled, spread

PROMPT, GOLD, OTHER = random_ids(15, seed=1), random_ids(3, seed=2), random_ids(5, seed=3)


@torch.inference_mode()
def test_a_prompt_of_one_leaf_is_spread_over_a_tree() -> None:
    """The untouched model read the prompt; heads are ablated from its last token on."""
    loaded, tree = tiny_loaded("llama"), prefix_tree(SETS, N_LAYERS)
    branching, last = Branching(loaded), PROMPT[-1]
    (untouched,) = prefill(
        loaded, branching, prefix_tree([()], N_LAYERS), PROMPT, (), capacity=25, room=Room(9, 99, 0, N_LAYERS)
    )
    shared = spread(untouched, tree)
    assert [layer.keys.shape[0] for layer in shared.layers if layer.keys is not None] == [1, 2, 3]
    for draft in (GOLD, OTHER, GOLD):
        logits = read_prefilled(loaded, branching, shared, (last, *draft))
        for leaf, heads in enumerate(tree.leaves):
            first = len(PROMPT) - 1
            expected = slow_logits(loaded.model, [*PROMPT, *draft], heads, first=first)[first:]
            torch.testing.assert_close(logits[leaf], expected, atol=1e-4, rtol=1e-4)
    branching.check()

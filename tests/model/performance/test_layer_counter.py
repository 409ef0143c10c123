"""Passes counted by hand: a plain loop, and the engine against the tree that it walks."""

import torch
from tiny_models import N_LAYERS, random_prompt, tiny_loaded

from harness.experiment.heads import Head
from harness.experiment.prefix_tree import prefix_tree
from harness.model.generation import engine, reference
from harness.model.performance.layer_counter import LayerCounter

PROMPT = random_prompt(20)
SETS = (frozenset[Head](), frozenset({Head(1, 0)}), frozenset({Head(1, 0), Head(2, 2)}))


def test_prefill_and_steps_of_a_model() -> None:
    loaded = tiny_loaded("llama")
    with LayerCounter(loaded, 20) as counter, torch.inference_mode():
        loaded.model(input_ids=torch.tensor([PROMPT.token_ids] * 2))
        loaded.model(input_ids=torch.tensor([[1, 2, 3]] * 5))
        loaded.model(input_ids=torch.tensor([[1]]))
    assert (counter.prefill_passes, counter.steps, counter.step_rows) == (2 * N_LAYERS, 2, 6)
    loaded.model(input_ids=torch.tensor([[1]]))
    assert counter.steps == 2, "no hook is left"


def test_the_reference_runs_every_layer_for_every_condition() -> None:
    loaded = tiny_loaded("llama")
    with LayerCounter(loaded, 20) as counter:
        reference.run_row(loaded, PROMPT, SETS, None, max_new_tokens=4)
    assert counter.prefill_passes == 3 * N_LAYERS


def test_the_engine_runs_the_nodes_of_the_tree_but_the_last_layers() -> None:
    loaded = tiny_loaded("llama")
    with LayerCounter(loaded, 20) as counter:
        engine.run_row(loaded, PROMPT, SETS, None, max_new_tokens=4)
    tree = prefix_tree(SETS, N_LAYERS)
    assert counter.prefill_passes == sum(len(level.parents) for level in tree.levels[:-1]) == 1 + 2

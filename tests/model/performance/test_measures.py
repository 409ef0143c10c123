"""What a benchmark measures beside time, by hand."""

from mmap import mmap
from pathlib import Path

import pytest
import torch
from tiny_models import N_LAYERS, random_prompt, tiny_loaded

from harness.experiment.heads import Head
from harness.experiment.prefix_tree import prefix_tree
from harness.model.generation import engine, reference
from harness.model.performance import measures
from harness.model.performance.measures import LayerCounter, PeakMemory

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
    nodes = sum(len(level.parents) for level in tree.levels[:-1])
    assert nodes == 1 + 2
    # the gold value is read behind the prompt
    assert counter.prefill_passes == pytest.approx(nodes * (20 + len(PROMPT.value_ids)) / 20)


MIB = 2**20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no Linux")
def test_what_was_held_and_let_go_counts() -> None:
    with PeakMemory(torch.device("cpu")) as before:
        pass
    # of the system, not of what the process has freed and kept
    with PeakMemory(torch.device("cpu")) as peak, mmap(-1, 64 * MIB) as held:
        held.write(b"1" * (64 * MIB))
    with PeakMemory(torch.device("cpu")) as after:
        pass
    assert before.bytes is not None
    assert peak.bytes is not None
    assert after.bytes is not None
    assert peak.bytes - before.bytes > 60 * MIB
    assert peak.bytes - after.bytes > 60 * MIB


def test_elsewhere_it_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measures, "_CLEAR_REFS", tmp_path / "none")
    with PeakMemory(torch.device("cpu")) as peak:
        pass
    assert peak.bytes is None

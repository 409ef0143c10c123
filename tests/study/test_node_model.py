"""A model on a node: what it says of itself, and how it does what it is sent, one piece behind another or together."""

from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from small_inputs import small_inputs

from harness import __version__
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.experiment.store import IN_MEMORY, Store
from harness.model.generation import engines
from harness.model.generation.engines import ModelEngine
from harness.model.generation.stages import Stages
from harness.study.inputs import Inputs
from harness.study.node_model import Equipment, Loaded, NodeModel
from harness.study.run import Run

CONDITIONS = [BASELINE, Condition("mine", "two", (Head(0, 1), Head(2, 3)))]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Two tasks' rows of four short filings, and a tiny checkpoint."""
    return small_inputs(tmp_path_factory.mktemp("inputs"), 4)


@pytest.mark.parametrize("staged", [False, True])
def test_it_says_what_it_is_and_does_what_it_is_sent(
    staged: bool, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a model that is split, rows of all pieces are in flight at once; what is no answer waits for all of them."""
    with Store(IN_MEMORY) as store:
        run = Run(inputs, store, run_id="a")
        pieces = [[run.ask(work.jobs)] for work in run.plan(CONDITIONS).work[:4]]
    engine = ModelEngine(inputs.model.load(), "shared")
    expected = [completions for ((_, _, completions),) in engine.rounds(iter(pieces))]
    turns = list[int]()
    if staged:
        staging = lambda loaded: Stages(loaded, (0, 2), note=lambda work, _: turns.append(work))  # noqa: E731  # one use
        monkeypatch.setattr(engines, "stages_of", staging)
    model = NodeModel(inputs.settings, ())
    prompt = pieces[0][0].prompt
    for number, piece in enumerate(pieces):
        model.take(number, "answer", piece)
    model.take(9, "means", [prompt, prompt])
    model.take(5, "answer", pieces[0])
    here, equipment, loaded, *came = islice(model.serve(), 3 + 4 + 2 + 1)
    assert here is None
    assert equipment == Equipment(inputs.run_key, __version__, "cpu")
    assert loaded == Loaded(4 if staged else 1, "layers 0-2 on cpu; up to 4 rows in flight" if staged else "")
    results = [each for each in came if isinstance(each, tuple)]
    found = defaultdict[int, list[Any]](list)
    for number, place, value in results:
        found[number].insert(place, value)
    for number, completions in enumerate([*expected, expected[0]]):
        (said,) = found[number if number < 4 else 5]
        assert [each.all_ids for each in said.completions] == [each.all_ids for each in completions]
    assert [means.vectors.shape for means in found[9]] == [(3, found[9][0].vectors.shape[1])] * 2
    assert [number for number, _, _ in results][4:] == [9, 9, 5]
    in_turn = [work for work, before in zip(turns[1:], turns, strict=False) if work != before]
    assert (len(in_turn) > len(pieces)) == staged

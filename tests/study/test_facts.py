"""Facts beside a study: over its store, whichever heads are zeroed, and of no task."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import save_checkpoint

from harness.demo.filings import demo_rows
from harness.errors import DataError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.head_files import write_ranking
from harness.experiment.heads import Head, ModelShape
from harness.experiment.rankings import rank
from harness.experiment.store import IN_MEMORY, Store
from harness.model.generation.engines import ModelEngine
from harness.retrieval.facts import FACTS, Fact
from harness.retrieval.rows import write_rows
from harness.settings import Settings
from harness.study.asked_model import AskedModel
from harness.study.facts import FactsRun, asked_facts, facts_lost, judged_sets
from harness.study.inputs import Inputs, read_inputs
from harness.study.judging import build_gate
from harness.study.run import Run

TASK = "ceo_lastname"
MINE = Condition("within_task", f"{TASK}-k01", (Head(0, 1),), tasks=(TASK,), k=1, source_task=TASK)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("facts")
    save_checkpoint(folder / "tiny")
    write_rows(
        [replace(r, split="evaluation") for r in demo_rows(2, n_sentences=2) if r.task == TASK], folder / "r.csv"
    )
    write_ranking(
        rank(
            {TASK: [[float(layer + head) for head in range(4)] for layer in range(3)]}, top_k=1, model=ModelShape(3, 4)
        ),
        folder / "heads.json",
    )
    return read_inputs(
        Settings(
            model=str(folder / "tiny"), data=folder / "r.csv", heads=folder / "heads.json", k=(1,), max_new_tokens=2
        )
    )


def known(inputs: Inputs) -> Fact:
    """What the tiny model says anyway, as the fact that it knows."""
    with Store(IN_MEMORY) as store:
        facts = FactsRun.beside(Run(inputs, store, run_id="a"), [FACTS[0]])
        facts.ask([], lambda: ModelEngine(inputs.model.load(), "shared"), lambda progress: None)
        (said,) = facts.answers([])
    return Fact(FACTS[0].question, said.completion.strip() or "nothing")


def test_each_set_is_asked_every_fact_and_all_is_kept(inputs: Inputs) -> None:
    with Store(IN_MEMORY) as store:
        facts = FactsRun.beside(Run(inputs, store, run_id="a"), FACTS[:3])
        assert facts.answers([MINE]) == ()
        assert not facts.is_done([MINE])
        facts.ask([MINE], lambda: ModelEngine(inputs.model.load(), "shared"), lambda progress: None)
        answers = facts.answers([MINE])
        facts.ask([MINE], lambda: pytest.fail("loaded again"), lambda progress: None)
        assert facts.is_done([MINE])
    assert [(each.condition, each.row) for each in answers] == [
        (name, f"fact00{i}/fact00{i}") for name in (BASELINE.name, MINE.name) for i in (1, 2, 3)
    ]


def test_parts_of_a_study_ask_facts_of_their_own(inputs: Inputs) -> None:
    asked = []
    for part in ((1, 2), (2, 2)):
        of_part = replace(inputs, model=AskedModel(replace(inputs.settings, part=part)))
        with Store(IN_MEMORY) as store:
            facts = FactsRun.beside(Run(of_part, store, run_id="a"), FACTS[:5])
            facts.ask([MINE], lambda: ModelEngine(inputs.model.load(), "shared"), lambda progress: None)
            asked.append({each.row for each in facts.answers([MINE])})
    assert sorted(map(len, asked)) == [2, 3]
    assert len(asked[0] | asked[1]) == 5


def test_what_a_gates_heads_cost_of_what_is_known(inputs: Inputs) -> None:
    gate = build_gate(inputs, "own")
    judged, controls = judged_sets(gate)
    assert [each.source_task for each in judged] == [TASK]
    assert len(controls) == 5
    with Store(IN_MEMORY) as store:
        run = Run(inputs, store, run_id="a")
        facts = FactsRun.beside(run, [known(inputs), FACTS[1]])
        assert facts_lost(facts, gate) is None, "nothing was asked"
        facts.ask([*judged, *controls], lambda: ModelEngine(inputs.model.load(), "shared"), lambda progress: None)
        found, answers = facts_lost(facts, gate), facts.answers([*judged, *controls])
    assert found is not None
    assert (found.asked, found.known) == (2, sum(each.match for each in answers if each.condition == BASELINE.name))
    if found.known:
        own = [each for each in answers if each.condition == judged[0].name]
        wrong = [not each.match for each in own if each.row.startswith("fact001")]
        assert found.lost == sum(wrong) / len(wrong)


def test_which_facts_the_settings_name(tmp_path: Path) -> None:
    assert asked_facts(Settings()) == ()
    assert asked_facts(Settings(facts="ours")) == FACTS
    with pytest.raises(DataError, match=r"none.toml"):
        asked_facts(Settings(facts=tmp_path / "none.toml"))

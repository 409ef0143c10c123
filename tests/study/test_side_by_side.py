"""The same heads in every way, on a tiny model: each way is a run of its own over one store."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import save_checkpoint

from harness.demo.filings import demo_rows
from harness.errors import ModelError
from harness.experiment.head_files import write_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import rank
from harness.experiment.store import Store
from harness.findings.damage import WaysData
from harness.retrieval.facts import FACTS
from harness.retrieval.rows import write_rows
from harness.settings import Settings
from harness.study.inputs import read_inputs
from harness.study.run import Run
from harness.study.side_by_side import WAYS, conditions_at, in_every_way

TASKS = ("ceo_lastname", "incorporation_year")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("ways")
    save_checkpoint(folder / "tiny")
    rows = [replace(row, split="evaluation") for row in demo_rows(3, n_sentences=2) if row.task in TASKS]
    write_rows(rows, folder / "rows.jsonl")
    scores = {task: [[float(layer + head) for head in range(4)] for layer in range(3)] for task in TASKS}
    write_ranking(rank(scores, top_k=2, model=ModelShape(3, 4)), folder / "heads.json")
    return Settings(
        model=str(folder / "tiny"),
        data=folder / "rows.jsonl",
        heads=folder / "heads.json",
        k=(1, 2),
        max_new_tokens=3,
        gate_draws=2,
        store=folder / "store.sqlite",
    )


@pytest.fixture(scope="module")
def found(settings: Settings) -> tuple[WaysData, list[str]]:
    told: list[str] = []
    return in_every_way(settings, WAYS, FACTS[:4], lambda way, progress: told.append(way)), told


def test_own_shared_and_random_heads_at_one_k(settings: Settings) -> None:
    study = replace(read_inputs(settings).study(), ks=(2,))
    conditions = conditions_at(study, 2)
    own = [each for each in conditions if each.experiment == "within_task"]
    random = [each for each in conditions if each.experiment == "random_control"]
    assert [each.experiment for each in conditions[:1]] == ["baseline"]
    assert [each.tasks for each in own] == [(task,) for task in study.tasks]
    assert {each.k for each in conditions[1:]} == {2}
    assert len(random) == 2 * len(own)
    for control in random:
        (judged,) = [each for each in own if each.name == control.controls_for]
        assert control.tasks == judged.tasks
        assert not {*control.heads} & {*judged.heads}


def test_every_way_is_told_and_set_beside_zeroing(found: tuple[WaysData, list[str]]) -> None:
    data, told = found
    assert (data.k, data.rows, data.clusters, data.draws) == (2, 6, 3, 2)
    assert [(each.way, each.mode, each.phase) for each in data.ways] == [
        (way.name, way.mode, "decode" if way.mode.endswith("edge") else way.phase) for way in WAYS
    ]
    assert list(dict.fromkeys(told)) == [*(way.name for way in WAYS), "facts", "plain text"]
    for way in data.ways:
        of = {share.experiment: share for share in way.shares if share.outcome == "accuracy"}
        assert set(of) == {"within_task", "general", "random_control"}
        assert all(share.n == 6 for share in of.values())
        assert all((share.blind is not None) == way.mode.endswith("edge") for share in of.values())
    assert [each.experiment for each in data.elsewhere] == ["within_task", "general", "random_control"]
    assert {each.facts for each in data.elsewhere} == {4}
    assert all(each.text_change is not None for each in data.elsewhere)


def test_what_is_stored_is_not_asked_again(settings: Settings, found: tuple[WaysData, list[str]]) -> None:
    told: list[str] = []
    assert in_every_way(settings, WAYS, FACTS[:4], lambda way, progress: told.append(way)) == found[0]
    assert told == []


def test_each_way_has_records_of_its_own(settings: Settings, found: tuple[WaysData, list[str]]) -> None:
    zeroed = read_inputs(replace(settings, k=(2,)))
    conditions = conditions_at(zeroed.study(), 2)
    with Store(settings.store_file) as store:
        texts = {
            way: [
                record.completion.gold_logprob
                for job, record in Run(
                    read_inputs(replace(settings, k=(2,), mode=way.mode, phase=way.phase)), store, run_id="a"
                )
                .records(conditions)
                .items()
                if job.heads
            ]
            for way in WAYS
        }
    assert len({len(of_way) for of_way in texts.values()}) == 1
    assert len({tuple(of_way) for of_way in texts.values()}) == len(WAYS)


def test_a_model_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        in_every_way(replace(settings, model=str(tmp_path / "none")), WAYS, FACTS[:1], lambda way, progress: None)

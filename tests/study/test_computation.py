"""Who answers in a session: a model on GPUs of its own, one that is split, or a cluster; and what is told of it."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import NoReturn

import pytest

from harness.experiment.conditions import Condition
from harness.experiment.heads import Head
from harness.model.generation import engines
from harness.model.generation.stages import Stages
from harness.model.loading import devices
from harness.retrieval.facts import FACTS
from harness.settings import Settings
from harness.study.asked_model import AskedModel
from harness.study.progress import Progress
from harness.study.workers import Place
from study.sessions import MINE, Sessions, ignore

SPLIT = "layers 0-2 on cpu; up to 4 rows in flight"


def test_where_a_split_models_layers_lie_is_told_before_any_row_and_reported(
    session: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a worker's model it is the main process that reports; a later run, which loads nothing, says nothing of it."""
    monkeypatch.setattr(engines, "stages_of", lambda loaded: Stages(loaded, (0, 2)))
    worker, main = session(settings, Place("run", worker=0, workers=1)), session(settings)
    told: list[Progress] = []
    for study in (worker, main):
        study.declare([MINE])
    worker.results(told.append)
    assert (told[0].rows_done, told[0].rows, told[0].notices) == (0, 6, (SPLIT,))
    assert [each.rows_done for each in told[1:]] == [1, 2, 3, 4, 5, 6]
    worker.close()
    report = main.finish("passed")
    assert report is not None
    assert report.run.notices == main.notices == (f"gw0: {SPLIT}",)
    again = session(settings, Place("again"))
    again.declare([MINE])
    report = again.finish("passed")
    assert report is not None
    assert report.run.notices == ()


def test_a_process_alone_takes_as_many_gpus_as_were_asked_for(
    session: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a number it leaves to the model's loading which it takes."""
    monkeypatch.setattr(devices, "visible_gpus", lambda: ("4", "5", "6", "7"))
    maps: list[str | None] = []
    monkeypatch.setattr(AskedModel, "load", lambda self, *, device_map, work: maps.append(device_map))
    for gpus, device_map in ((2, None), (1, "auto"), (None, "auto"), (2, "cpu")):
        with closing(session(replace(settings, gpus=gpus, device_map=device_map))) as study:
            assert study.model is None
    assert maps == ["cuda:0,cuda:1", "cuda:0", "auto", "cpu"]


class NoClusterError(Exception):
    """A cluster that was asked for."""


def test_a_cluster_is_joined_as_the_study_is_declared_if_anything_is_left(
    session: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crew_on_ray(model: AskedModel, work: Sequence[float]) -> NoReturn:
        raise NoClusterError

    monkeypatch.setattr("harness.study.computation.crew_on_ray", crew_on_ray)
    on_ray, alone = session(replace(settings, ray="auto")), session(settings)
    with pytest.raises(NoClusterError):
        on_ray.declare([MINE])
    assert on_ray.conditions == ()
    assert on_ray.finish("failed") is None
    session(replace(settings, ray="auto"), writes=False).declare([MINE])
    alone.declare([MINE])
    alone.results(ignore)
    again = session(replace(settings, ray="auto"))
    again.declare([MINE])
    assert again.results(ignore)["mine"].missing == 0
    with pytest.raises(NoClusterError):
        session(replace(settings, ray="auto")).declare([MINE, Condition("more", heads=(Head(1, 1),))])


def test_facts_that_are_left_are_a_reason_to_join_too(
    session: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crew_on_ray(model: AskedModel, work: Sequence[float]) -> NoReturn:
        raise NoClusterError

    alone = session(replace(settings, gate_draws=2))
    (gate,) = alone.gates(["own"])
    alone.declare(gate.conditions)
    alone.results(ignore)
    monkeypatch.setattr("harness.study.computation.crew_on_ray", crew_on_ray)
    session(replace(settings, gate_draws=2, ray="auto")).declare(gate.conditions)
    asked = replace(settings, gate_draws=2, facts="ours")
    with pytest.raises(NoClusterError):
        session(replace(asked, ray="auto")).declare(gate.conditions)
    monkeypatch.setattr("harness.study.facts.FACTS", FACTS[:1])
    again = session(asked)
    again.declare(gate.conditions)
    again.results(ignore)
    session(replace(asked, ray="auto")).declare(gate.conditions)

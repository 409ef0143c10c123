"""Who answers: one engine, round after round, or with several rounds in flight through a model in stages."""

import threading
from pathlib import Path

import pytest
from small_inputs import small_inputs

from harness.errors import AblationError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.experiment.plan import Job
from harness.experiment.record import Record
from harness.experiment.store import Store
from harness.model.generation import engines
from harness.model.generation.engines import ModelEngine
from harness.model.generation.stages import Stages
from harness.study.crew import Alone
from harness.study.inputs import Inputs
from harness.study.run import Run

CONDITIONS = [BASELINE, Condition("mine", "one", (Head(0, 1),)), Condition("mine", "two", (Head(0, 1), Head(2, 3)))]
RIGHT = Condition("mine", "right", (Head(1, 2),), only_right=True)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Two tasks' rows of four short filings, and a tiny checkpoint."""
    return small_inputs(tmp_path_factory.mktemp("inputs"), 4)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The model is in two stages from now on; the names of the threads that take a turn."""
    names: set[str] = set()
    monkeypatch.setattr(
        engines,
        "stages_of",
        lambda loaded: Stages(loaded, (0, 2), note=lambda row, stage: names.add(threading.current_thread().name)),
    )
    return names


def done(inputs: Inputs, store: Path) -> dict[Job, Record]:
    with Store(store) as opened:
        run = Run(inputs, opened, run_id="a")
        run.execute([*CONDITIONS, RIGHT], lambda: ModelEngine(inputs.model.load(), "shared"), lambda told: None)
        return run.records([*CONDITIONS, RIGHT])


def test_a_run_with_rows_in_flight_leaves_the_same_records(
    inputs: Inputs, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    one_by_one = done(inputs, tmp_path / "one.sqlite")
    threads: set[str] = request.getfixturevalue("threads")
    in_flight = done(inputs, tmp_path / "flight.sqlite")
    assert len(threads) > 1
    assert list(in_flight) == list(one_by_one)
    for job, record in one_by_one.items():
        assert in_flight[job].text == record.text
        assert in_flight[job].completion.all_ids == record.completion.all_ids
        assert in_flight[job].completion.gold_logprob == pytest.approx(record.completion.gold_logprob, abs=1e-4)


@pytest.mark.usefixtures("threads")
def test_what_ends_the_caller_ends_all_rows_and_what_is_said_stays(inputs: Inputs, tmp_path: Path) -> None:
    """As Ctrl-C does, in the midst of keeping an answer."""
    with Store(tmp_path / "store.sqlite") as opened:
        run = Run(inputs, opened, run_id="a")
        told: list[str | None] = []

        def stop(progress: object) -> None:
            told.append(None)
            if len(told) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run.execute(CONDITIONS, lambda: ModelEngine(inputs.model.load(), "shared"), stop)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("row in flight")]
        kept = len(run.records(CONDITIONS))
        assert 0 < kept < len(CONDITIONS) * len(inputs.rows)


@pytest.mark.usefixtures("threads")
def test_what_is_unsound_in_flight_ends_the_run(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsound(*_: object) -> None:
        raise AblationError("o_proj: 3 other elements entered it")

    monkeypatch.setattr("harness.model.generation.branching.Branching.check", unsound)
    with pytest.raises(AblationError, match="3 other elements"):
        done(inputs, tmp_path / "store.sqlite")


@pytest.mark.usefixtures("threads")
def test_how_a_model_is_laid_out_is_told(inputs: Inputs) -> None:
    told = Alone(ModelEngine(inputs.model.load(), "shared")).notices
    assert told == ("layers 0-2 on cpu; up to 4 rows in flight",)


def test_a_model_on_one_device_does_not_fly(inputs: Inputs) -> None:
    engine = ModelEngine(inputs.model.load(), "shared")
    assert engine.at_once == 1
    assert not Alone(engine).notices
    with pytest.raises(ValueError, match="one round after the other"):
        list(engine.rounds(iter([])))

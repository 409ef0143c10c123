"""Who answers: one engine, round after round, or with several rounds in flight through a model in stages."""

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from small_inputs import small_inputs
from tiny_models import random_prompt

from harness.errors import AblationError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.experiment.plan import Job
from harness.experiment.record import Ask, Completion, Record
from harness.experiment.store import Store
from harness.model.generation import engine, engines, groups
from harness.model.generation.engines import ModelEngine
from harness.model.generation.groups import Group, to_read
from harness.model.generation.stages import Stages
from harness.model.loading.loaded_model import LoadedModel
from harness.study import crew
from harness.study.crew import Alone
from harness.study.inputs import Inputs
from harness.study.progress import Progress
from harness.study.run import Run

CONDITIONS = [BASELINE, Condition("mine", "one", (Head(0, 1),)), Condition("mine", "two", (Head(0, 1), Head(2, 3)))]
SETS = tuple(frozenset(condition.heads) for condition in CONDITIONS)
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


def test_a_run_with_prompts_side_by_side_leaves_the_same_records(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, of several filings at once; jobs that hang on an answer come in a second round."""
    one_by_one = done(inputs, tmp_path / "one.sqlite")
    read: list[int] = []

    def noted(loaded: LoadedModel, asks: Sequence[Ask], least: int) -> Iterator[Group]:
        for group in to_read(loaded, asks, least):
            read.append(len(group.asks) if group.side_by_side else 0)
            yield group

    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    monkeypatch.setattr(engine, "to_read", noted)
    monkeypatch.setattr(groups, "SIDE_BY_SIDE", 4)
    together = done(inputs, tmp_path / "together.sqlite")
    assert set(read) == {4}
    assert list(together) == list(one_by_one)
    for job, record in one_by_one.items():
        assert together[job].text == record.text
        assert together[job].completion.all_ids == record.completion.all_ids
        assert together[job].completion.gold_logprob == pytest.approx(record.completion.gold_logprob, abs=1e-4)


@dataclass(frozen=True)
class Asked:
    """A round."""

    asks: Sequence[Ask]


class Together(FakeEngine):
    """Answers all rounds there are at once, after a while."""

    at_once = 2

    def rounds(
        self, rounds: Iterator[Sequence[Ask] | None]
    ) -> Generator[Sequence[tuple[int, int, tuple[Completion, ...]]], None, None]:
        taken: list[Sequence[Ask]] = []
        for place, asks in enumerate(rounds):
            if asks is not None:
                taken.append(asks)
                continue
            time.sleep(0.01)
            yield [(place - 1 - n, 0, self.answer(one[0])) for n, one in enumerate(reversed(taken))]
            taken.clear()


def test_what_is_answered_together_shares_the_seconds_by_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    """It had all gone to whichever came first. Waiting for a round is nobody's time."""
    waits: list[float] = []
    monkeypatch.setattr(crew, "WAIT_SECONDS", 0.05)
    one, three = (Ask(random_prompt(9), SETS[:n], None) for n in (1, 3))
    rounds = [None, Asked([one]), Asked([three]), None]
    began = time.perf_counter()
    (answers,) = Alone(Together()).answer(iter(rounds))
    waits.append(time.perf_counter() - began)
    (of_three, of_one) = (said.seconds for _, _, said in answers)
    assert 0.01 <= of_one + of_three <= waits[0] - 0.05
    assert of_three == pytest.approx(3 * of_one)


def test_rows_that_are_answered_together_are_told_of_at_once(inputs: Inputs, tmp_path: Path) -> None:
    """The first of them was told of alone, as if it had taken as long as all, and shown until the next came."""
    told: list[tuple[int, int]] = []

    class AllAtOnce(FakeEngine):
        def rounds(self, rounds):  # type: ignore[no-untyped-def]  # the protocol's
            asked = list(takewhile(lambda asks: asks is not None, rounds))
            yield [(place, n, self.answer(ask)) for place, asks in enumerate(asked) for n, ask in enumerate(asks)]

    def note(progress: Progress) -> None:
        told.append((progress.rows_done, len(progress.just_done)))

    with Store(tmp_path / "store.sqlite") as opened:
        run = Run(replace(inputs, rows=inputs.rows[:4]), opened, run_id="a")
        run.execute(CONDITIONS, AllAtOnce, note)
        seconds = {record.seconds for record in run.records(CONDITIONS).values()}
    assert told == [(4, 4)]
    assert len(seconds) == 1

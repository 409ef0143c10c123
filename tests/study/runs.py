"""Runs of a small study with a fake engine, and conditions to ask of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from fake_engine import FakeEngine

from harness.experiment.conditions import Condition
from harness.experiment.heads import Head
from harness.experiment.store import Store
from harness.study.inputs import Inputs
from harness.study.progress import Progress
from harness.study.run import Run

ONE = Condition("mine", "one", (Head(0, 1),))
SAME = Condition("mine", "same", (Head(0, 1),))
TWO = Condition("mine", "two", (Head(0, 1), Head(2, 3)))


def nothing_to_load() -> NoReturn:
    raise AssertionError("the model was loaded, but everything is stored")


def execute(
    inputs: Inputs,
    store: Path,
    conditions: Sequence[Condition],
    *,
    run_id: str = "a",
    load: Callable[[], FakeEngine] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> FakeEngine:
    engine = FakeEngine()
    with Store(store) as opened:
        Run(inputs, opened, run_id=run_id).execute(conditions, load or (lambda: engine), progress)
    return engine


def ids_of(inputs: Inputs) -> list[str]:
    return [row.id for row in inputs.rows]

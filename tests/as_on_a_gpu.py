"""A model on the CPU that is taken for one on a GPU: what is asked of it goes the ways of a GPU, slower than its own.

Which way is a rule over the model's figures (`harness.model.generation.groups`), and these are what is made up here:
that it waits for launches, and how much each of its layers computes. Nothing else of it is another model's.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from harness.experiment.conditions import BASELINE
from harness.experiment.experiments import EXPERIMENTS
from harness.experiment.record import Ask, Completion
from harness.experiment.store import Store
from harness.model.generation.engines import ModelEngine
from harness.model.loading.loaded_model import LoadedModel
from harness.settings import Settings
from harness.study.inputs import read_inputs
from harness.study.run import Run

BUSY = 10**9
"""Numbers in a layer of a model that keeps a GPU busy with any prompt."""


class _OnGpu(LoadedModel):
    """It says what a GPU's would."""

    waits_for_launches = True


def as_on_a_gpu(loaded: LoadedModel, *, busy: bool) -> LoadedModel:
    """The same model, its prompts read side by side, or, where one keeps the GPU `busy`, behind what they share."""
    held = {each.name: getattr(loaded, each.name) for each in fields(loaded)}
    if busy:
        layers = tuple(replace(layer, rest=BUSY) for layer in loaded.size.layers)
        held["size"] = replace(loaded.size, layers=layers)
    return _OnGpu(**held)


class _ByTwos(ModelEngine):
    """Never has more than two rounds at once; notes how many prompts were answered together."""

    def rounds(
        self, rounds: Iterator[Sequence[Ask] | None]
    ) -> Generator[Sequence[tuple[int, int, tuple[Completion, ...]]], None, None]:
        for together in super().rounds(_by_twos(rounds)):
            with Path("together.txt").open("a") as file:
                file.write(f"{len(together)}\n")
            yield together


def _by_twos(rounds: Iterator[Sequence[Ask] | None]) -> Iterator[Sequence[Ask] | None]:
    for number, asks in enumerate(rounds, start=1):
        yield asks
        if number % 2 == 0:
            yield None


def run_study(*, busy: bool) -> None:
    """The study of the project in this folder (`tests/plugin/project.py`), within and general, in its usual store."""
    here = Path.cwd()
    settings = Settings(
        model=str(here / "tiny"),
        data=here / "rows.csv",
        heads=here / "heads.json",
        k=(1, 2),
        max_new_tokens=3,
        reports=here / "reports",
    )
    inputs = read_inputs(settings)
    conditions = [
        BASELINE,
        *(each for name in ("within_task", "general") for each in EXPERIMENTS[name](inputs.study())),
    ]
    with Store(settings.store_file) as store:
        Run(inputs, store, run_id="on a gpu").execute(
            conditions,
            lambda: _ByTwos(as_on_a_gpu(inputs.model.load(), busy=busy), "shared"),
            lambda told: None,
        )

"""The ways of computing completions, by the names that users give: `shared`, and `reference`, its oracle.

A way is a module with `run_rows` and `ENGINE_VERSION`, which changes whenever the meaning of what it computes does.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType, ModuleType

from harness.experiment.intervention import MeanValues
from harness.experiment.record import Ask, Completion
from harness.model.generation import engine, reference
from harness.model.generation.groups import rounds_at_once
from harness.model.generation.stages import Stages, stages_of
from harness.model.intervention.head_values import mean_values
from harness.model.loading.devices import device_names
from harness.model.loading.loaded_model import LoadedModel
from harness.model.loading.spread import stages_in_words
from harness.retrieval.prompts import Prompt

ENGINES = MappingProxyType[str, ModuleType]({"shared": engine, "reference": reference})
"""The module of each way."""


def engine_version(name: str) -> str:
    """The way and the version of its meaning, as records are kept under."""
    return f"{name}-{ENGINES[name].ENGINE_VERSION}"


@dataclass(frozen=True, eq=False)
class ModelEngine:
    """A loaded model and the way in which a run computes with it."""

    loaded: LoadedModel
    way: str

    @cached_property
    def _stages(self) -> Stages | None:
        return stages_of(self.loaded) if ENGINES[self.way] is engine else None

    @property
    def layout(self) -> str:
        """Where layers lie, and how many rows may be in flight, in words; empty where all lie on one device."""
        if self._stages is None:
            return ""
        places = [str(turn.device) for turn in self._stages.turns]
        return f"{stages_in_words(places)}; up to {self.at_once} rows in flight"

    @property
    def at_once(self) -> int:
        """Of how many rounds rows may be answered at once.

        Of more than one in a model that is split over GPUs, and in one that is so small that prompts are read side by
        side.
        """
        if self._stages is not None:
            return self._stages.n_turns + engine.SPARE
        return rounds_at_once(self.loaded) if ENGINES[self.way] is engine else 1

    def rounds(
        self, rounds: Iterator[Sequence[Ask] | None]
    ) -> Generator[Sequence[tuple[int, int, tuple[Completion, ...]]], None, None]:
        """Prompts' rounds, numbers there and completions (`harness.model.generation.reference.run_row`), as they are
        done: what is given out together was answered together. `None` is no round at the moment."""
        if self._stages is not None:
            yield from engine.run_rounds(self.loaded, rounds, self._stages)
        elif ENGINES[self.way] is engine:
            yield from engine.run_side_by_side(self.loaded, rounds)
        else:
            asked = (asks for asks in rounds if asks is not None)
            for place, asks in enumerate(asked):
                for number, completions in reference.run_rows(self.loaded, asks):
                    yield [(place, number, completions)]

    @cached_property
    def device(self) -> str:
        """The name of the card that the model is on, of each where it is on several; `cpu` without one."""
        return device_names(self.loaded.model)

    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None]) -> MeanValues:
        """What every head puts out on average; the same in all ways."""
        return mean_values(self.loaded, prompts, note)

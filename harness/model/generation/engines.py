"""The ways of computing completions, by the names that users give: `shared`, and `reference`, its oracle.

A way is a module with `run_rows` and `ENGINE_VERSION`, which changes whenever the meaning of what it computes does.
"""

from collections.abc import Callable, Iterator, Sequence
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

    def __call__(self, asks: Sequence[Ask]) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Each ask's number and completions, as it is done (`harness.model.generation.reference.run_row`)."""
        if self._stages is None:
            yield from ENGINES[self.way].run_rows(self.loaded, asks)
            return
        for _, number, completions in engine.run_rounds(self.loaded, iter([asks]), self._stages):
            yield number, completions

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
    ) -> Iterator[Sequence[tuple[int, int, tuple[Completion, ...]]]]:
        """Prompts' rounds, numbers there and completions, as they are done; `None` is no round at the moment."""
        if self._stages is not None:
            for answer in engine.run_rounds(self.loaded, rounds, self._stages):
                yield [answer]
        elif self.at_once > 1:
            yield from engine.run_side_by_side(self.loaded, rounds)
        else:
            raise ValueError("a model whose prompts are read one by one answers one round after the other")

    @cached_property
    def device(self) -> str:
        """The name of the card that the model is on, of each where it is on several; `cpu` without one."""
        return device_names(self.loaded.model)

    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None]) -> MeanValues:
        """What every head puts out on average; the same in all ways."""
        return mean_values(self.loaded, prompts, note)

"""The ways of computing completions, by the names that users give: `shared`, and `reference`, its oracle.

A way is a module with `run_row` and `ENGINE_VERSION`, which changes whenever the meaning of what it computes does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType, ModuleType

from harness.experiment.completion import Completion
from harness.experiment.heads import Head
from harness.experiment.intervention import Intervention, MeanValues
from harness.model.generation import engine, reference
from harness.model.intervention.head_values import mean_values
from harness.model.loading.devices import device_names
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt, most_new_tokens

ENGINES = MappingProxyType[str, ModuleType]({"shared": engine, "reference": reference})
"""The module of each way."""


def engine_version(name: str) -> str:
    """The way and the version of its meaning, as records are kept under."""
    return f"{name}-{ENGINES[name].ENGINE_VERSION}"


@dataclass(frozen=True, eq=False, slots=True)
class ModelEngine:
    """A loaded model and the way in which a run computes with it."""

    loaded: LoadedModel
    way: str
    max_new_tokens: int

    def __call__(
        self,
        prompt: Prompt,
        head_sets: Sequence[frozenset[Head]],
        baseline_ids: tuple[int, ...] | None,
        intervention: Intervention,
    ) -> Sequence[Completion]:
        """A completion for each head set (`harness.model.generation.reference.run_row`)."""
        most = most_new_tokens(prompt.kind, self.max_new_tokens)
        completions: Sequence[Completion] = ENGINES[self.way].run_row(
            self.loaded, prompt, head_sets, baseline_ids, intervention, max_new_tokens=most
        )
        return completions

    @property
    def device(self) -> str:
        """The name of the card that the model is on, of each where it is on several; `cpu` without one."""
        return device_names(self.loaded.model)

    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None]) -> MeanValues:
        """What every head puts out on average; the same in all ways."""
        return mean_values(self.loaded, prompts, note)

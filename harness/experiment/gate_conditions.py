"""Gates' conditions: which heads a gate judges, what it compares them with, and which rows it pools.

Two gates. `own`: each task's own top-k, every row with its own task's heads. `shared`: the top-k shared heads. Each has
a control a draw: as many random heads, on the same rows. Beside them stand the untouched model, the untouched model
without the needle, and for each set of heads the same heads over plain text (`harness.retrieval.prompts`).

Knows no results: what a gate concludes is `harness.findings.verdicts.gates`'s.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness.choices import GateHeads
from harness.errors import SettingsError
from harness.experiment.conditions import (
    BASELINE,
    NEEDLE_ABSENT,
    Condition,
    Study,
    random_controls_for,
    shared_heads,
    within_task,
)
from harness.experiment.heads import Head

PLAIN_TEXT = Condition("plain_text", prompt="plain_text")
"""The model untouched, over plain text."""


@dataclass(frozen=True)
class Part:
    """Retrieval heads and, for each draw, the random heads that control for them; on the same rows."""

    retrieval: Condition
    controls: tuple[Condition, ...]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All of them, the retrieval heads first."""
        return (self.retrieval, *self.controls)


@dataclass(frozen=True)
class Gate:
    """What is judged together: the parts cover different rows, which are pooled.

    `heads` says whose are judged, `own` or `shared`, and is the gate's name among `GATES`. `k` of them were asked for.
    """

    heads: GateHeads
    k: int
    parts: tuple[Part, ...]

    @property
    def experiment(self) -> str:
        """The experiment that zeroes these heads."""
        return self.parts[0].retrieval.experiment

    @property
    def k_effective(self) -> tuple[int, int]:
        """The fewest and the most heads that a part really has."""
        sizes = [part.retrieval.k_effective for part in self.parts]
        return min(sizes), max(sizes)

    @property
    def setting(self) -> str:
        """As `own-all-k20`; named by the heads that there are, not by those asked for."""
        fewest, most = self.k_effective
        return f"{self.heads}-all-k{most:02d}" if fewest == most else f"{self.heads}-all-k{fewest:02d}-{most}"

    @property
    def name(self) -> str:
        """As `gate[own-all-k20]`."""
        return f"gate[{self.setting}]"

    @property
    def n_draws(self) -> int:
        """Random draws, of every part."""
        return min(len(part.controls) for part in self.parts)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Everything that the verdict needs."""
        compared = [condition for part in self.parts for condition in part.conditions]
        return (BASELINE, NEEDLE_ABSENT, *compared, PLAIN_TEXT, *map(over_plain_text, compared))


def own_gate(study: Study, k: int) -> Gate:
    """Each task's own top-k, on that task's rows."""
    best = within_task(replace(study, ks=(k,)))
    return Gate("own", k, tuple(_part(study, condition, "own") for condition in best))


def shared_gate(study: Study, k: int) -> Gate:
    """The top-k shared heads, on all rows. A HeadsError where no head is shared."""
    (shared,) = shared_heads(replace(study, ks=(k,)))
    return Gate("shared", k, (_part(study, shared, "shared"),))


GATES: Mapping[str, Callable[[Study, int], Gate]] = MappingProxyType({"own": own_gate, "shared": shared_gate})
"""Every gate's builder by its name."""


def make_gate(name: str, study: Study, k: int) -> Gate:
    """The gate of this name.

    Raises:
        SettingsError: there is none.
        HeadsError: the ranking holds no such heads, or too few are left for controls.
    """
    if name not in GATES:
        raise SettingsError(f"ablation_gate marker: {name!r}; expected one of {', '.join(GATES)}")
    return GATES[name](study, k)


def over_plain_text(condition: Condition) -> Condition:
    """The same heads on the same rows' documents, over plain text."""
    return Condition("plain_text", condition.name, condition.heads, tasks=condition.tasks, prompt="plain_text")


def candidates_in_controls(gate: Gate, candidates: Collection[Head]) -> tuple[str, ...]:
    """Control heads that are candidates, each with its condition; none, unless something is wrong."""
    return tuple(
        f"{head} in {control.name}"
        for part in gate.parts
        for control in part.controls
        for head in control.heads
        if head in candidates
    )


def _part(study: Study, retrieval: Condition, gate: GateHeads) -> Part:
    return Part(retrieval, random_controls_for(study, retrieval, gate=gate))

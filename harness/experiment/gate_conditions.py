"""Gates' conditions: which heads a gate judges, what it compares them with, and which rows it pools.

Three gates. `own`: each task's own top-k, every row with its own task's heads. `shared`: the top-k shared heads.
`global`: the top-k by mean score over all rows. Each is judged at one k, or at all of them together (the band).

Each has two families of draws. *Controls*, heads from the same layers that are no task's candidates, say on the same
rows what zeroing costs by itself. *Permutations*, sets from all heads of the same strata, the judged ones included, say
on those of the rows that the untouched model answers rightly how unusual these heads are: one permutation a draw, for
every task's list and every k, and the same for all gates.

Beside them stand the untouched model, the untouched model without the needle, as many lowest-scoring heads where all
scores are known, and the judged heads and some controls over plain text (`harness.retrieval.prompts`).

Knows no results: what a gate concludes is `harness.findings.verdicts.gates`'s.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness.choices import GateHeads
from harness.errors import HeadsError, SettingsError
from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.experiments import (
    Study,
    bottom,
    global_heads,
    permuted,
    random_controls_for,
    shared_heads,
    within_task,
)
from harness.experiment.heads import Head
from harness.experiment.permutations import Permutation, n_images, permutations, strata

PLAIN_TEXT = Condition("plain_text", prompt="plain_text")
"""The model untouched, over plain text."""
TEXT_CONTROLS = 5
"""Over plain text so many controls stand beside the judged heads."""
ENOUGH_SETS = 20
"""With fewer different sets, the judged one among them, no rank p is as low as 0.05."""

WORDS: Mapping[GateHeads, str] = MappingProxyType({"global": "pooled"})
"""What a gate's id says instead of its name: `-k global` selects the experiment `global`, and no gate."""

Nested = tuple[Condition, ...]
"""The same heads' first k, a condition for each k that is judged, the largest last."""


@dataclass(frozen=True)
class Part:
    """Judged heads, and for each draw their controls and their permutations; on rows of the same tasks."""

    judged: Nested
    controls: tuple[Nested, ...]
    permutations: tuple[Nested, ...]

    @property
    def largest(self) -> Condition:
        """The judged heads at the largest k."""
        return self.judged[-1]

    @property
    def sets(self) -> tuple[Nested, ...]:
        """Judged heads, controls and permutations, in this order."""
        return (self.judged, *self.controls, *self.permutations)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a gate's permutations can show, whatever the model does.

    layers: how many neighbouring layers a stratum has, `None` for the whole model. n_sets: how many different sets
    there are, the judged one among them. held: the share of the judged heads that a permutation holds in the mean.
    one_head_p: the least rank p that the gate would give if one of the judged heads cost everything alone.

    Where there are fewer sets than a rank p of 0.05 needs: enough_heads, the least k within these strata, and
    enough_layers, the least layers of a stratum for these heads, that have enough; `None` where none has.
    """

    layers: int | None
    n_sets: int
    held: float
    one_head_p: float
    enough_heads: int | None = None
    enough_layers: int | None = None


@dataclass(frozen=True)
class Gate:
    """What is judged together: the parts cover different rows, which are pooled.

    `heads` says whose are judged, and is the gate's name among `GATES`. `ks` of them were asked for: one k, or all for
    the band. `lowest` are as many lowest-scoring heads, where all scores are known.
    """

    heads: GateHeads
    ks: tuple[int, ...]
    parts: tuple[Part, ...]
    reach: Reach
    lowest: Condition | None = None

    @property
    def k(self) -> int:
        """The largest k that is judged."""
        return self.ks[-1]

    @property
    def experiment(self) -> str:
        """The experiment that zeroes these heads."""
        return self.parts[0].largest.experiment

    @property
    def k_effective(self) -> tuple[int, int]:
        """The fewest and the most heads that a part really has at the largest k."""
        sizes = [part.largest.k_effective for part in self.parts]
        return min(sizes), max(sizes)

    @property
    def setting(self) -> str:
        """As `own-all-k20` or `own-all-band`; named by the heads that there are, not by those asked for."""
        fewest, most = self.k_effective
        whose = WORDS.get(self.heads, self.heads)
        if len(self.ks) > 1:
            return f"{whose}-all-band"
        return f"{whose}-all-k{most:02d}" if fewest == most else f"{whose}-all-k{fewest:02d}-{most}"

    @property
    def name(self) -> str:
        """As `gate[own-all-k20]`."""
        return f"gate[{self.setting}]"

    @property
    def n_controls(self) -> int:
        """Draws of controls, of every part."""
        return min(len(part.controls) for part in self.parts)

    @property
    def n_permutations(self) -> int:
        """Permutations, of every part."""
        return min(len(part.permutations) for part in self.parts)

    @property
    def draws(self) -> tuple[int, ...]:
        """The permutations' numbers: gates of one study share permutations of one number."""
        return tuple(nested[-1].seed or 0 for nested in self.parts[0].permutations)

    @property
    def over_text(self) -> tuple[Condition, ...]:
        """The sets that are also looked at over plain text: the judged heads, and some controls, at the largest k."""
        return tuple(nested[-1] for part in self.parts for nested in (part.judged, *part.controls[:TEXT_CONTROLS]))

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Everything that the verdict needs."""
        compared = [condition for part in self.parts for nested in part.sets for condition in nested]
        lowest = () if self.lowest is None else (self.lowest,)
        return (BASELINE, NEEDLE_ABSENT, *compared, *lowest, PLAIN_TEXT, *map(over_plain_text, self.over_text))


def own_sets(study: Study) -> tuple[Nested, ...]:
    """Each task's own top-k, on that task's rows."""
    found = within_task(study)
    return tuple(tuple(each for each in found if each.source_task == task) for task in study.tasks)


def shared_sets(study: Study) -> tuple[Nested, ...]:
    """The top-k shared heads, on all rows. A HeadsError where no head is shared."""
    return (shared_heads(study),)


def global_sets(study: Study) -> tuple[Nested, ...]:
    """The top-k by mean score over all identification rows, on all rows."""
    return (global_heads(study),)


GATES: Mapping[GateHeads, Callable[[Study], tuple[Nested, ...]]] = MappingProxyType(
    {"own": own_sets, "shared": shared_sets, "global": global_sets}
)
"""Whose heads a gate judges, and how they are found."""


def make_gate(name: str, study: Study, ks: Sequence[int]) -> Gate:
    """The gate of this name, at one k or over several.

    Raises:
        SettingsError: there is none.
        HeadsError: the ranking holds no such heads, or too few are left for controls.
    """
    heads = next((each for each in GATES if each == name), None)
    if heads is None:
        raise SettingsError(f"ablation_gate marker: {name!r}; expected one of {', '.join(GATES)}")
    judged = GATES[heads](replace(study, ks=tuple(sorted(ks))))
    within = strata(study.shape, study.gate_strata)
    lists = [condition.heads for nested in judged for condition in nested]
    drawn = permutations(within, lists, seed=study.seed, draws=study.gate_draws)
    parts = tuple(_part(study, nested, heads, drawn) for nested in judged)
    reach = Reach(study.gate_strata, n_images(within, lists), _held(parts), _one_head_p(parts))
    if reach.n_sets < ENOUGH_SETS:
        reach = replace(reach, enough_heads=_enough_heads(heads, study), enough_layers=_enough_layers(study, lists))
    return Gate(heads, tuple(sorted(ks)), parts, reach, _lowest(study, parts))


def over_plain_text(condition: Condition) -> Condition:
    """The same heads on the same rows' documents, over plain text."""
    return Condition("plain_text", condition.name, condition.heads, tasks=condition.tasks, prompt="plain_text")


def candidates_in_controls(gate: Gate, candidates: Collection[Head]) -> tuple[str, ...]:
    """Control heads that are candidates, each with its condition; none, unless something is wrong."""
    return tuple(
        f"{head} in {control.name}"
        for part in gate.parts
        for nested in part.controls
        for control in nested
        for head in control.heads
        if head in candidates
    )


def _part(study: Study, judged: Nested, gate: GateHeads, drawn: Sequence[Permutation]) -> Part:
    controls = [random_controls_for(study, condition, gate=gate) for condition in judged]  # a list a k
    return Part(
        judged,
        tuple(zip(*controls, strict=True)),
        tuple(tuple(permuted(condition, each, gate=gate) for condition in judged) for each in drawn),
    )


def _enough_heads(gate: GateHeads, study: Study) -> int | None:
    """The least k at which there are enough sets within these strata."""
    within = strata(study.shape, study.gate_strata)
    for k in range(1, study.ranking.top_k + 1):
        judged = GATES[gate](replace(study, ks=(k,)))
        if n_images(within, [condition.heads for nested in judged for condition in nested]) >= ENOUGH_SETS:
            return k
    return None


def _enough_layers(study: Study, lists: Sequence[Sequence[Head]]) -> int | None:
    """The least number of neighbouring layers whose strata have enough sets."""
    n_layers = study.shape.n_layers
    return next((n for n in range(1, n_layers + 1) if n_images(strata(study.shape, n), lists) >= ENOUGH_SETS), None)


def _lowest(study: Study, parts: Sequence[Part]) -> Condition | None:
    try:
        (found,) = bottom(replace(study, ks=(max(part.largest.k_effective for part in parts),)))
    except HeadsError:  # not all scores are known
        return None
    return found


def _held(parts: Sequence[Part]) -> float:
    """The share of the judged heads that permutations hold, in the mean over permutations, parts and k."""
    shares = [
        len(set(theirs.heads) & set(ours.heads)) / ours.k_effective
        for part in parts
        for nested in part.permutations
        for ours, theirs in zip(part.judged, nested, strict=True)
    ]
    return sum(shares) / len(shares) if shares else 1.0


def _one_head_p(parts: Sequence[Part]) -> float:
    """The least, over the judged heads, of the rank p that would come out if that head cost everything.

    A permutation costs as much as the judged heads where it zeroes the head on as many parts, at as many k.
    """
    judged = {head: 0 for part in parts for condition in part.judged for head in condition.heads}
    draws = list(zip(*(part.permutations for part in parts), strict=True))  # a permutation of every part
    sets = [[part.judged for part in parts], *draws]
    zeroed = [_counts(each, judged) for each in sets]
    as_often = {head: sum(counts[head] >= zeroed[0][head] for counts in zeroed[1:]) for head in judged}
    return (1 + min(as_often.values())) / (len(draws) + 1)


def _counts(of_parts: Sequence[Nested], heads: Collection[Head]) -> Mapping[Head, int]:
    """On how many parts, and at how many k, each head is zeroed."""
    counts = dict.fromkeys(heads, 0)
    for head in _zeroed(of_parts):
        if head in counts:
            counts[head] += 1
    return counts


def _zeroed(of_parts: Sequence[Nested]) -> Iterator[Head]:
    for nested in of_parts:
        for condition in nested:
            yield from condition.heads

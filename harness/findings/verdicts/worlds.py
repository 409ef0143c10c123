"""Made-up worlds: what zeroing each set of heads truly costs, for judged heads, their controls and their permutations.

Costs are shares of what the untouched model gets right. Two kinds of world. In the first (`Draws`) every set's cost
comes from a distribution of its own, as if sets had no heads. In the second (`Heads`) each head has a cost, a set costs
the sum of its heads', and the sets are drawn by the code that draws a study's: controls from the layers of the judged
heads, permutations of all heads within layers. There sets share heads, and permutations hold some of the judged ones.

Knows nothing of answers or verdicts (`simulation`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from harness.experiment.experiments import matched, shuffled
from harness.experiment.heads import Head, ModelShape
from harness.experiment.permutations import permutations, strata

Array = NDArray[np.float64]
Kind = Literal["no effect", "at the margin", "exchangeable", "effect"]
Law = Literal["equal", "normal", "gamma", "left-skewed", "rare"]
Lists = Literal["identical", "disjoint"]

N_DRAWS = 19
"""Of controls, and of permutations, unless it is said otherwise."""
SET_COST = 0.03
"""What a set that does not matter costs in the mean."""
RARE, RARE_COST = 0.05, 0.6
"""How often a set costs much, and how much, where draws are `rare`; `RARE_COST` is also what a head costs that matters
by itself."""
MARGIN = 0.1
MOST = 0.97
"""What any set costs at most."""
K = 20
LISTS = 25
"""How many judged lists, each with its draws, stand for all that a ranking could have given."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Sets whose costs come from one distribution (`law`, with the standard deviation `sd`), each by itself.

    The judged set is one more of them (`exchangeable`), or costs `effect` more than they do in the mean.
    """

    kind: Kind
    law: Law = "equal"
    sd: float = 0.0
    effect: float = 0.0
    n_tasks: int = 1

    def costs(self, experiments: int, generator: Generator, draws: int = N_DRAWS) -> Array:
        """(experiments, 1 judged + controls + permutations, tasks), of so many draws of each."""
        found = _drawn(self.law, SET_COST, self.sd, (experiments, 1 + 2 * draws), generator)
        if self.kind != "exchangeable":
            found[:, 0] = SET_COST + self.effect
        return np.minimum(found, MOST)[..., None]


@dataclass(frozen=True, slots=True)
class Heads:
    """Heads with costs of their own, in a model of `layers` x `heads`; each task's list has 20.

    Heads cost as `law` and `sd` say of 20 of them together; with `one_in`, one head in so many costs `RARE_COST`
    instead, and the others nothing. In `disjoint` lists no two tasks share a head. The judged heads are any
    (`exchangeable`), or cost more besides: `effect` in all, evenly or one head for all of them; `at the margin`, as
    much as makes them cost the margin more than their controls do in the mean.
    """

    kind: Kind
    layers: int
    heads: int
    lists: Lists
    law: Law = "equal"
    sd: float = 0.0
    one_in: int | None = None
    effect: float = 0.0
    by_one_head: bool = False

    @property
    def n_tasks(self) -> int:
        """As many disjoint lists as leave heads for controls; one list stands for all tasks where they are the same."""
        return 1 if self.lists == "identical" else max(2, min(9, self.layers * self.heads // (3 * K)))

    def costs(self, experiments: int, generator: Generator, draws: int = N_DRAWS) -> Array:
        """(experiments, 1 judged + controls + permutations, tasks), of so many draws of each."""
        found = np.zeros((experiments, 1 + 2 * draws, self.n_tasks))
        own = self._costs_of_heads(experiments, generator)  # (experiments, heads)
        for i in range(LISTS):
            sets, usual = _sets(self.layers, self.heads, self.n_tasks, i, draws)  # (sets, tasks, heads), (tasks, heads)
            these = np.s_[i::LISTS]
            background = np.einsum("eh,sth->est", own[these], sets, optimize=True)
            extra = np.full(background[:, 0].shape, self.effect)  # (experiments, tasks)
            if self.kind == "at the margin":
                extra = np.einsum("eh,th->et", own[these], usual) + MARGIN - background[:, 0]
            weights = np.broadcast_to(sets[0] / K, (len(extra), *sets[0].shape))  # (experiments, tasks, heads)
            if self.by_one_head:
                weights = _one_of(weights, generator)
            held = np.einsum("eth,sth->est", weights, sets, optimize=True)
            found[these] = background + held * extra[:, None, :]
        return np.asarray(np.minimum(found, MOST))

    def _costs_of_heads(self, experiments: int, generator: Generator) -> Array:
        shape = (experiments, self.layers * self.heads)
        if self.one_in is not None:
            return np.where(generator.random(shape) < 1 / self.one_in, RARE_COST, 0.0)
        return _drawn(self.law, SET_COST / K, self.sd / K**0.5, shape, generator)


World = Draws | Heads


def _drawn(law: Law, mean: float, sd: float, shape: tuple[int, ...], generator: Generator) -> Array:
    """Costs with this mean and standard deviation (`rare` has those of its own)."""
    if law == "rare":
        return np.where(generator.random(shape) < RARE, RARE_COST, 0.0)
    if sd == 0.0:
        return np.full(shape, mean)
    if law == "normal":
        return generator.normal(mean, sd, shape)
    skewed = generator.gamma((mean / sd) ** 2, sd**2 / mean, shape)
    return skewed if law == "gamma" else 2 * mean - skewed


def _one_of(judged: Array, generator: Generator) -> Array:
    """One head of each list, at random. judged: (experiments, tasks, heads)."""
    best = (judged * generator.random(judged.shape)).argmax(axis=-1)
    return np.asarray(np.eye(judged.shape[-1])[best])


@cache
def _sets(layers: int, heads: int, n_tasks: int, number: int, draws: int) -> tuple[Array, Array]:
    """One ranking's judged lists with what is drawn for them, and how often each head is in a control.

    (1 judged + controls + permutations, tasks, heads) and (tasks, heads).
    """
    shape = ModelShape(layers, heads)
    place = {head: i for i, head in enumerate(shape.heads())}
    lists = _lists(shape, n_tasks, np.random.default_rng([layers, heads, n_tasks, number]))
    pool = [head for head in place if not any(head in each for each in lists)]
    orders = [shuffled(pool, shape, seed=number, draw=draw) for draw in range(draws)]
    drawn = permutations(strata(shape), lists, seed=number, draws=draws)
    found = np.zeros((1 + 2 * draws, n_tasks, len(place)))
    usual = np.zeros((n_tasks, len(place)))
    for task, judged in enumerate(lists):
        controls = [matched(order, judged) for order in orders]
        for i, members in enumerate([judged, *controls, *(each.image(judged) for each in drawn)]):
            found[i, task, [place[head] for head in members]] = 1
        usual[task] = _usual(judged, pool, place, found[1 : 1 + draws, task])
    return found, usual


def _usual(judged: Sequence[Head], pool: Sequence[Head], place: Mapping[Head, int], controls: Array) -> Array:
    """How often a draw takes each head: exactly, or as often as the draws did where a layer is short of free heads."""
    wanted, free = Counter(head.layer for head in judged), Counter(head.layer for head in pool)
    if any(free[layer] < n for layer, n in wanted.items()):
        return np.asarray(controls.mean(axis=0))
    often = np.zeros(len(place))
    for head in pool:
        often[place[head]] = wanted[head.layer] / free[head.layer]
    return often


def _lists(shape: ModelShape, n_tasks: int, generator: Generator) -> Sequence[tuple[Head, ...]]:
    """A list for each task, no head twice, mostly from the layers around one: a bell, an eighth of the model wide."""
    every = shape.heads()
    centre, width = generator.uniform(0.25, 0.75) * shape.n_layers, shape.n_layers / 8
    weights = np.exp([-(((head.layer + 0.5 - centre) / width) ** 2) / 2 for head in every]) + 1e-6
    chosen = generator.choice(len(every), n_tasks * K, replace=False, p=weights / weights.sum())
    return [tuple(every[place] for place in chosen[i * K : (i + 1) * K]) for i in range(n_tasks)]

"""Experiments: from a ranking to conditions, one small builder for each kind.

Every builder takes a `Study` (a ranking, a model's shape, tasks, ks, seeds) and returns its conditions in a
fixed order. With fewer heads in a list than k a condition keeps `k` and has fewer heads, `k_effective`.

Control heads are as many random heads as an experiment zeroes, from heads that do not retrieve. Draws are nested (the
first heads of a draw are the draw for fewer), depend on seed and draw alone, and do not change between versions of
Python: of the generator only `random()` is used.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from harness.choices import GateHeads, RandomMatch
from harness.errors import HeadsError, SettingsError
from harness.experiment.conditions import PERMUTATION, RANDOM, UNTOUCHED, Condition
from harness.experiment.heads import Head, ModelShape
from harness.experiment.permutations import Permutation
from harness.experiment.rankings import HeadRanking


@dataclass(frozen=True)
class Study:
    """What builders need to know.

    `ranking` should hold all the tasks it was made from, also those that are not studied: which heads other
    tasks share, and which are free for controls, follows from all of them. `tasks` are those studied. So many
    controls has a gate, and so many permutations, as `gate_draws` says; the latter are within strata of `gate_strata`
    layers (`None`: the whole model).

    Raises:
        SettingsError: no task, k or draw, or a k twice or below 1.
        HeadsError: the ranking does not hold a task, or does not fit the shape.
    """

    ranking: HeadRanking
    shape: ModelShape
    tasks: tuple[str, ...]
    ks: tuple[int, ...]
    seed: int = 0
    random_draws: int = 5
    random_match: RandomMatch = "uniform"
    gate_draws: int = 19
    gate_strata: int | None = 1

    def __post_init__(self) -> None:
        if not self.tasks:
            raise SettingsError("tasks: none; expected at least one")
        if not self.ks or min(self.ks) < 1 or len(set(self.ks)) != len(self.ks):
            raise SettingsError(f"k: {self.ks}; expected different integers from 1 up")
        for what, draws in (("random draws", self.random_draws), ("gate draws", self.gate_draws)):
            if draws < 1:
                raise SettingsError(f"{what}: {draws}; expected at least 1")
        self.ranking.check_shape(self.shape)
        self.ranking.restrict(self.tasks)


def within_task(study: Study) -> tuple[Condition, ...]:
    """A task's own top-k, on that task's rows."""
    return tuple(
        Condition(
            "within_task",
            f"{task}-{_k(k)}",
            study.ranking.candidates(task)[:k],
            tasks=(task,),
            k=k,
            source_task=task,
        )
        for task in study.tasks
        for k in study.ks
    )


def across_task(study: Study) -> tuple[Condition, ...]:
    """The top-k by mean score over all other tasks, on this task's rows; `overlap` is with its own top-k."""
    conditions = []
    for task in study.tasks:
        others = tuple(scored.head for scored in study.ranking.others(task))[: study.ranking.top_k]
        own = study.ranking.candidates(task)
        conditions += [
            Condition(
                "across_task",
                f"{task}-{_k(k)}",
                others[:k],
                tasks=(task,),
                k=k,
                overlap=_overlap(others[:k], own[:k]),
            )
            for k in study.ks
        ]
    return tuple(conditions)


def shared_heads(study: Study) -> tuple[Condition, ...]:
    """The top-k heads that tasks share, on all rows: the experiment `general`. A HeadsError where none is shared."""
    shared = tuple(entry.head for entry in study.ranking.shared())
    if not shared:
        raise HeadsError(
            f"{study.ranking.source}: no head is among the candidates of 7 in 9 tasks; expected at least one "
            "shared head; rank with a larger top_k, or leave the experiment general out"
        )
    return tuple(Condition("general", _k(k), shared[:k], k=k) for k in study.ks)


def global_heads(study: Study) -> tuple[Condition, ...]:
    """The top-k by mean score over all identification rows, on all rows: the experiment `global`."""
    best = _global_candidates(study)
    return tuple(Condition("global", _k(k), best[:k], k=k) for k in study.ks)


def random_control(study: Study) -> tuple[Condition, ...]:
    """As many random heads as `global` zeroes, on all rows; several draws, each nested in k."""
    controlled = _global_candidates(study)
    return tuple(
        replace(
            _control(study, order, controlled[:k], draw),
            setting=f"seed{draw}-{_k(k)}",
            k=k,
            controls_for=f"global[{_k(k)}]",
        )
        for draw, order in enumerate(_draws(study, max(study.ks)))
        for k in study.ks
    )


def random_controls_for(study: Study, controlled: Condition, *, gate: GateHeads) -> tuple[Condition, ...]:
    """A gate's controls of a condition, one for each of its draws: as many random heads, layer by layer, on its rows.

    Draws are those of `random_control`, which has fewer: where that matches layers too, heads are the same.
    """
    heads, n = controlled.heads, controlled.k_effective
    orders = _draws(replace(study, random_draws=study.gate_draws), max(*study.ks, n))
    return tuple(
        replace(
            _layer_control(order, heads, draw),
            setting=f"{_label(controlled, gate)}-seed{draw}-{_k(n)}",
            k=n,
            tasks=controlled.tasks,
            controls_for=controlled.name,
            gate=gate,
        )
        for draw, order in enumerate(orders)
    )


def permuted(controlled: Condition, drawn: Permutation, *, gate: GateHeads) -> Condition:
    """The heads that come in the place of a condition's under a gate's permutation, on those of its rows that the
    untouched model answers rightly."""
    n = controlled.k_effective
    return Condition(
        PERMUTATION,
        f"{_label(controlled, gate)}-draw{drawn.draw:02d}-{_k(n)}",
        drawn.image(controlled.heads),
        controlled.tasks,
        k=n,
        seed=drawn.draw,
        controls_for=controlled.name,
        gate=gate,
        only_right=True,
    )


def transfer(study: Study) -> tuple[Condition, ...]:
    """One task's top-k on another task's rows, named `source:target`; `overlap` is with the target's own.

    Where source and target are one task, heads and rows are those of `within_task`.
    """
    candidates = {task: study.ranking.candidates(task) for task in study.tasks}
    return tuple(
        Condition(
            "transfer",
            f"{source}:{target}-{_k(k)}",
            candidates[source][:k],
            tasks=(target,),
            k=k,
            source_task=source,
            overlap=_overlap(candidates[source][:k], candidates[target][:k]),
        )
        for source in study.tasks
        for target in study.tasks
        for k in study.ks
    )


def bottom(study: Study) -> tuple[Condition, ...]:
    """The k lowest-scoring heads, on all rows. A HeadsError without full scores."""
    lowest = tuple(scored.head for scored in study.ranking.bottom())
    return tuple(Condition("bottom", _k(k), lowest[:k], k=k) for k in study.ks)


def across_exclusive(study: Study) -> tuple[Condition, ...]:
    """The heads of `across_task` less the task's own top-k; none may be left, which is the baseline."""
    conditions = []
    for condition in across_task(study):
        (task,) = condition.tasks or ()
        own = study.ranking.candidates(task)[: condition.k]
        heads = tuple(head for head in condition.heads if head not in own)
        conditions.append(replace(condition, experiment="across_exclusive", heads=heads, overlap=0))
    return tuple(conditions)


def single(study: Study) -> tuple[Condition, ...]:
    """Each of a task's best heads alone, as many as the largest k, on that task's rows."""
    return tuple(
        Condition("single", f"{task}-{head}", (head,), tasks=(task,), k=1, source_task=task)
        for task in study.tasks
        for head in study.ranking.candidates(task)[: max(study.ks)]
    )


def leave_one_in(study: Study) -> tuple[Condition, ...]:
    """A task's top-k at the largest k less one head, for each head, on that task's rows."""
    k = max(study.ks)
    best = {task: study.ranking.candidates(task)[:k] for task in study.tasks}
    return tuple(
        Condition(
            "leave_one_in",
            f"{task}-{_k(k)}-{left_in}",
            tuple(head for head in best[task] if head != left_in),
            tasks=(task,),
            k=k,
            source_task=task,
        )
        for task in study.tasks
        for left_in in best[task]
    )


Builder = Callable[[Study], tuple[Condition, ...]]


EXPERIMENTS: Mapping[str, Builder] = MappingProxyType(
    {
        "within_task": within_task,
        "across_task": across_task,
        "general": shared_heads,
        "global": global_heads,
        RANDOM: random_control,
        "transfer": transfer,
        "bottom": bottom,
        "across_exclusive": across_exclusive,
        "single": single,
        "leave_one_in": leave_one_in,
    }
)
"""Every experiment's builder by its name."""


def _k(k: int) -> str:
    return f"k{k:02d}"


def _overlap(heads: tuple[Head, ...], own: tuple[Head, ...]) -> int:
    return len(set(heads) & set(own))


def _global_candidates(study: Study) -> tuple[Head, ...]:
    return tuple(scored.head for scored in study.ranking.global_candidates())


def _draws(study: Study, k: int) -> tuple[tuple[Head, ...], ...]:
    """The pool in each draw's order; it must hold twice the `k` heads that are drawn at most."""
    ranking, pool = study.ranking, study.ranking.pool(study.shape)
    short = 2 * k - len(pool)
    if short > 0:
        n_heads = study.shape.n_layers * study.shape.n_heads
        raise HeadsError(
            f"{ranking.source}: {len(pool)} of {n_heads} heads are left for random controls at top_k = "
            f"{ranking.top_k}; expected at least {2 * k}, twice the largest k ({k}): {short} short; rank "
            "with a lower top_k, or ask for a smaller k"
        )
    return tuple(shuffled(pool, study.shape, seed=study.seed, draw=draw) for draw in range(study.random_draws))


def _control(study: Study, order: tuple[Head, ...], controlled: tuple[Head, ...], draw: int) -> Condition:
    """As many heads of a draw as are controlled for, on all rows."""
    if study.random_match == "uniform":
        return Condition(RANDOM, heads=order[: len(controlled)], seed=draw, random_match="uniform")
    return _layer_control(order, controlled, draw)


def _layer_control(order: tuple[Head, ...], controlled: tuple[Head, ...], draw: int) -> Condition:
    heads = matched(order, controlled)
    mismatches = sum(ours.layer != theirs.layer for ours, theirs in zip(heads, controlled, strict=True))
    return Condition(RANDOM, heads=heads, seed=draw, random_match="layer", mismatches=mismatches)


def _label(controlled: Condition, gate: GateHeads) -> str:
    return gate if controlled.source_task is None else f"{gate}:{controlled.source_task}"


def in_order(conditions: Iterable[Condition], tasks: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions by experiment, task, k and draw, those of one's own by name: in no test's order.

    `tasks` gives the tasks' order; for the experiments' see `UNTOUCHED` and `EXPERIMENTS`.
    """
    experiments, places = [*UNTOUCHED, *EXPERIMENTS], {task: place for place, task in enumerate(tasks)}

    def place(condition: Condition) -> tuple[int, tuple[int, ...], tuple[int, ...], int, int, str]:
        if condition.experiment not in experiments:
            return len(experiments), (), (), 0, 0, condition.name
        source = () if condition.source_task is None else (places.get(condition.source_task, len(places)),)
        asked = tuple(places.get(task, len(places)) for task in condition.tasks or ())
        of = experiments.index(condition.experiment)
        return of, source, asked, condition.k or 0, condition.seed or 0, condition.name

    return tuple(sorted(conditions, key=place))


def shuffled(pool: Sequence[Head], shape: ModelShape, *, seed: int, draw: int) -> tuple[Head, ...]:
    """The pool in random order.

    Every head of the model gets a random number from a generator of its own, seeded by (seed, draw), and the
    pool is sorted by these: heads that join or leave the pool do not change the order of the others.
    """
    return tuple(sorted(pool, key=_places(shape, seed, draw).__getitem__))


@cache
def _places(shape: ModelShape, seed: int, draw: int) -> Mapping[Head, tuple[float, Head]]:
    generator = random.Random(f"random control: seed {seed}, draw {draw}")
    return {head: (generator.random(), head) for head in shape.heads()}


def matched(order: Sequence[Head], controlled: Sequence[Head]) -> tuple[Head, ...]:
    """For each controlled head, in turn, the first free head of its layer in `order`.

    Where a layer has none left, the nearest layer that has one serves, the lower of two equally near. `order`
    holds at least as many heads as are controlled for.
    """
    free: dict[int, deque[Head]] = {}
    for head in order:
        free.setdefault(head.layer, deque()).append(head)
    drawn = []
    for head in controlled:
        layer = min((near for near in free if free[near]), key=lambda near: (abs(near - head.layer), near))
        drawn.append(free[layer].popleft())
    return tuple(drawn)

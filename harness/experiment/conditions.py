"""Conditions: which heads are zeroed on which rows, and one small builder for each kind of experiment.

A condition is an experiment at one setting, say `within_task` at `ceo_lastname-k05`. It knows no rows and no
results. Its name, `within_task[ceo_lastname-k05]`, doubles as a test's id.

Every builder takes a `Study` (a ranking, a model's shape, tasks, ks, seeds) and returns its conditions in a
fixed order. With fewer heads in a list than k a condition keeps `k` and has fewer heads, `k_effective`.

Declared conditions are those that tests ask for, each once, and as text that another process can read.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

from harness.choices import GateHeads, RandomMatch
from harness.errors import HeadsError, SettingsError, StoreError
from harness.experiment.controls import matched, shuffled
from harness.experiment.heads import Head, ModelShape
from harness.experiment.permutations import Permutation
from harness.experiment.rankings import HeadRanking
from harness.retrieval.prompts import PromptKind

_NAME = re.compile(r"[A-Za-z0-9_.:+\-\[\]]*", re.ASCII)


@dataclass(frozen=True)
class Condition:
    """An experiment at one setting: the heads to zero (none for the baseline) and the rows it asks for.

    `tasks` are the tasks whose rows it covers, None for every row; `k` is how many heads were asked for;
    `overlap` how many of the heads are among the row's task's own top-k. Of control heads, `random_match` says how they
    are drawn, `mismatches` how many come from another layer than the heads they control for, `controls_for` names the
    condition of these, and `gate` the gate, as `own`, that they belong to; `random_control` belongs to none. The last
    two are also said of a gate's permutations, which are asked on the rows alone that the untouched model answers
    rightly (`only_right`).

    A condition of one's own: `Condition("mine", heads=[(17, 24)])`; pairs become heads.

    Raises:
        HeadsError: a head is given twice, or is none.
        SettingsError: a name with other characters than letters, digits and `_ . : + - [ ]`.
    """

    experiment: str
    setting: str = ""
    heads: tuple[Head, ...] = ()
    tasks: tuple[str, ...] | None = None
    k: int | None = None
    prompt: PromptKind = "full"
    source_task: str | None = None
    seed: int | None = None
    random_match: RandomMatch | None = None
    overlap: int | None = None
    mismatches: int | None = None
    controls_for: str | None = None
    gate: GateHeads | None = None
    only_right: bool = False

    def __post_init__(self) -> None:
        if not self.experiment or not _NAME.fullmatch(self.experiment + self.setting):
            raise SettingsError(f"condition {self.name!r}; expected a name of letters, digits and _ . : + - [ ] only")
        heads = tuple(head if isinstance(head, Head) else _from_pair(head, self.name) for head in self.heads)
        for i, head in enumerate(heads):
            if head in heads[:i]:
                raise HeadsError(f"condition {self.name}: {head} is given twice; expected each head once")
        object.__setattr__(self, "heads", heads)

    @property
    def name(self) -> str:
        """`experiment[setting]`, or the experiment alone where there is one setting."""
        return f"{self.experiment}[{self.setting}]" if self.setting else self.experiment

    @property
    def k_effective(self) -> int:
        """How many heads are zeroed, which may be fewer than `k`."""
        return len(self.heads)


BASELINE = Condition("baseline")
"""The model untouched, on every row."""

NEEDLE_ABSENT = Condition("needle_absent", prompt="needle_absent")
"""The model untouched and the needle left out: what guessing scores."""


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
        "permutation",
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

UNTOUCHED: Mapping[str, Condition] = MappingProxyType({each.name: each for each in (BASELINE, NEEDLE_ABSENT)})
"""Conditions that need no heads, by name."""

EXPERIMENTS: Mapping[str, Builder] = MappingProxyType(
    {
        "within_task": within_task,
        "across_task": across_task,
        "general": shared_heads,
        "global": global_heads,
        "random_control": random_control,
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


def _from_pair(pair: tuple[int, int], name: str) -> Head:
    try:
        layer, head = pair
        return Head(layer, head)
    except (TypeError, ValueError):
        raise HeadsError(
            f"condition {name}: head {pair!r}; expected (layer, head), from 0 up, as in (17, 24)"
        ) from None


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
        return Condition("random_control", heads=order[: len(controlled)], seed=draw, random_match="uniform")
    return _layer_control(order, controlled, draw)


def _layer_control(order: tuple[Head, ...], controlled: tuple[Head, ...], draw: int) -> Condition:
    heads = matched(order, controlled)
    mismatches = sum(ours.layer != theirs.layer for ours, theirs in zip(heads, controlled, strict=True))
    return Condition("random_control", heads=heads, seed=draw, random_match="layer", mismatches=mismatches)


def _label(controlled: Condition, gate: GateHeads) -> str:
    return gate if controlled.source_task is None else f"{gate}:{controlled.source_task}"


def distinct(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """The conditions without repetitions, in their order.

    Raises:
        SettingsError: two different conditions have one name.
    """
    by_name: dict[str, Condition] = {}
    for condition in conditions:
        if by_name.setdefault(condition.name, condition) != condition:
            raise SettingsError(
                f"condition {condition.name}: declared twice with different heads or rows; expected one "
                "meaning a name; give one of them another name"
            )
    return tuple(by_name.values())


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


def write_conditions(conditions: Iterable[Condition]) -> str:
    """Conditions as text."""
    plain = [
        asdict(condition) | {"heads": [(head.layer, head.head) for head in condition.heads]} for condition in conditions
    ]
    return json.dumps(plain, sort_keys=True)


def read_conditions(texts: Iterable[str]) -> tuple[Condition, ...]:
    """The conditions of several texts that `write_conditions` gave; of those that share a name the first."""
    found: dict[str, Condition] = {}
    for text in texts:
        try:
            conditions = [_condition(plain) for plain in json.loads(text)]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise StoreError(
                "the conditions that a session declared: damaged; expected them as they were written; run again"
            ) from None
        for condition in conditions:
            found.setdefault(condition.name, condition)
    return tuple(found.values())


def _condition(plain: Mapping[str, object]) -> Condition:
    tasks = plain["tasks"]
    return Condition(**{**plain, "tasks": None if tasks is None else tuple(tasks)})  # type: ignore[arg-type]  # as it was written

"""Conditions: which heads are zeroed on which rows.

A condition is an experiment at one setting, say `within_task` at `ceo_lastname-k05`. It knows no rows and no
results. Its name, `within_task[ceo_lastname-k05]`, doubles as a test's id.

Declared conditions are those that tests ask for, each once, and as text that another process can read.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from harness.choices import GateHeads, RandomMatch
from harness.errors import HeadsError, SettingsError, StoreError
from harness.experiment.heads import Head
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
        if len(set(heads)) < len(heads):
            again = next(head for i, head in enumerate(heads) if head in heads[:i])
            raise HeadsError(f"condition {self.name}: {again} is given twice; expected each head once")
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

UNTOUCHED: Mapping[str, Condition] = MappingProxyType({each.name: each for each in (BASELINE, NEEDLE_ABSENT)})
"""Conditions that need no heads, by name."""

RANDOM = "random_control"
"""The experiment that zeroes random heads, beside which others are looked at."""

PERMUTATION = "permutation"
"""The experiment that zeroes the heads a gate judges, permuted."""


def _from_pair(pair: tuple[int, int], name: str) -> Head:
    try:
        layer, head = pair
        return Head(layer, head)
    except (TypeError, ValueError):
        raise HeadsError(
            f"condition {name}: head {pair!r}; expected (layer, head), from 0 up, as in (17, 24)"
        ) from None


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

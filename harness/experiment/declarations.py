"""Declarations: the conditions that tests ask for, each once, and as text that another process can read.

Knows nothing of tests, nor of where the text is kept (`store`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from harness.errors import SettingsError
from harness.experiment.conditions import Condition


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
        for plain in json.loads(text):
            condition = _condition(plain)
            found.setdefault(condition.name, condition)
    return tuple(found.values())


def _condition(plain: Mapping[str, object]) -> Condition:
    tasks = plain["tasks"]
    return Condition(**{**plain, "tasks": None if tasks is None else tuple(tasks)})  # type: ignore[arg-type]  # as it was written

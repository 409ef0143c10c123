"""Marks: which conditions and gates a test declares, and the cases that pytest makes of them.

A mark on a test, its class or its module makes one case for each condition, or gate. A mark on one set of parameters
(`pytest.param(..., marks=...)`) is seen only when the case is there already, so it must give one. Tests that ask for
none of our fixtures are left alone: in another project a mark of the same name is somebody else's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError, SettingsError

if TYPE_CHECKING:  # every pytest run with the plugin installed imports this module
    from harness.experiment.conditions import Condition
    from harness.experiment.gate_conditions import Gate
    from harness.study.session import StudySession

    Declared = Condition | Gate


@dataclass(frozen=True, slots=True)
class Kind:
    """A mark, the fixture that is the case it gave, the fixture that is what came of it, and how to write it."""

    mark: str
    case: str
    outcome: str
    example: str


CONDITION = Kind("ablation", "ablation_condition", "ablation_result", '"within_task"')
GATE = Kind("ablation_gate", "ablation_gate", "ablation_verdict", '"own"')
KINDS = (CONDITION, GATE)
ASKING = {"ablation_results", *(name for kind in KINDS for name in (kind.case, kind.outcome))}
"""Fixtures that make a test one of ours."""


def marked(node: pytest.Item, kind: Kind) -> list[Any]:
    """What a test's marks of a kind name, the nearest mark's first; nothing where it asks for none of our fixtures."""
    if ASKING.isdisjoint(getattr(node, "fixturenames", ())):
        return []
    return [each for mark in node.iter_markers(kind.mark) for each in mark.args]


def cases(study: "StudySession", kind: Kind, given: Sequence[Any]) -> "tuple[list[Declared | HarnessError], list[str]]":
    """A case and its id for each condition of what is given, or for each gate; an error in the place of those that
    this ranking cannot give: a gate fails alone, an experiment fails the test that asks for it."""
    found: list[Declared | HarnessError] = []
    ids: list[str] = []
    for each in [[one] for one in given] if kind is GATE else [given]:
        try:
            declared = declarations(study, kind, each)
        except HarnessError as error:
            found.append(error)
            ids.append(f"{each[0]}-unavailable" if kind is GATE else "unavailable")
            continue
        found.extend(declared)
        ids.extend(one.setting or one.name for one in declared)
    return found, ids


def declarations(study: "StudySession", kind: Kind, given: Sequence[Any]) -> "Sequence[Declared]":
    """The conditions or gates that a mark's arguments name. Raises HarnessError."""
    return study.gates(given) if kind is GATE else study.expand(given)


def only_case(item: pytest.Item, kind: Kind, study: "Callable[[], StudySession]") -> "Declared":
    """What a test without cases of its own asserts on: the one thing that its mark gives.

    Raises:
        SettingsError: it has no mark, or one that gives several.
        HarnessError: what the mark names cannot be had.
    """
    given = marked(item, kind)
    if not given:
        raise SettingsError(
            f"{item.name}: asks for {kind.outcome} and has no mark that says of what; "
            f"expected @pytest.mark.{kind.mark}({kind.example}), say, on the test"
        )
    found = declarations(study(), kind, given)
    if len(found) != 1:
        raise SettingsError(
            f"{item.name}: {kind.mark} marker in pytest.param: it gives {len(found)} cases; expected one; "
            "put the mark on the test itself, which then runs once for each"
        )
    return found[0]


def check_marks(item: pytest.Item, kind: Kind) -> None:
    """Raise a SettingsError where both a test and its pytest.param have a mark: one of them would go unheard."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or kind.case not in callspec.params:
        return
    if any(mark.name == kind.mark for mark in callspec.marks):
        raise SettingsError(
            f"{item.name}: {kind.mark} marker in pytest.param, beside the one on the test; expected one of them"
        )


def is_asking(item: pytest.Item) -> bool:
    """Whether a test declares anything, known without a study."""
    return any(kind.case in _params(item) or marked(item, kind) for kind in KINDS)


def conditions_of(item: pytest.Item, study: "StudySession") -> "Iterator[Condition]":
    """What a test needs: its case's condition, or all of its gate's; without cases of its own all that is marked."""
    from harness.experiment.gate_conditions import Gate

    for kind in KINDS:
        case = _params(item).get(kind.case)
        if isinstance(case, HarnessError):
            continue
        try:
            found = [case] if case is not None else declarations(study, kind, marked(item, kind))
        except HarnessError:
            continue  # the test's own fixture says so
        for each in found:
            yield from each.conditions if isinstance(each, Gate) else [each]


def _params(item: pytest.Item) -> Mapping[str, Any]:
    callspec = getattr(item, "callspec", None)
    return {} if callspec is None else callspec.params

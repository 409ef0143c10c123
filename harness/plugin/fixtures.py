"""Marks and fixtures: what a test declares, the cases that pytest makes of it, and what a test asks for.

A mark on a test, its class or its module makes one case for each condition, or gate. A mark on one set of parameters
(`pytest.param(..., marks=...)`) is seen only when the case is there already, so it must give one. Tests that ask for
none of our fixtures are left alone: in another project a mark of the same name is somebody else's.

A test asserts on the case that its mark gave (`ablation_condition`, `ablation_gate`) by what came of it
(`ablation_result`, `ablation_verdict`), on all that is declared (`ablation_results`), or on the model itself
(`ablation_model`). The first that is asked for a figure runs the plan.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from harness.errors import HarnessError, SettingsError
from harness.plugin.stash import study_of, typed_again, typed_in

if TYPE_CHECKING:  # every pytest run with the plugin installed imports this module
    from harness.experiment.conditions import Condition
    from harness.experiment.gate_conditions import Gate
    from harness.study.outcome import GateVerdict, Result
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


@pytest.fixture(scope="session")
def ablation_model(request: pytest.FixtureRequest) -> object:
    """The model under study (`harness.model.loading.loaded_model.LoadedModel`), loaded once a process.

    With `--ablation-ray` a test that asks for it is skipped: models are the cluster's, and this process has none.
    """
    study = study_of(request.config)
    if study.settings.ray is not None:
        pytest.skip("asks for the model itself: with Ray it is on other machines; run it on one of them, without Ray")
    try:
        return study.model
    except HarnessError as error:
        _stop(request.session, error)


@pytest.fixture(scope="session")
def ablation_results(request: pytest.FixtureRequest) -> "Mapping[str, Result]":
    """Every declared condition's result by name; asking for it runs the plan."""
    return _results(request)


@pytest.fixture
def ablation_condition(request: pytest.FixtureRequest) -> "Condition":
    """The condition that a test asserts on: one of those that its mark gives."""
    found: Condition = _case(request, CONDITION)
    return found


@pytest.fixture
def ablation_gate(request: pytest.FixtureRequest) -> "Gate":
    """The gate that a test reads the verdict of: one of those that its mark names."""
    found: Gate = _case(request, GATE)
    return found


@pytest.fixture
def ablation_result(request: pytest.FixtureRequest, ablation_condition: "Condition") -> "Result":
    """The figures of the test's own condition: `accuracy`, `interval`, `drop`, `n`, `missing`."""
    found = _results(request)[ablation_condition.name]
    request.node.user_properties.extend(found.properties())
    return found


@pytest.fixture
def ablation_verdict(request: pytest.FixtureRequest, ablation_gate: "Gate") -> "GateVerdict":
    """What came of the test's own gate: `passed`, `figures`, and the `message` to read where it did not pass."""
    _results(request)
    found = study_of(request.config).verdict(ablation_gate, _again(request))
    request.node.user_properties.extend([("gate", ablation_gate.name), ("verdict", found.figures.verdict)])
    return found


def _results(request: pytest.FixtureRequest) -> "Mapping[str, Result]":
    """The plan's results, run where they are not there yet.

    Each test asks anew: pytest would hand on what ended a session's fixture, a timeout of one test say, to all others.
    """
    from harness.plugin.status_line import progress_line

    try:
        with progress_line(request.config) as show:
            found = study_of(request.config).results(show)
    except HarnessError as error:
        _stop(request.session, error)
    if (part := study_of(request.config).settings.part) is not None:
        pytest.skip("part {} of {} of a study: its rows are done, and nothing is judged".format(*part))
    return found


def _case(request: pytest.FixtureRequest, kind: Kind) -> Any:
    """The test's case, or the one thing that its mark gives; a HarnessError fails this test alone."""
    try:
        check_marks(request.node, kind)
        case = getattr(request, "param", None) or only_case(request.node, kind, lambda: study_of(request.config))
        if isinstance(case, HarnessError):
            raise case
    except HarnessError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    return case


def _again(request: pytest.FixtureRequest) -> str:
    """The command that runs just this test as this session was asked to, and leaves this session's report alone."""
    path, at, case = request.node.nodeid.partition("::")
    test = _seen_from(typed_in(request.config), request.node.path) if at else path
    return shlex.join(["pytest", f"{test}{at}{case}", *typed_again(request.config), "--ablation-run=again"])


def _seen_from(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _stop(session: pytest.Session, error: HarnessError) -> NoReturn:
    """What went wrong for one condition went wrong for all: end the session with one line, said where errors are."""
    hidden = session.config.option.tbstyle == "no"
    session.shouldfail = str(error) if hidden else "the study cannot go on: see the error above"
    raise pytest.fail.Exception(str(error), pytrace=False) from None

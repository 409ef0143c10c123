"""Fixtures: what a test of one's own asks for.

A test asserts on the case that its mark gave (`ablation_condition`, `ablation_gate`) by what came of it
(`ablation_result`, `ablation_verdict`), on all that is declared (`ablation_results`), or on the model itself
(`ablation_model`). The first that is asked for a figure runs the plan.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from harness.errors import HarnessError
from harness.invocation import typed_again, typed_in
from harness.marks import CONDITION, GATE, Kind, check_marks, only_case
from harness.stash import study_of

if TYPE_CHECKING:  # every pytest run with the plugin installed imports this module
    from harness.experiment.conditions import Condition
    from harness.experiment.gate_conditions import Gate
    from harness.study.outcome import GateVerdict, Result


@pytest.fixture(scope="session")
def ablation_model(request: pytest.FixtureRequest) -> object:
    """The model under study (`harness.model.loading.loaded_model.LoadedModel`), loaded once a process."""
    study = study_of(request.config)
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
    from harness.status_line import progress_line

    try:
        with progress_line(request.config) as show:
            return study_of(request.config).results(show)
    except HarnessError as error:
        _stop(request.session, error)


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
    """What went wrong for one condition went wrong for all: end the session with one line."""
    session.shouldfail = str(error)
    raise pytest.fail.Exception(str(error), pytrace=False) from None

"""pytest's face: options, markers, header, summary and the hooks that put a study together.

Tests declare conditions with `@pytest.mark.ablation(...)` and ask for the fixture `ablation_result`; they do not run
the model. After collection and deselection the conditions of all selected tests are one plan, run once on first need;
each test then reads its own condition's figures. Inert until a test does so or an ablation setting is given: importing
this loads neither torch nor transformers, pandas or matplotlib.
"""

import os
import sys
import uuid
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError, SettingsError, plain
from harness.findings.report.report_files import REPORT_FILE
from harness.options import OPTIONS
from harness.plugin.fixtures import (
    KINDS,
    ablation_condition,
    ablation_gate,
    ablation_model,
    ablation_result,
    ablation_results,
    ablation_verdict,
    cases,
    conditions_of,
    is_asking,
)
from harness.plugin.hookspec import AblationHooks
from harness.plugin.signals import heed_workers, held_back, terminate_like_interrupt
from harness.plugin.stash import (
    FAILURE,
    FOLLOWER,
    PREFIX,
    REFUSED,
    REPORT,
    RUN_ID,
    SETTINGS,
    STUDY,
    asked_settings,
    flag,
    follow_workers,
    given,
    has_workers,
    is_worker,
    project_folder,
    study_of,
    typed_in,
    workers_declared,
)

if TYPE_CHECKING:  # every pytest run with the plugin installed imports this module
    from harness.findings.report.report_data import Exit
    from harness.study.session import StudySession

__all__ = [
    "ablation_condition",
    "ablation_gate",
    "ablation_model",
    "ablation_result",
    "ablation_results",
    "ablation_verdict",
]
"""Fixtures, which pytest finds here."""

EXITS: "Mapping[int, Exit]" = {0: "passed", 1: "failed", 2: "interrupted"}


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """The plugin's own hooks."""
    pluginmanager.add_hookspecs(AblationHooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Every option of `options.OPTIONS`, on the command line and in the ini file."""
    group = parser.getgroup("ablation", "ablation of attention heads")
    for option in OPTIONS:
        if option.switch:
            group.addoption(flag(option), action="store_true", default=None, help=option.told(PREFIX))
        else:
            group.addoption(flag(option), default=None, metavar=option.metavar, help=option.told(PREFIX))
        parser.addini(f"ablation_{option.field}", option.told(PREFIX), type="string", default="")


def pytest_configure(config: pytest.Config) -> None:
    """The markers, and the settings."""
    config.addinivalue_line(
        "markers",
        "ablation(*conditions): the conditions that a test asserts on: names of experiments, conditions, or functions "
        "that build them from a Study (harness.Condition, harness.Study); `ablation_condition` is one of them, "
        "`ablation_result` what came of it",
    )
    config.addinivalue_line(
        "markers",
        "ablation_gate(*names): the gates that a test reads verdicts of: `own`, `shared`, `global`; `ablation_gate` is "
        "one of them, `ablation_verdict` what came of it",
    )
    try:
        config.stash[SETTINGS] = asked_settings(config)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    worker: Mapping[str, Any] | None = getattr(config, "workerinput", None)
    config.stash[RUN_ID] = uuid.uuid4().hex if worker is None else worker["ablation_run"]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the store, and of the terminal."""
    if (follower := config.stash.get(FOLLOWER, None)) is not None:
        follower.close()
    if (study := config.stash.get(STUDY, None)) is not None:
        study.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: tell a worker which session it belongs to, and where that was started."""
    node.workerinput["ablation_run"] = node.config.stash[RUN_ID]
    node.workerinput["ablation_typed_in"] = str(typed_in(node.config))
    node.workerinput["ablation_project"] = str(project_folder(node.config))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """xdist: say what a worker could not begin with, as one process would."""
    if refused := getattr(node, "workeroutput", {}).get("ablation_refused"):
        raise pytest.UsageError(refused)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """xdist: a worker has said what its tests ask for; from now on its progress is shown."""
    follow_workers(node.config)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """xdist: with `-n auto`, as many workers as there are GPUs for; xdist's own choice without any."""
    if not _is_wanted(config):
        return None
    from harness.study.workers import workers_that_fit

    try:
        return workers_that_fit(asked_settings(config))
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What was asked for, when anything was."""
    return [plain(line) for line in study_of(config).header()] if _is_wanted(config) else []


def pytest_sessionstart(session: pytest.Session) -> None:
    """Read and check everything that the settings name, while an error is still one clean line."""
    if not _is_wanted(session.config):
        if has_workers(session.config):
            heed_workers(session.config)
        return
    if session.config.stash[SETTINGS].dry_run and has_workers(session.config):
        where = given(session.config)["dry-run"].where
        raise pytest.UsageError(f"{where}: given with -n; expected one process; leave out -n")
    if session.config.stash[SETTINGS].ray is not None and (has_workers(session.config) or is_worker(session.config)):
        raise pytest.UsageError(
            f"{given(session.config)['ray'].where}: given with -n; expected one process, which hands rows to the "
            "cluster's models; leave out -n, or use it without Ray on one machine"
        )
    terminate_like_interrupt(session.config)
    try:
        _check_asserts(session.config)
        study_of(session.config).begin()
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One case for each condition, or gate, that a test's marks declare."""
    for kind in KINDS:
        given = [each for mark in metafunc.definition.iter_markers(kind.mark) for each in mark.args]
        if not given or kind.case not in metafunc.fixturenames or REFUSED in metafunc.config.stash:
            continue
        try:
            _check_asserts(metafunc.config)
            study = study_of(metafunc.config)
            _ = study.inputs
        except HarnessError as error:
            metafunc.config.stash[REFUSED] = str(error)  # raised here it would be a traceback, once for each module
            continue
        found, ids = cases(study, kind, given)
        metafunc.parametrize(kind.case, found, ids=ids, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What the tests ask for and cannot have ends a session here, in one line, as a bad option does."""
    stash = session.config.stash
    try:
        collected = yield
    except pytest.UsageError:  # an id that is not found, perhaps because the study that makes it could not begin
        if REFUSED not in stash:
            raise
        collected = True
    if REFUSED in stash and not is_worker(session.config):
        raise pytest.UsageError(stash[REFUSED])
    return collected


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """The conditions of all selected tests, duplicates merged, are what will be computed."""
    config, asking = session.config, [item for item in session.items if is_asking(item)]
    if not asking or REFUSED in config.stash:
        return
    study = study_of(config)
    try:
        _check_asserts(config)
        study.begin()
        study.declare(condition for item in asking for condition in conditions_of(item, study))
    except HarnessError as error:
        config.stash[REFUSED] = str(error)
        return
    terminate_like_interrupt(config)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """The header, where only the tests told that it is due; and the cluster that was joined for them."""
    study = config.stash.get(STUDY, None)
    if study is None or not study.conditions or config.get_verbosity() < 0:
        return []
    joined = [] if study.cluster is None else [f"ablation: {study.cluster}"]
    return [plain(line) for line in (*([] if _is_wanted(config) else study.header()), *joined)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> object:
    """A dry run ends here, before any test; so does a worker that cannot begin, and tells the main process why."""
    if REFUSED in session.config.stash:
        session.config.workeroutput["ablation_refused"] = session.config.stash[REFUSED]  # type: ignore[attr-defined]
        return True
    study = session.config.stash.get(STUDY, None)
    if study is None or not (study.settings.dry_run and study.conditions):
        return None
    try:
        lines = study.dry_run()
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for line in lines:
            reporter.write_line(plain(line))
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the report, whatever happened; a report that cannot be written is an error of the session."""
    if (follower := session.config.stash.get(FOLLOWER, None)) is not None:
        follower.close()
    study = session.config.stash.get(STUDY, None)
    store = session.config.stash[SETTINGS].store
    if study is None and has_workers(session.config) and store is not None and workers_declared(session.config, store):
        study = study_of(session.config)  # the workers may have begun one
    if study is None:
        return
    stopped = session.shouldstop or session.shouldfail or EXITS.get(int(exitstatus)) == "interrupted"
    if not stopped and any(_will_ask(item) for item in getattr(session, "items", ())):
        study.lend_a_hand()
    with held_back() as interrupted:
        _finish(session, study, EXITS.get(int(exitstatus), "error"), interrupted)
        if interrupted():
            session.config.stash.setdefault(FAILURE, "interrupted while the report was written; it stands whole")
            session.exitstatus = pytest.ExitCode.INTERRUPTED
    if (report := session.config.stash.get(REPORT, None)) is not None:
        from harness.findings.report.reading import Report

        written = Report(study.folder / REPORT_FILE, report)
        session.config.pluginmanager.hook.pytest_ablation_report(report=written)


def _finish(session: pytest.Session, study: "StudySession", how: "Exit", interrupted: "Callable[[], bool]") -> None:
    """Write the report; what cannot be written of it is said in the summary."""
    stash = session.config.stash
    try:
        report = study.finish(how, interrupted)
    except HarnessError as error:
        stash[FAILURE] = str(error)
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        return
    if report is not None:
        stash[REPORT] = report
    if study.drawing_error is not None:
        stash[FAILURE] = str(study.drawing_error)
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Verdicts, each condition's accuracy, interval and drop by k, and where the report is; less with -q."""
    if (failure := config.stash.get(FAILURE, None)) is not None:
        terminalreporter.write_sep("=", "ablation", red=True)
        terminalreporter.write_line(failure, red=True)
    report, study = config.stash.get(REPORT, None), config.stash.get(STUDY, None)
    if study is not None and study.left_alone is not None:
        terminalreporter.ensure_newline()
        terminalreporter.write_line(plain(f"ablation: {study.left_alone}"), yellow=True)
    if report is not None and config.get_verbosity() >= -1:
        from harness.plugin.terminal import write_brief, write_summary

        study = config.stash[STUDY]
        if config.get_verbosity() < 0:
            write_brief(terminalreporter, report, study.report_name)
        else:
            due = has_workers(config) and not _is_wanted(config)
            write_summary(terminalreporter, report, study.report_name, header=study.header() if due else ())
    if report is not None:
        from harness.plugin.terminal import tell_workflow

        study = config.stash[STUDY]
        for notice in (*study.notices, *study.repairs, *([] if study.replaced is None else [study.replaced])):
            terminalreporter.write_line(plain(f"ablation: {notice}"), yellow=True)
        for line in tell_workflow(report, os.environ, annotate=study.settings.annotate):
            terminalreporter.write_line(plain(line))


def _is_wanted(config: pytest.Config) -> bool:
    """Whether an ablation setting was given; where none was, only the collected tests can tell."""
    return bool(given(config))


def _will_ask(item: pytest.Item) -> bool:
    """Whether a test, in whichever process, asks for results: not one that is skipped, or may be."""
    return is_asking(item) and not any(map(item.get_closest_marker, ("skip", "skipif")))


def _check_asserts(config: pytest.Config) -> None:
    """Raise a SettingsError where no assert of a test is run: every eval would pass."""
    if sys.flags.optimize and config.getoption("assertmode") == "plain":
        raise SettingsError(
            "python -O with --assert=plain: no assert is run, and every test would pass; expected one that is; "
            "leave out -O (PYTHONOPTIMIZE), or --assert=plain"
        )

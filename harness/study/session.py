"""The study of one test session: from declared conditions to results, report and plots.

What pytest's hooks do not do themselves stands here: it reads the inputs, collects the declared conditions, runs them
once on first need (`computation`), and writes the report from what the store holds, however the session ended. On
workers that share a study the results are read from the store too, and only the main process reports.
"""

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from harness.errors import HarnessError, ReportError, SettingsError, StoreError, memory_is_named
from harness.experiment.conditions import BASELINE, UNTOUCHED, Condition, distinct, read_conditions, write_conditions
from harness.experiment.experiments import EXPERIMENTS, Builder, in_order
from harness.experiment.gate_conditions import Gate
from harness.experiment.store import IN_MEMORY, Repair, Store
from harness.files import is_file
from harness.findings.figures.drawing_process import DrawingProcess, begin_drawing
from harness.findings.report.gate_message import gate_message, not_alone
from harness.findings.report.report_data import Exit, ReportData
from harness.findings.report.report_files import REPORT_FILE
from harness.findings.report.report_writing import make_report_folder, what_is_replaced, write_report
from harness.findings.samples import OwnScore, Sample
from harness.findings.verdicts.verdict_data import GateResult
from harness.settings import Settings
from harness.study.asked_model import leave_alone
from harness.study.computation import Computation
from harness.study.forecast import forecast
from harness.study.forecast_text import forecast_lines
from harness.study.inputs import Inputs, read_inputs
from harness.study.judging import build_gate
from harness.study.outcome import GateVerdict, Outcome, Result, run_outcome
from harness.study.progress import Progress, shared_progress
from harness.study.provenance import Beginning, header_lines
from harness.study.ray_cluster import check_ray
from harness.study.run import Run
from harness.study.workers import Place


class StudySession:
    """One session's study, in one process.

    Nothing is read before it is asked for, and nothing made before `begin`. A study that is only looked at, by
    collection or a dry run, does not write: no folder, and no store where there is none.
    """

    def __init__(
        self, settings: Settings, root: Path, *, place: Place, own_score: OwnScore, writes: bool = True
    ) -> None:
        self.settings = settings
        self.root = root
        self.place = place
        self.writes = writes
        self.conditions: tuple[Condition, ...] = ()
        self._own_score = own_score
        self._run: Run | None = None
        self._outcome: Outcome | None = None
        self._results: Mapping[str, Result] | None = None
        self._gates: Mapping[str, GateResult] = {}
        self._failure: HarnessError | None = None
        self.drawing_error: ReportError | None = None
        self.repairs: tuple[Repair, ...] = ()
        self.replaced: str | None = None
        self.left_alone: str | None = None
        self._since = Beginning(place.command)
        self._computation = Computation(settings, place, self.begin)
        self._drawing: DrawingProcess | None = None

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        return self.settings.reports / self.settings.run

    @property
    def report_file(self) -> Path:
        """The report's file."""
        return self.folder / REPORT_FILE

    @property
    def cluster(self) -> str | None:
        """The cluster that was joined, in words."""
        return self._computation.cluster

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of who answered."""
        return self._computation.notices

    @property
    def report_name(self) -> str:
        """The report's file, so that it can be opened from where the command was typed."""
        file, here = self.report_file, self.place.typed_in or self.root
        return str(file.relative_to(here) if file.is_relative_to(here) else file)

    @cached_property
    @memory_is_named()
    def inputs(self) -> Inputs:
        """All that the settings name, read and checked; nothing is made. Raises HarnessError."""
        return read_inputs(self.settings)

    @property
    def run(self) -> Run:
        """The run over inputs and store; begins the study where that has not happened."""
        return self.begin()

    @memory_is_named()
    def begin(self) -> Run:
        """Read and check all inputs, and open the store; once.

        Raises:
            HarnessError: something that was asked for cannot be used.
        """
        if self._run is None:
            if self.settings.ray is not None:
                check_ray()
            inputs = self.inputs
            if self.writes:
                make_report_folder(self.folder)
            place = self.place
            share = 0.0 if place.worker is None else place.worker / place.workers
            path = self.settings.store_file
            counts = self.settings.dry_run and path.is_file()  # what is stored already; a collection does not ask
            store = Store(path, writes=self.writes) if self.writes or counts else Store(IN_MEMORY)
            self._run = Run(inputs, store, run_id=place.run_id, share=share, workers=place.workers)
            if not gc.get_freeze_count():  # nor when torch was imported, nor by a session before this one
                leave_alone()
        return self._run

    def close(self) -> None:
        """Let go of the store, leased GPUs, a cluster and who draws; what was found out of the model is remembered."""
        self._computation.close()
        if self._drawing is not None:
            self._drawing.close()
        if self._run is not None:
            if self.writes and self.place.worker is None:
                with suppress(StoreError):  # nothing but time is lost
                    self._run.inputs.model.memory.keep(self._run.store)
            self._run.store.close()

    @memory_is_named()
    def expand(self, given: Iterable[Condition | str | Builder]) -> tuple[Condition, ...]:
        """Conditions as they are; for an experiment's name, or a function of a Study, the conditions it builds.

        Raises:
            HarnessError: a builder cannot build on this ranking.
            SettingsError: something is neither.
        """
        conditions: list[Condition] = []
        for each in given:
            builder = {**UNTOUCHED, **EXPERIMENTS}.get(each) if isinstance(each, str) else each
            if isinstance(builder, Condition):
                conditions.append(builder)
                if builder.prompt == "plain_text":
                    raise SettingsError(
                        f"ablation marker: {builder.name}: a condition over plain text; expected one that asks a "
                        "question; mark the test with `ablation_gate` to measure plain text"
                    )
            elif callable(builder):
                conditions.extend(builder(self.inputs.study()))
            else:
                raise SettingsError(
                    f"ablation marker: {each!r}; expected a Condition, a function that builds some from a Study, or "
                    f"one of {', '.join([*UNTOUCHED, *EXPERIMENTS])}"
                )
        return tuple(conditions)

    def gates(self, names: Iterable[str]) -> tuple[Gate, ...]:
        """The gates of these names.

        Raises:
            HarnessError: there is none of such a name, or it cannot be built on this ranking.
        """
        return tuple(build_gate(self.inputs, name) for name in names)

    @memory_is_named()
    def declare(self, conditions: Iterable[Condition]) -> None:
        """What this session's tests need, the baseline always, in an order of its own, whatever that of the tests is.

        It is noted in the store for the reporting process. The cluster that is to answer what the store does not hold
        is joined: what is wrong with it is said before any test.

        Raises:
            HarnessError: two different conditions of one name, a head that the model has not, or a cluster that cannot
                be joined.
        """
        asked = tuple(conditions)
        if not asked:
            return
        conditions = distinct((BASELINE, *asked))
        for condition in conditions:
            for head in condition.heads:
                self.inputs.shape.check(head, f"condition {condition.name}")
        conditions = in_order(conditions, tuple(self.inputs.tasks))
        if self.settings.ray is not None and self.writes and not self._computation.is_done(conditions):
            self._computation.join_cluster(conditions)
        self.conditions = conditions
        if self.writes:
            self.run.store.declare(self.place.run_id, write_conditions(self.conditions))

    @memory_is_named()
    def dry_run(self) -> list[str]:
        """What would be computed, and what it would cost."""
        found = forecast(self.run, self.conditions)
        if beside := self._computation.facts(self.conditions):
            facts, sets = beside
            found = replace(found, facts=facts.forecast(sets))
        return forecast_lines(found)

    @cached_property
    @memory_is_named()
    def model(self) -> object:
        """The model (a `LoadedModel`), loaded once; a ModelError where it cannot be."""
        return self._computation.model(self.conditions)

    @memory_is_named()
    def results(self, progress: Callable[[Progress], None]) -> Mapping[str, Result]:
        """Every declared condition's result by name; what is not stored is computed first. Of a part of a study, none.

        A failure is raised again for every test that asks.
        """
        if self._failure is not None:
            raise self._failure
        if self._results is None:
            try:
                self._execute(progress)
                if self.settings.part is not None:
                    self._results = {}
                    return self._results
                report = self._worked_out("passed").report
            except HarnessError as error:
                self._failure = error
                self._computation.let_go_of_cluster()
                raise
            by_name = {figures.name: figures for figures in report.conditions}
            self._results = {
                each.name: Result(each, by_name[each.name]) for each in self.conditions if each.name in by_name
            }
            self._gates = {gate.name: gate for gate in report.gates}
        return self._results

    def lend_a_hand(self) -> None:
        """On a worker that no test has asked for results: do its part of the plan that others' tests wait for.

        Fewer tests than workers would leave some of them idle. What goes wrong here is raised where a test waits.
        """
        if self.place.worker is None or not self.writes or self._failure is not None or self._results is not None:
            return
        with suppress(HarnessError, KeyboardInterrupt):
            self._execute(lambda _: None)

    def _execute(self, progress: Callable[[Progress], None]) -> None:
        self._computation.execute(self.conditions, progress, self._begin_drawing)

    def _begin_drawing(self) -> None:
        """Now that there is something to do, whoever draws gets ready too."""
        if self._drawing is None and self.place.worker is None and self.settings.part is None:
            self._drawing = begin_drawing()

    def verdict(self, gate: Gate, again: str) -> GateVerdict:
        """What came of a gate, once `results` are there; `again` is the command that runs just this gate."""
        figures = self._gates[gate.name]
        each_task = self.settings.gate_tasks
        return GateVerdict(
            figures,
            passed=figures.verdict == "pass" and not (each_task and not_alone(figures)),
            message=gate_message(figures, report=self.report_name, again=again, each_task=each_task),
        )

    @memory_is_named()
    def finish(self, how: Exit, stopped: Callable[[], bool] = lambda: False) -> ReportData | None:
        """Write the report, its samples, tables, plots and page; `None` where no test declared anything.

        `None` too where what went wrong, and was raised by `results`, leaves nothing to report. Of a part of a study
        report and samples are all there is. Tables, plots and a page that cannot be written do not cost the
        report: what went wrong is `drawing_error`; `stopped` says whether to leave out what is not drawn yet. Of
        another session's report in this one's place, `replaced` says what is lost; but where this session did no row,
        it stays there, `left_alone` says so, and `None` is returned.

        Raises:
            HarnessError: the report cannot be written.
        """
        if self.place.worker is not None or not self.writes:
            return None
        if not self.conditions:
            self.conditions = self._declared_by_workers()
        if not self.conditions:
            return None
        try:
            outcome = self._worked_out(how)
        except HarnessError:
            if self._failure is None:
                raise
            return None
        workers = shared_progress(self.settings.store_file, self.place.run_id)
        if workers is not None:
            self._computation.notices = workers.notices
        report = outcome.at_end(how, self._since, self._computation.row_times, self.notices)
        began = self._results is not None or self._computation.row_times.began is not None
        lacks = report.run.missing if report.run.part is None else report.run.part.left
        if lacks and not began and not (workers and workers.rows_done) and is_file(self.report_file):
            self.left_alone = f"{self.report_name} is an earlier session's still, for no row was done in this one"
            return None
        self.replaced = what_is_replaced(report, self.folder)
        report = write_report(report, outcome.samples, self.folder)
        self.repairs = self.run.store.repairs(self.place.run_id)
        self.run.store.forget_progress(self.place.run_id)
        try:
            if self.settings.part is None:
                self._leave_to_look_at(report, outcome.samples, stopped)
        except ReportError as error:
            self.drawing_error = error
        return report

    def _leave_to_look_at(self, report: ReportData, samples: Sequence[Sample], stopped: Callable[[], bool]) -> None:
        """Tables, plots and page. Raises ReportError, which says what is missing, whatever went wrong."""
        try:
            from harness.study.to_look_at import row_texts, write_to_look_at

            memory, texts = self.run.inputs.model.memory, row_texts(self.run)
            write_to_look_at(report, samples, texts, self.folder, memory=memory, drawing=self._drawing, stopped=stopped)
        except HarnessError as error:
            raise ReportError(str(error)) from error
        except Exception as error:  # an installation that lacks a part, a name that a library cannot draw
            raise ReportError(
                f"{self.folder}: tables, plots or page are missing ({type(error).__name__}: {error}); expected all of "
                "them; the report stands: draw its plots with `retrieval-heads plot`"
            ) from error

    def header(self) -> list[str]:
        """What is asked of what, in two lines; more where the model cannot do what is usual."""
        return list(header_lines(self.settings, self.inputs.blueprint, root=self.root, report_name=self.report_name))

    def _worked_out(self, how: Exit) -> Outcome:
        """What came of the run, worked out once: after `results`, nothing more comes in."""
        if self._outcome is None:
            self._outcome = run_outcome(
                self.run, self.conditions, self._own_score, since=self._since, how=how, root=self.root
            )
        return self._outcome

    def _declared_by_workers(self) -> tuple[Condition, ...]:
        """What other processes of this session declared; no store is made, and no input read, for asking."""
        if not self.settings.store_file.is_file():
            return ()
        with Store(self.settings.store_file) as store:
            return read_conditions(store.declarations(self.place.run_id))

"""A session's computing: rows are put to the model of this process, or to a cluster's, and it is told how far that is.

A model is loaded when the first row needs it; processes that share a machine lease GPUs of their own, and one to which
the others leave none waits. A cluster is joined once for all. Knows nothing of what the answers mean, nor of pytest.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from harness.errors import BusyError
from harness.experiment.conditions import Condition
from harness.experiment.locks import Leases
from harness.settings import Settings
from harness.study.cluster_crew import ClusterCrew
from harness.study.crew import Crew, Engine
from harness.study.facts import FactsRun, asked_facts, judged_sets
from harness.study.judging import declared_gates
from harness.study.progress import Notes, Progress, RightAnswers
from harness.study.provenance import RowTimes
from harness.study.ray_cluster import crew_on_ray
from harness.study.run import Run
from harness.study.workers import Place, own_device_map, share_threads

if TYPE_CHECKING:  # with it torch, which a session may never need
    from harness.model.loading.loaded_model import LoadedModel

IDLE_SECONDS = 1.0
"""How long a worker without a GPU waits before it looks again."""


class Computation:
    """Who answers in one process, over the run that `run` gives. To be closed.

    `notices` are what a user should know of it, and `row_times` say when rows were asked.
    """

    def __init__(self, settings: Settings, place: Place, run: Callable[[], Run]) -> None:
        self.notices: tuple[str, ...] = ()
        self.row_times = RowTimes()
        self._settings = settings
        self._place = place
        self._run = run
        self._leases = Leases(session=place.run_id)
        self._model: LoadedModel | None = None
        self._cluster: ClusterCrew | None = None

    @property
    def cluster(self) -> str | None:
        """The cluster that was joined, in words."""
        return None if self._cluster is None else self._cluster.joined

    def is_done(self, conditions: Sequence[Condition]) -> bool:
        """Whether nothing is left to ask for these conditions, of the rows or of the facts beside them."""
        if not self._run().is_done(conditions):
            return False
        return (beside := self.facts(conditions)) is None or beside[0].is_done(beside[1])

    def join_cluster(self, conditions: Sequence[Condition]) -> ClusterCrew:
        """The cluster of the settings, joined once; models are laid out for these conditions.

        Raises:
            HarnessError: it cannot be joined, or does not do.
        """
        if self._cluster is None:
            self._cluster = crew_on_ray(self._run().inputs.model, self._run().work_by_layer(conditions))
        return self._cluster

    def let_go_of_cluster(self) -> None:
        """What is not needed any more is others'."""
        if (crew := self._cluster) is not None:
            self._cluster = None
            self.notices = (*crew.notices, crew.shares)
            crew.close()

    def close(self) -> None:
        """Let go of a cluster and of leased GPUs."""
        self.let_go_of_cluster()
        self._leases.close()

    def model(self, conditions: Sequence[Condition]) -> "LoadedModel":
        """The model, loaded once, and laid out for these conditions; a ModelError where it cannot be."""
        if self._model is None:
            device_map = self._settings.device_map
            if self._place.worker is not None or self._settings.gpus is not None:
                device_map = own_device_map(self._settings, self._leases)
            if self._place.worker is not None:
                share_threads(self._place.workers)
            work = self._run().work_by_layer(conditions)
            self._model = self._run().inputs.model.load(device_map=device_map, work=work)
        return self._model

    def execute(
        self, conditions: Sequence[Condition], progress: Callable[[Progress], None], begins: Callable[[], None]
    ) -> None:
        """Compute what is not stored; `begins` is called once there is something, before a model is loaded for it.

        A worker to whom the others leave no GPU waits for what they compute, or for one of theirs.

        Raises:
            HarnessError: the model, a prompt or the store is bad, or an ablation was unsound. Rows that are done stay.
        """
        load = partial(self._engine, conditions, begins)
        with self._telling(conditions, progress) as tell:
            while True:
                try:
                    self._run().execute(conditions, load, tell)
                    if beside := self.facts(conditions):
                        facts, sets = beside
                        facts.ask(sets, load, lambda told: tell(replace(told, of="facts", just_done=())))
                    self.let_go_of_cluster()
                    return
                except BusyError:
                    time.sleep(IDLE_SECONDS)

    def facts(self, conditions: Sequence[Condition]) -> tuple[FactsRun, tuple[Condition, ...]] | None:
        """The facts that are asked beside the study, and the gates' heads that are zeroed over them, if they are."""
        if not (facts := asked_facts(self._settings)):
            return None
        gates = declared_gates(self._run().inputs, conditions)
        sets = tuple(condition for gate in gates for part in judged_sets(gate) for condition in part)
        return (FactsRun.beside(self._run(), facts), sets) if sets else None

    def _engine(self, conditions: Sequence[Condition], begins: Callable[[], None]) -> Engine | Crew:
        begins()
        if self._settings.ray is not None:
            return self.join_cluster(conditions)
        from harness.model.generation.engines import ModelEngine

        return ModelEngine(self.model(conditions), self._settings.engine)

    @contextmanager
    def _telling(
        self, conditions: Sequence[Condition], progress: Callable[[Progress], None]
    ) -> Iterator[Callable[[Progress], None]]:
        """Progress with what the answers say; a worker notes it in the store, for the main process shows it."""
        run, worker = self._run(), self._place.worker
        right = RightAnswers(conditions, run.records, run.inputs.score, run.inputs.manner)
        notes = None if worker is None else Notes(run.store, self._place.run_id, f"gw{worker}")

        def tell(told: Progress) -> None:
            for row_id in told.just_done:
                right.add(run.inputs.by_id[row_id])
            if told.just_done:
                self.row_times.note(told.seconds)
            whole = replace(told, tallies=right.tallies)
            self.notices = told.notices or self.notices
            progress(whole)
            if notes is not None:
                notes.tell(whole)

        try:
            yield tell
        finally:
            if notes is not None:
                notes.flush()

"""A crew on a made-up cluster: who is hired, who is left out, and where the work of those goes that end."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import __version__
from harness.errors import AblationError, ClusterError, HarnessError, ModelError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.experiment.record import Record
from harness.experiment.store import Store
from harness.study import cluster_crew as crew_module
from harness.study.cluster import Came, Lost, Raised
from harness.study.cluster_crew import ClusterCrew, Order
from harness.study.inputs import Inputs
from harness.study.node_model import Equipment, Loaded, Task
from harness.study.progress import Progress
from harness.study.run import Run
from study.fake_cluster import A, B, Busy, C, FakeCluster, FakeHand, Pending

TWO = Condition("mine", "two", (Head(0, 1), Head(2, 3)))
IF_RIGHT = Condition("permutation", "own-draw00-k02", (Head(0, 0), Head(2, 2)), gate="own", only_right=True)


@pytest.fixture
def equal(inputs: Inputs) -> Equipment:
    return Equipment(inputs.run_key, __version__, "cpu")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for nodes all the time."""
    monkeypatch.setattr(crew_module, "LOOK_SECONDS", 0.0)


def crew_of(cluster: FakeCluster, *, mixed: bool = False) -> ClusterCrew:
    return ClusterCrew(cluster, cluster.expected.key, mixed=mixed)


class CountingStore(Store):
    """Counts how often each record is put."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.puts: Counter[str] = Counter()

    def put_row(self, records: Iterable[tuple[str, Record]], *, run: str = "", refresh: bool = False) -> None:
        kept = list(records)
        self.puts.update(key for key, _ in kept)
        super().put_row(kept, run=run, refresh=refresh)


def execute(inputs: Inputs, store: Store, crew: object, told: Callable[[Progress], None] = lambda _: None) -> set[str]:
    """Run three conditions, one of which hangs on the untouched answer; all that the records say."""
    conditions = [BASELINE, TWO, IF_RIGHT]
    run = Run(inputs, store, run_id="a")
    run.execute(conditions, lambda: crew, told)  # type: ignore[arg-type,return-value]  # an engine or a crew
    return {f"{job} {record.completion} {record.text}" for job, record in run.records(conditions).items()}


@pytest.fixture
def half_right(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The untouched model is right on one task: what hangs on that is asked there alone."""
    right = {row.id for row in inputs.rows if row.task == "ceo_lastname"}
    monkeypatch.setattr(Inputs, "score", lambda self, row, text: (row.id in right, False))


@pytest.mark.usefixtures("half_right")
def test_two_nodes_say_what_one_engine_says(inputs: Inputs, equal: Equipment, tmp_path: Path) -> None:
    told: list[Progress] = []
    cluster = FakeCluster(equal, [A, B])
    with CountingStore(tmp_path / "alone.sqlite") as alone, CountingStore(tmp_path / "crew.sqlite") as together:
        expected = execute(inputs, alone, FakeEngine())
        assert execute(inputs, together, crew_of(cluster), told.append) == expected
        assert together.puts == alone.puts
    assert len(expected) == 6 + 6 + 3
    assert [hand.node for hand in cluster.hands] == [A, B, B]
    assert [each.rows_done for each in told] == [3, 6], "what came together is told of at once"
    assert sum(told[-1].by.values()) == 6
    assert set(told[-1].by) == {"node-a", "node-b"}
    assert not list(tmp_path.glob("*.claim"))


@pytest.mark.usefixtures("half_right")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.dictionaries(st.integers(0, 12), st.integers(0, 9), max_size=8))
def test_whoever_is_killed_whenever_nothing_is_lost_or_kept_twice(
    kills: dict[int, int], inputs: Inputs, equal: Equipment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """But for three deaths in a row over one piece of work, which end a run in one line; the next one goes on."""
    store = tmp_path_factory.mktemp("kills") / "store.sqlite"
    cluster = FakeCluster(equal, [A, B], kills=kills)
    with CountingStore(store) as together:
        try:
            found = execute(inputs, together, crew_of(cluster))
        except ClusterError as error:
            assert "3 models in a row ended" in str(error) or "no model on any" in str(error)  # noqa: PT017  # or none
            found = execute(inputs, together, FakeEngine())
        assert set(together.puts.values()) == {1}
    with Store(store.with_name("alone.sqlite")) as alone:
        assert found == execute(inputs, alone, FakeEngine())


def test_a_death_is_told_and_the_next_model_is_on_the_same_node(inputs: Inputs, equal: Equipment, store: Store) -> None:
    """Of the first piece one prompt is left, of the next both."""
    cluster = FakeCluster(equal, [A], kills={0: 4})
    crew = crew_of(cluster)
    execute(inputs, store, crew)
    assert [hand.node for hand in cluster.hands] == [A, A]
    assert crew.shares.startswith("prompts by model: node-a 1 + ")
    assert crew.notices == ["node-a: a model ended (killed); what it had not answered, 3 prompts, goes to others"]


def test_a_cluster_on_which_no_model_answered_says_so(equal: Equipment) -> None:
    assert crew_of(FakeCluster(equal, [])).shares == "prompts by model: none, for no model answered"


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(
    ("what", "change", "said"),
    [
        ("key", {"fingerprint": "f" * 64}, "weights ffffffffffff..., expected "),
        ("key", {"dtype": "bfloat16"}, "dtype bfloat16, expected float32"),
        ("key", {"torch_version": "1.0"}, "torch 1.0, expected "),
        ("card", "A100", "card A100, expected cpu, as node-a has"),
        ("harness", "0.0.1", f"retrieval-heads 0.0.1, expected {__version__}"),
    ],
)
def test_a_node_that_is_unlike_is_named_and_left_out_or_allowed(
    what: str, change: Any, said: str, mixed: bool, inputs: Inputs, equal: Equipment, store: Store
) -> None:
    """Other weights are never allowed: their answers would be another model's."""
    changed: Any = replace(equal.key, **change) if what == "key" else change
    unlike = replace(equal, **{what: changed})
    cluster = FakeCluster(equal, [A, B], begins={"b": (Came(unlike), Came(Loaded(1)))})
    crew = crew_of(cluster, mixed=mixed)
    execute(inputs, store, crew)
    (notice,) = crew.notices
    assert notice.startswith("node-b: ")
    assert said in notice
    allowed = mixed and unlike.key.fingerprint == equal.key.fingerprint and unlike.key.dtype == equal.key.dtype
    assert ("allowed" in notice) == allowed
    assert any(hand.sent for hand in cluster.hands if hand.node is B) == allowed
    records = Run(inputs, store, run_id="b").records([BASELINE, TWO]).values()
    remark = {"key": "torch 1.0", "harness": "retrieval-heads 0.0.1"}.get(what)
    beside = {f"a fake card ({remark})"} if allowed and remark else set()
    assert {record.device for record in records} == {"a fake card", *beside}


def test_a_model_that_cannot_be_loaded_says_why_once(inputs: Inputs, equal: Equipment, store: Store) -> None:
    broken = (Came(equal), Raised(ModelError("weights: cut off")))
    cluster = FakeCluster(equal, [A, B, C], begins={"b": broken, "c": broken})
    crew = crew_of(cluster)
    execute(inputs, store, crew)
    assert crew.notices == ["node-b: left out: weights: cut off"]


def test_models_that_end_as_they_are_loaded_are_not_tried_for_ever(
    inputs: Inputs, equal: Equipment, store: Store
) -> None:
    cluster = FakeCluster(equal, [A, B], begins={"a": (Lost("out of memory"),)})
    crew = crew_of(cluster)
    execute(inputs, store, crew)
    assert [hand.node for hand in cluster.hands].count(A) == 3
    assert crew.notices[-1] == (
        "node-a: left out: 3 models in a row ended as they were loaded, the last: out of memory"
    )


def refused(inputs: Inputs, store: Store, cluster: FakeCluster, kind: type[HarnessError]) -> str:
    with pytest.raises(kind) as error:
        execute(inputs, store, crew_of(cluster))
    return str(error.value)


def test_where_no_node_can_serve_one_line_says_why(inputs: Inputs, equal: Equipment, store: Store) -> None:
    broken = (Came(equal), Raised(ModelError("weights: cut off")))
    said = refused(inputs, store, FakeCluster(equal, [A], begins={"a": broken}), ClusterError)
    assert said.startswith("cluster: no model on any of 1 node (node-a: weights: cut off); expected at least one; ")


def test_nobody_waits_for_ever_for_nodes_or_room(
    inputs: Inputs, equal: Equipment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "PATIENCE_SECONDS", 0.0)
    said = refused(inputs, store, FakeCluster(equal, [B], hand=Pending), ClusterError)
    assert said.startswith("cluster: no model on any of 1 node (node-b: no process began there within 0 s, as ")
    said = refused(inputs, store, FakeCluster(equal, []), ClusterError)
    assert said.startswith("cluster: no model on any of 0 nodes (none came within 0 s); expected at least one; ")


def test_room_that_others_hold_is_waited_for(
    inputs: Inputs, equal: Equipment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second session on a busy cluster gave up after two minutes; it says at once what it waits for."""
    monkeypatch.setattr(crew_module, "PATIENCE_SECONDS", 0.05)
    told: list[Progress] = []
    crew = crew_of(Busy(equal, [A, B]))
    execute(inputs, store, crew, told.append)
    assert (told[0].rows_done, told[0].rows) == (0, 6)
    assert told[0].notices == (
        "cluster: others hold the GPUs or CPUs of node-a and 1 other node; waiting until there is room for a model, "
        "however long that takes (Ctrl-C ends it)",
    )
    assert crew.notices == ["cluster: waited 0.0 minutes for room that others held"]
    assert told[-1].rows_done == 6


def test_a_cluster_that_others_hold_says_so_when_it_is_joined(equal: Equipment) -> None:
    for held, said in (("", ""), ("a", ""), ("ab", ", all of it held by others now")):
        crew = crew_of(FakeCluster(equal, [A, B, replace(C, room=0)], held=frozenset(held)))
        assert crew.joined == f"a cluster: 3 nodes, room for 3 models{said}"


def test_work_that_ends_every_model_names_its_rows(inputs: Inputs, equal: Equipment, store: Store) -> None:
    said = refused(inputs, store, FakeCluster(equal, [A], kills=dict.fromkeys(range(9), 3)), ClusterError)
    assert "3 models in a row ended over the same" in said
    assert inputs.rows[0].id in said


class Unsound(FakeHand):
    """Whatever it is sent is unsound."""

    def send(self, *_: object) -> None:
        self.events.append(Raised(AblationError("no hook fired")))


def test_what_is_unsound_ends_the_run(inputs: Inputs, equal: Equipment, store: Store) -> None:
    assert refused(inputs, store, FakeCluster(equal, [A], hand=Unsound), AblationError) == "no hook fired"


def test_a_node_may_join_late(inputs: Inputs, equal: Equipment, store: Store) -> None:
    cluster = FakeCluster(equal, [A])
    run = Run(inputs, store, run_id="a")
    ask = run.ask(run.plan([BASELINE]).work[0].jobs)

    def orders() -> Iterator[Order]:
        for number in range(20):
            if number == 2:
                cluster.there = [A, C]
            yield Order("answer", (ask,), number)

    assert sum(map(len, crew_of(cluster).carry_out(orders()))) == 20
    assert [hand.node for hand in cluster.hands] == [A, C]
    assert cluster.hands[1].sent


def test_means_are_added_in_the_order_of_the_prompts(inputs: Inputs, equal: Equipment) -> None:
    """Whoever finds them, so that they are the same to the last bit."""
    prompts = [inputs.prompts.asked(row) for row in inputs.rows]
    total, notes = np.zeros((3, 32)), list[int]()
    for prompt in prompts:
        total = total + 1 / len(prompt.token_ids)
    found = crew_of(FakeCluster(equal, [A, B], kills={0: 4})).mean_values(prompts, notes.append)
    assert np.array_equal(found.vectors, total / len(prompts))
    assert notes == [1, 2, 3, 4, 5, 6]


def test_orders_that_are_not_there_yet_are_asked_for_again(inputs: Inputs, equal: Equipment, store: Store) -> None:
    run = Run(inputs, store, run_id="a")
    ask = run.ask(run.plan([BASELINE]).work[0].jobs)
    orders = iter([None, Order("answer", (ask,), "first"), None, None, Order("answer", (ask,), "second")])
    together = crew_of(FakeCluster(equal, [A, B])).carry_out(orders)
    assert sorted(order.key for came in together for order, *_ in came) == ["first", "second"]


@pytest.mark.parametrize(
    ("loaded", "most"),
    [(Loaded(1), 2), (Loaded(4), 3), (Loaded(7), 4), (Loaded(1, "split"), 2), (Loaded(3, "split"), 4)],
)
def test_the_next_piece_is_sent_before_the_last_answer_is_in(
    loaded: Loaded, most: int, inputs: Inputs, equal: Equipment, store: Store
) -> None:
    """And no sooner: when no more items are left than the model does at once; of split ones pieces are counted."""
    run = Run(inputs, store, run_id="a")
    asks = [run.ask(work.jobs) for work in run.plan([BASELINE]).work[:3]]
    cluster = FakeCluster(equal, [A], begins={"a": (Came(equal), Came(loaded))})
    orders = (Order("answer", asks, number) for number in range(7))
    came = [result for together in crew_of(cluster).carry_out(orders) for result in together]
    assert Counter(order.key for order, *_ in came) == dict.fromkeys(range(7), 3)
    assert [hand.most for hand in cluster.hands] == [most]


def test_what_waited_behind_another_piece_did_not_end_a_model(inputs: Inputs, equal: Equipment, store: Store) -> None:
    """Twice it is sent behind the first piece, and once alone, when its model ends: that is one loss, not three."""
    cluster = FakeCluster(equal, [A], kills={0: 4, 1: 3, 2: 4})
    assert execute(inputs, store, crew_of(cluster))
    assert [hand.sent > 1 for hand in cluster.hands] == [True] * 4


def test_what_came_before_an_error_is_kept(inputs: Inputs, equal: Equipment, store: Store) -> None:
    """Two models: one answers, and in the same moment what the other was sent turns out to be unsound."""

    class Second(FakeHand):
        def send(self, number: int, task: Task, items: Sequence[object], *more: object) -> None:
            super().send(number, task, items, *more)
            if self.node is C:
                self.events.clear()
                self.events.append(Raised(AblationError("no hook fired")))

    assert refused(inputs, store, FakeCluster(equal, [A, C], hand=Second), AblationError) == "no hook fired"
    assert Run(inputs, store, run_id="b").records([BASELINE, TWO])

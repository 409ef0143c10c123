"""A crew on a cluster: models on many nodes, hired, checked, sent work and replaced, by one process that keeps account.

Every node is checked before its first row: one that has other weights, other versions or another card is named, and
left out. What a model that ends has not answered goes to others; nodes may join late. Room that others hold is waited
for, however long they hold it. Rounds come from a run, which alone writes; so nothing that dies here loses more than
what it had not said.

Knows no Ray: a cluster is what `cluster` says it is.
"""

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.errors import ClusterError, HarnessError, counted
from harness.experiment.intervention import MeanValues
from harness.experiment.locks import WAIT_SECONDS
from harness.experiment.record import Ask, RunKey
from harness.retrieval.prompts import Prompt, Trial
from harness.study.cluster import Came, Cluster, Event, Hand, Lost, Node, Raised
from harness.study.crew import Answers, AnyRound, Crew
from harness.study.node_model import Equipment, Loaded, Task

LOOK_SECONDS = 2.0
"""How often it is looked for new nodes, and for room on known ones."""
PATIENCE_SECONDS = 120.0
"""How long a run without any model waits for nodes to come, or for a process to begin where nobody else is at work."""
MOST_LOSSES = 3
"""How many models in a row may end over one piece of work, or one after the other while they load on a node."""


@dataclass(frozen=True, eq=False, slots=True)
class Order:
    """A piece of work for one model: what to do with some items; `key` is for whoever ordered."""

    task: Task
    items: Sequence[object]
    key: Any
    arguments: tuple[object, ...] = ()


@dataclass(eq=False, slots=True)
class _Work:
    """An order on its way: the places of the items that nothing has come of, and the models lost over it in a row."""

    order: Order
    left: list[int]
    losses: int = 0


@dataclass(eq=False, slots=True)
class _Post:
    """A hand and where it stands: whether its process has begun, how much its model does at once (nothing before it is
    loaded), and what it was sent and has not done, by number, with the places of the items."""

    node: Node
    hand: Hand
    here: bool = False
    at_once: int = 0
    split: bool = False
    sent: dict[int, tuple[_Work, tuple[int, ...]]] = field(default_factory=dict)
    remark: str = ""
    answers: int = 0

    @property
    def wants_more(self) -> bool:
        """Whether it would soon wait for work: no more is left of what it was sent than it does at once.

        A split model does items of so many pieces, those of one piece mostly one after the other: of these a piece of
        which one item is left counts as done, once. Nobody hoards what others could do.
        """
        left = [len(work.left) for work, _ in self.sent.values()]
        if self.split:
            return sum(n > 1 for n in left) < self.at_once >= len(left)
        return 0 < self.at_once >= sum(left)


@dataclass(slots=True)
class _Known:
    """What is known of nodes: why some are unfit, and how many models in a row were lost there as they were loaded."""

    unfit: dict[str, str] = field(default_factory=dict)
    losses: Counter[str] = field(default_factory=Counter)


_Result = tuple[Order, int, Any, _Post]
"""Of one item its order, its place there, what came of it, and from where."""


class ClusterCrew(Crew):
    """Models on the nodes of a cluster; `mixed` lets other versions and cards serve too. To be closed.

    `expected` is what records depend on here. `notices` are what a user should know while hours go by, each once.

    Its methods raise ClusterError where no node can serve, or model after model ends over one piece of work; and what a
    model raises.
    """

    def __init__(self, cluster: Cluster, expected: RunKey, *, mixed: bool) -> None:
        self._cluster = cluster
        self._expected = expected
        self._mixed = mixed
        self.notices: list[str] = []
        self._numbers = itertools.count()
        self._posts: dict[Hand, _Post] = {}
        self._gone: list[_Post] = []
        self._known = _Known()
        self._card: tuple[str, str] | None = None
        self._next_look = 0.0
        self._served, self._has_served = time.monotonic(), False
        self._waits: tuple[float, str] | None = None

    @property
    def size(self) -> int:
        """How many models the cluster has room for now."""
        return max(1, sum(node.room for node in self._cluster.nodes()))

    @property
    def joined(self) -> str:
        """Which cluster it is, what it has room for, and whether others hold all of that now, in words."""
        nodes = self._cluster.nodes()
        room = counted(sum(node.room for node in nodes), "model")
        held = {node.id for node in nodes if node.room}
        others = ", all of it held by others now" if held and held <= self._cluster.held_by_others() else ""
        return f"{self._cluster.where}: {counted(len(nodes), 'node')}, room for {room}{others}"

    @property
    def shares(self) -> str:
        """How many prompts each model has answered, node by node, in words."""
        by_node: dict[str, list[str]] = {}
        for post in (*self._gone, *self._posts.values()):
            by_node.setdefault(post.node.name, []).append(str(post.answers))
        told = ", ".join(f"{name} {' + '.join(n)}" for name, n in by_node.items())
        return f"prompts by model: {told or 'none, for no model answered'}"

    def close(self) -> None:
        """Let go of the cluster."""
        self._cluster.close()

    def answer(self, rounds: Iterator[AnyRound | None]) -> Generator[Answers[AnyRound], None, None]:
        """Every round by one model, several at a time."""
        orders = (None if each is None else Order("answer", each.asks, each) for each in rounds)
        for together in self.carry_out(orders):
            yield [
                (order.key, number, replace(said, device=said.device + post.remark, who=post.node.name))
                for order, number, said, post in together
            ]

    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None]) -> MeanValues:
        """As one engine finds them, to the last bit: each prompt's by any model, added in the order of the prompts."""
        orders = (Order("means", (prompt,), number) for number, prompt in enumerate(prompts))
        early: dict[int, Any] = {}
        total: Any = 0.0
        added = 0
        came = itertools.chain.from_iterable(self.carry_out(orders))
        for n_came, (order, _, means, _post) in enumerate(came, start=1):
            early[order.key] = means.vectors
            while added in early:
                total = total + early.pop(added)
                added += 1
            note(n_came)
        return MeanValues(total / added)

    def scores(
        self, groups: Iterable[Sequence[tuple[int, Trial]]], method: str, variant: str | None
    ) -> Iterator[tuple[int, Any]]:
        """Each trial's number and what every head scores on it, a group by one model."""
        orders = (
            Order("scores", [trial for _, trial in group], [number for number, _ in group], (method, variant))
            for group in groups
        )
        for order, place, scores, _ in itertools.chain.from_iterable(self.carry_out(orders)):
            yield order.key[place], scores

    def carry_out(self, orders: Iterator[Order | None]) -> Iterator[list[_Result]]:
        """Have orders carried out; what came of their items, as it comes, all that came together."""
        again: deque[_Work] = deque()
        self._served, more, waits = time.monotonic(), True, False

        def next_work() -> _Work | None:
            nonlocal more, waits
            if not again and more:
                order = next(orders, _NO_MORE)
                more, waits = order is not _NO_MORE, order is None
                if order is not None and order is not _NO_MORE:
                    again.append(_Work(order, [*range(len(order.items))]))
            return again.popleft() if again else None

        try:
            while True:
                self._hire()
                waits = False
                for post in self._posts.values():
                    while post.wants_more and (work := next_work()) is not None:
                        self._send(post, work)
                if not more and not again and not any(post.sent for post in self._posts.values()):
                    return
                yield from self._listened(WAIT_SECONDS if waits else LOOK_SECONDS, again)
        finally:
            for post in [post for post in self._posts.values() if post.sent]:
                self._let_go(post)

    def _send(self, post: _Post, work: _Work) -> None:
        number, places = next(self._numbers), tuple(work.left)
        post.sent[number] = work, places
        post.hand.send(number, work.order.task, [work.order.items[each] for each in places], *work.order.arguments)

    def _listened(self, seconds: float, again: deque[_Work]) -> Iterator[list[_Result]]:
        """What came of items, if anything did; before an error is raised, all that came before it."""
        came, wrong = list[_Result](), None
        try:
            for hand, event in self._cluster.listen(seconds):
                came.extend(self._heard(hand, event, again))
        except HarnessError as error:
            wrong = error
        if came:
            yield came
        if wrong is not None:
            raise wrong

    def _heard(self, hand: Hand, event: Event, again: deque[_Work]) -> Iterator[_Result]:
        """One event; a hand that was let go of is not listened to."""
        if (post := self._posts.get(hand)) is None:
            return
        match event:
            case Came(None):
                post.here = True
            case Came(Equipment() as found):
                self._check(post, found)
            case Came(Loaded(at_once, layout)):
                post.at_once, post.split = at_once, bool(layout)
                self._known.losses[post.node.id] = 0
                if layout:
                    self._tell(f"{post.node.name}: {layout}")
            case Came((number, place, value)):
                work, places = post.sent[number]
                work.left.remove(places[place])
                work.losses, post.answers = 0, post.answers + 1
                if not work.left:
                    del post.sent[number]
                self._served, self._has_served = time.monotonic(), True
                yield work.order, places[place], value, post
            case Raised(error) if not post.sent:
                self._leave_out(post, str(error))
            case Raised(error):
                raise error
            case Lost(why):
                self._lost(post, why, again)

    def _check(self, post: _Post, found: Equipment) -> None:
        """Take a node in, or leave it out."""
        wrong, other = found.differences(self._expected, self._card or (found.card, ""))
        if wrong:
            self._leave_out(post, f"{'; '.join(wrong)}; put the same model there, or take the node away")
        elif other and not self._mixed:
            self._leave_out(
                post, f"{'; '.join(other)}; make them equal, take the node away, or set ray-mixed to allow it"
            )
        else:
            if other:
                self._tell(f"{post.node.name}: {'; '.join(other)}; allowed, and said in its records")
            self._card = self._card or (found.card, f", as {post.node.name} has")
            versions = [words.partition(",")[0] for words in other if not words.startswith("card")]
            post.remark = f" ({', '.join(versions)})" if versions else ""

    def _hire(self) -> None:
        """Fill the room that there is."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        nodes = self._cluster.nodes()
        there = {node.id for node in nodes}
        for post in [post for post in self._posts.values() if post.node.id not in there and not post.sent]:
            self._let_go(post)
        taken = Counter(post.node.id for post in self._posts.values())
        for node in [node for node in nodes if node.id not in self._known.unfit]:
            for _ in range(node.room - taken[node.id]):
                post = _Post(node, self._cluster.hire(node))
                self._posts[post.hand] = post
                post.hand.begin()
        if any(post.here for post in self._posts.values()):
            self._end_waiting()
            return
        why = [f"{node.name}: {self._known.unfit[node.id]}" for node in nodes if node.id in self._known.unfit]
        if not self._posts and why and not self._has_served:
            raise self._no_model(nodes, why)
        if self._waits_for_others():
            return
        if time.monotonic() > self._served + PATIENCE_SECONDS:
            late = f"no process began there within {PATIENCE_SECONDS:g} s, as where others' tasks hold what it needs"
            why = [*(f"{post.node.name}: {late}" for post in self._posts.values()), *why]
            raise self._no_model(nodes, why or [f"none came within {PATIENCE_SECONDS:g} s"])

    def _waits_for_others(self) -> bool:
        """Whether others hold the room of nodes on which models are to begin; said once, and waited for without end."""
        if time.monotonic() < self._served + LOOK_SECONDS:  # what is free may not be known yet
            return False
        held = self._cluster.held_by_others()
        names = list(dict.fromkeys(post.node.name for post in self._posts.values() if post.node.id in held))
        if not names:
            return False
        more = f" and {counted(len(names) - 1, 'other node')}" if len(names) > 1 else ""
        said = (
            f"cluster: others hold the GPUs or CPUs of {names[0]}{more}; waiting until there is room for a model, "
            "however long that takes (Ctrl-C ends it)"
        )
        self._waits = self._waits or (self._served, said)
        self._served = time.monotonic()
        self._tell(self._waits[1])
        return True

    def _end_waiting(self) -> None:
        """Say how long it was, in the place of what was waited for."""
        if self._waits is not None:
            since, said = self._waits
            self._waits = None
            self.notices.remove(said)
            self._tell(f"cluster: waited {(time.monotonic() - since) / 60:.1f} minutes for room that others held")

    def _no_model(self, nodes: Sequence[Node], why: Sequence[str]) -> ClusterError:
        return ClusterError(
            f"cluster: no model on any of {counted(len(nodes), 'node')} ({why[0]}); expected at least one; start nodes "
            "that have room for it, and the same command: finished rows are kept"
        )

    def _lost(self, post: _Post, why: str, again: deque[_Work]) -> None:
        """What it had not answered goes to others; over what it did at the time, one model more was lost."""
        works, node = [work for work, _ in post.sent.values()], post.node
        self._let_go(post)
        if not works:
            if not post.at_once:
                self._known.losses[node.id] += 1
            if self._known.losses[node.id] >= MOST_LOSSES:
                self._leave_out(post, f"{MOST_LOSSES} models in a row ended as they were loaded, the last: {why}")
            else:
                self._tell(f"{node.name}: a model ended before it was asked anything ({why})")
            return
        for work in works[: post.at_once]:
            work.losses += 1
            if work.losses >= MOST_LOSSES:
                raise ClusterError(
                    f"cluster: {MOST_LOSSES} models in a row ended over the same {counted(len(work.left), 'prompt')}"
                    f"{_named(work)}, the last on {node.name}: {why}; expected an answer; finished rows are kept"
                )
        n_prompts = sum(len(work.left) for work in works)
        left = counted(n_prompts, "prompt")
        self._tell(f"{node.name}: a model ended ({why}); what it had not answered, {left}, goes to others")
        again.extendleft(reversed(works))

    def _leave_out(self, post: _Post, why: str) -> None:
        """Hire nobody on a node any more."""
        self._known.unfit[post.node.id] = why
        for other in [other for other in self._posts.values() if other.node.id == post.node.id and not other.sent]:
            self._let_go(other)
        if not any(notice.endswith(why) for notice in self.notices):
            self._tell(f"{post.node.name}: left out: {why}")
        self._next_look = 0.0

    def _let_go(self, post: _Post) -> None:
        if self._posts.pop(post.hand, None) is not None and post.answers:
            self._gone.append(post)
        post.hand.dismiss()
        post.sent = {}
        self._next_look = 0.0

    def _tell(self, what: str) -> None:
        if what not in self.notices:
            self.notices.append(what)
            if self.when_noticed is not None:
                self.when_noticed()


_NO_MORE = Order("answer", (), None)
"""In the place of an order, where there is none left."""


def _named(work: _Work) -> str:
    """The rows of what is left, where it is of rows."""
    items = [work.order.items[place] for place in work.left]
    ids = dict.fromkeys(item.prompt.row_id for item in items if isinstance(item, Ask | Trial))
    return f" ({', '.join(ids)})" if ids else ""

"""A made-up cluster: nodes of one equipment, and hands that answer at once, end when told to, or wait for others."""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from fake_engine import FakeEngine

from harness.experiment.intervention import MeanValues
from harness.experiment.record import Ask
from harness.retrieval.prompts import Prompt
from harness.study.cluster import Came, Event, Lost, Node
from harness.study.crew import Said
from harness.study.node_model import Equipment, Loaded, Task

A, B, C = Node("a", "node-a", 1), Node("b", "node-b", 2), Node("c", "node-c", 1)


class FakeHand:
    """Has an answer to all at once, and says one thing after the other."""

    def __init__(self, node: Node, begins: Sequence[Event]) -> None:
        self.node, self.begins = node, begins
        self.events: deque[Event] = deque()
        self.sent = self.most = 0

    def begin(self) -> None:
        self.events.extend([Came(None), *self.begins])

    def send(self, number: int, task: Task, items: Sequence[object], *_: object) -> None:
        self.sent += 1
        self.most = max(self.most, 1 + len({event.value[0] for event in self.events if isinstance(event, Came)}))
        self.events.extend(Came((number, place, answered(task, item))) for place, item in enumerate(items))

    def dismiss(self) -> None:
        self.events.clear()


def answered(task: Task, item: object) -> object:
    if isinstance(item, Ask):
        return Said(FakeEngine().answer(item), 0.5, FakeEngine.device)
    assert task == "means"
    assert isinstance(item, Prompt)
    return MeanValues(np.full((3, 32), 1 / len(item.token_ids)))


@dataclass
class FakeCluster:
    """Nodes of one equipment, but for `begins`; hands whose number is in `kills` end after as many events."""

    expected: Equipment
    there: list[Node]
    begins: dict[str, Sequence[Event]] = field(default_factory=dict)
    kills: dict[int, int] = field(default_factory=dict)
    hand: type[FakeHand] = FakeHand
    hands: list[FakeHand] = field(default_factory=list)
    heard: Counter[int] = field(default_factory=Counter)
    closed: bool = False
    where: str = "a cluster"
    held: frozenset[str] = frozenset()

    def nodes(self) -> Sequence[Node]:
        return self.there

    def held_by_others(self) -> frozenset[str]:
        return self.held

    def hire(self, node: Node) -> FakeHand:
        self.hands.append(self.hand(node, self.begins.get(node.id, (Came(self.expected), Came(Loaded(1))))))
        return self.hands[-1]

    def listen(self, seconds: float) -> Iterator[tuple[FakeHand, Event]]:
        for number, hand in enumerate(self.hands):
            if not hand.events:
                continue
            if self.heard[number] == self.kills.get(number):
                hand.events.clear()
                hand.events.append(Lost("killed"))
            self.heard[number] += 1
            yield hand, hand.events.popleft()

    def close(self) -> None:
        self.closed = True


class Pending(FakeHand):
    """There is no room for it."""

    def begin(self) -> None:
        pass


@dataclass
class Busy(FakeCluster):
    """Others hold every node until it has been looked so often whether they do."""

    hand: type[FakeHand] = Pending
    looks: int = 20

    def held_by_others(self) -> frozenset[str]:
        time.sleep(0.01)
        self.looks -= 1
        if self.looks > 0:
            return frozenset(node.id for node in self.there)
        for hand in self.hands:
            FakeHand.begin(hand)
        return frozenset()

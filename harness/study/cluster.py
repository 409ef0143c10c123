"""A cluster, as a crew sees it (`cluster_crew`): nodes, hands that are hired on them, and what is heard from these.

What it runs on is for whoever makes one: Ray (`ray_cluster`), or a test.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.errors import HarnessError
from harness.study.node_model import Task


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster, and how many models it has room for."""

    id: str
    name: str
    room: int


@dataclass(frozen=True, slots=True)
class Came:
    """Something that a hand said (`NodeModel.serve`)."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """What a hand was sent cannot be done, there or anywhere like it."""

    error: HarnessError


@dataclass(frozen=True, slots=True)
class Lost:
    """A hand is there no more, or of no more use."""

    why: str


Event = Came | Raised | Lost


class Hand(Protocol):
    """One model on a node."""

    def begin(self) -> None:
        """Have it say that it is there, and what is there, load, and do what it is sent (`NodeModel.serve`)."""

    def send(self, number: int, task: Task, items: Sequence[object], /, *arguments: object) -> None:
        """Have it do something with these items, after what it was sent before (`NodeModel.take`)."""

    def dismiss(self) -> None:
        """Let it go, whatever it does."""


class Cluster(Protocol):
    """Nodes, and what is heard from the hands on them."""

    @property
    def where(self) -> str:
        """Which cluster it is, in words."""

    def nodes(self) -> Sequence[Node]:
        """Those that are there."""

    def held_by_others(self) -> frozenset[str]:
        """The ids of nodes that have no room for a model now, and on which somebody else is at work."""

    def hire(self, node: Node, /) -> Hand:
        """A new hand on this node, as soon as there is room."""

    def listen(self, seconds: float, /) -> Iterable[tuple[Hand, Event]]:
        """What came from hands that are at work, after at most so many seconds."""

    def close(self) -> None:
        """Let go of it and of every hand."""

"""Statements: what one sentence says of the registrant in answer to a task, or why it does not say it.

One module for each kind of task finds them (`find_...`), by patterns that are made to be right rather than to find
much. Knows nothing about filings as a whole; `harness.retrieval.filings.candidates` asks every sentence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from harness.retrieval.filings.registrant import Registrant


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence states this value of the task, as it is written there.

    `past`: it tells how the registrant began, not what it is; where it moved since, that is another matter.
    """

    task: str
    value: str
    past: bool = False


@dataclass(frozen=True, slots=True)
class Doubt:
    """A sentence that looks like a statement of the task, and the reason why it is not taken for one.

    `moved`: it says that the registrant went to another state, or became another corporation.
    """

    task: str
    reason: str
    moved: bool = False


class Finder(Protocol):
    """What a module of patterns offers."""

    def __call__(self, sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
        """What this sentence of this section states of the registrant."""
        ...


def one_of(*patterns: str) -> str:
    """A pattern of alternatives, without a group of its own; a maybe is `one_of(...) + "?"`."""
    return f"(?:{'|'.join(patterns)})"

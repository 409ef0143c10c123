"""Who answers: an engine in this process, or many models elsewhere; and what either says to one prompt.

A run hands its work out round by round, and takes answers as they come, in any order. Knows nothing of plans and
stores; the cluster's crew is `harness.study.cluster_crew`.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Protocol, TypeVar

from harness.experiment.intervention import MeanValues
from harness.experiment.locks import WAIT_SECONDS
from harness.experiment.record import Ask, Completion
from harness.retrieval.prompts import Prompt


class Engine(Protocol):
    """Answers prompts, each once for each of its head sets; prompts of several rounds at once where it may."""

    @property
    def at_once(self) -> int:
        """Of how many: more than one where its model is split over devices, or prompts are read side by side."""

    @property
    def layout(self) -> str:
        """Where layers lie that are on several devices, and how many rows may be in flight, in words; else empty."""

    @property
    def device(self) -> str:
        """The name of the card, or `cpu`."""

    def rounds(
        self, rounds: Iterator[Sequence[Ask] | None], /
    ) -> Generator[Sequence[tuple[int, int, tuple[Completion, ...]]], None, None]:
        """Each prompt's round, number there and completions in the order of its head sets, as soon as it is answered.

        What is given out together was answered together. A round is asked for when there is place for one; `None` is
        none at the moment, and comes only while others are out.
        """

    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None], /) -> MeanValues:
        """What every head puts out on average; tells after each prompt how many are done."""


@dataclass(frozen=True, slots=True)
class Said:
    """What was said to one prompt, for each of its head sets; how long that took, on which card; and who said it.

    `seconds` are the prompt's share of the time since the answers before, all prompts': what was answered together
    shares it out evenly over its completions. So the seconds of all prompts together are the time that their model
    took; what rows of a filing begin with counts with the first of them, and what fills a model in stages with the
    first row in flight. `who` is empty where this process did.
    """

    completions: tuple[Completion, ...]
    seconds: float
    device: str
    who: str = ""


class Asked(Protocol):
    """Prompts that are asked together, of one model."""

    @property
    def asks(self) -> Sequence[Ask]:
        """The prompts, each with its head sets."""


AnyRound = TypeVar("AnyRound", bound=Asked)

Answers = Sequence[tuple[AnyRound, int, Said]]
"""Of each prompt its round, its number there and what was said to it."""


class Crew(ABC):
    """Models that answer rounds of prompts; `notices` are what a user should know of them meanwhile.

    Whoever sets `when_noticed` is called as soon as there is one more: nothing else may come for hours.
    """

    notices: Sequence[str] = ()
    when_noticed: Callable[[], None] | None = None

    @property
    @abstractmethod
    def size(self) -> int:
        """How many of them there are, as far as is known."""

    @abstractmethod
    def answer(self, rounds: Iterator[AnyRound | None]) -> Generator[Answers[AnyRound], None, None]:
        """Ask every round; what was said, as soon as a prompt is answered, together with what else came just then.

        `rounds` gives `None` where there is none at the moment, though there may be one later. To be closed: what is
        under way is given up then.
        """

    @abstractmethod
    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None], /) -> MeanValues:
        """As an engine's."""


class Alone(Crew):
    """The engine of this process, which answers one round after the other, or several at once."""

    size = 1

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        if engine.layout:
            self.notices = (engine.layout,)

    def answer(self, rounds: Iterator[AnyRound | None]) -> Generator[Answers[AnyRound], None, None]:
        """As they come."""
        out: dict[int, AnyRound] = {}
        left: Counter[int] = Counter()
        places, began = count(), 0.0

        def asks() -> Iterator[Sequence[Ask] | None]:
            nonlocal began
            for each in rounds:
                if each is not None:
                    if not out:
                        began = time.perf_counter()
                    place = next(places)
                    out[place], left[place] = each, len(each.asks)
                    yield each.asks
                elif out:
                    yield None
                else:
                    time.sleep(WAIT_SECONDS)

        with closing(self._engine.rounds(asks())) as answers:
            for together in answers:
                each_took = (time.perf_counter() - began) / sum(len(said) for _, _, said in together)
                yield [
                    (out[place], number, Said(said, each_took * len(said), self._engine.device))
                    for place, number, said in together
                ]
                left.subtract(place for place, _, _ in together)
                for place in {place for place, _, _ in together if not left[place]}:
                    del out[place], left[place]
                began = time.perf_counter()

    def mean_values(self, prompts: Sequence[Prompt], note: Callable[[int], None]) -> MeanValues:
        """The engine's."""
        return self._engine.mean_values(prompts, note)

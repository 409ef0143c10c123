"""What runs on a node of a cluster: one model, which says what it is, is loaded, and then does what it is sent.

It is made from the settings alone, in a process of its own that has neither pytest nor a store. What it is sent comes
as a list of items, and what comes of each goes back as soon as it is there. It may be sent more before it is done:
then it never waits for work, and a model that is split over GPUs keeps rows of several pieces in flight. Knows nothing
of how these travel (`ray_cluster`), and nothing of rows.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

from harness import __version__
from harness.errors import BusyError
from harness.experiment.intervention import MeanValues
from harness.experiment.locks import WAIT_SECONDS, Leases, try_claim
from harness.experiment.record import RunKey
from harness.experiment.store import IN_MEMORY
from harness.retrieval.prompts import Prompt, Trial
from harness.settings import Settings
from harness.study.asked_model import AskedModel
from harness.study.crew import Alone
from harness.study.workers import own_device_map

if TYPE_CHECKING:
    from harness.model.generation.engines import ModelEngine


WORDS = {"fingerprint": "weights", "torch_version": "torch", "transformers_version": "transformers"}
"""What fields of a `RunKey` are called, where not by their own names."""
MIXABLE = ("torch_version", "transformers_version")
"""Fields that may differ where that is allowed; with others, an answer would be another model's."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a node would answer with: all that records depend on, the harness's version, and the card's name."""

    key: RunKey
    harness: str
    card: str

    def differences(self, expected: RunKey, card: tuple[str, str]) -> tuple[list[str], list[str]]:
        """How it is unlike what is expected, in words: what can never be, and what may be allowed.

        `card` is the expected one's name, and who has it.
        """
        wrong, other = list[str](), list[str]()
        for each in fields(RunKey):
            here, there = getattr(expected, each.name), getattr(self.key, each.name)
            if here != there:
                words = f"{WORDS.get(each.name, each.name)} {_short(there)}, expected {_short(here)}"
                (other if each.name in MIXABLE else wrong).append(words)
        if self.harness != __version__:
            other.append(f"retrieval-heads {self.harness}, expected {__version__}")
        if self.card != card[0]:
            other.append(f"card {self.card}, expected {card[0]}{card[1]}")
        return wrong, other


def _short(value: object) -> str:
    """A hash by its beginning."""
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text


@dataclass(frozen=True, slots=True)
class Loaded:
    """Its model is there: how many items it does at once, and how it is laid out where it is split over GPUs."""

    at_once: int
    layout: str = ""


Task = Literal["answer", "means", "scores"]


@dataclass(frozen=True, slots=True)
class _Sent:
    """A piece of work, by the number that whoever sent it gave it."""

    number: int
    task: Task
    asks: Sequence[Any]
    arguments: tuple[Any, ...]


class NodeModel:
    """One model on one node; `work` is what layers are dealt out by (`AskedModel.load`)."""

    def __init__(self, settings: Settings, work: Sequence[float]) -> None:
        # here is where it is, and the store is the driver's alone: what is here is found out, not remembered
        self._settings = replace(settings, ray=None, store=IN_MEMORY)
        self._work = work
        self._model = AskedModel(self._settings)
        self._leases = Leases(session="ray")
        self._sent: SimpleQueue[_Sent] = SimpleQueue()
        self._next: _Sent | None = None

    def take(self, number: int, task: Task, items: Sequence[object], *arguments: object) -> None:
        """Have `serve`, in another thread, do something with these items, after what was sent before."""
        self._sent.put(_Sent(number, task, items, arguments))

    def serve(self) -> Iterator[Equipment | Loaded | tuple[int, int, Any] | None]:
        """Say that this is here (`None`), then what is here, from files alone; load the model, and do what is sent.

        Of each item the number of the piece that it came with, its place there, and what came of it: an answer
        (`Said`), a prompt's `MeanValues`, or scores. Without end.

        Raises:
            HarnessError: the model cannot be had or loaded here, or what was sent cannot be done.
        """
        yield None
        yield self._equipment()
        yield Loaded(self._engine.at_once, self._engine.layout)
        while True:
            sent, self._next = self._next or self._sent.get(), None
            if sent.task == "answer":
                for answers in Alone(self._engine).answer(self._rounds(sent)):
                    yield from ((each.number, place, said) for each, place, said in answers)
            else:
                found = self._means(sent.asks) if sent.task == "means" else self._scores(sent.asks, *sent.arguments)
                yield from ((sent.number, place, value) for place, value in found)

    def _rounds(self, first: _Sent) -> Iterator[_Sent | None]:
        """This one, and all to answer that are sent meanwhile; `None` is none at the moment."""
        yield first
        while True:
            try:
                sent = self._sent.get_nowait()
            except Empty:
                if self._engine.at_once == 1:
                    return
                yield None
                continue
            if sent.task != "answer":
                self._next = sent
                return
            yield sent

    def _means(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, MeanValues]]:
        """What every head puts out over each prompt, on average over its positions."""
        for number, prompt in enumerate(prompts):
            yield number, self._engine.mean_values([prompt], lambda _: None)

    def _scores(self, trials: Sequence[Trial], method: str, variant: str | None) -> Iterator[tuple[int, object]]:
        """What every head scores on each trial: (layers, heads), or `None` where it does not count."""
        from harness.model.identification.identify import find_method, scored

        yield from scored(self._engine.loaded, trials, find_method(method, variant))

    def _equipment(self) -> Equipment:
        card = self._card()  # imports what takes seconds, for all models of a machine at once
        with self._turn():
            _ = self._model.fingerprints
        return Equipment(self._model.run_key, __version__, card)

    def _card(self) -> str:
        import torch

        on_gpu = self._model.blueprint.device_type == "cuda"
        return torch.cuda.get_device_name() if on_gpu else "cpu"

    @cached_property
    def _engine(self) -> "ModelEngine":
        return self._load()

    def _load(self) -> "ModelEngine":
        from harness.model.generation.engines import ModelEngine

        return ModelEngine(self._model.load(device_map=self._device_map(), work=self._work), self._settings.engine)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """While files are hashed, which is remembered on this machine: others wait, and need not do it again."""
        while True:
            with try_claim(Path(tempfile.gettempdir()) / "retrieval-heads", self._settings.model) as mine:
                if mine:
                    yield
                    return
            time.sleep(WAIT_SECONDS)

    def _device_map(self) -> str | None:
        """The GPUs that Ray gave; one that ended a moment ago may hold them still."""
        while True:
            try:
                return own_device_map(self._settings, self._leases)
            except BusyError:
                time.sleep(WAIT_SECONDS)

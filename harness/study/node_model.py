"""What runs on a node of a cluster: one model, which says what it is, is loaded, and then does what it is sent.

It is made from the settings alone, in a process of its own that has neither pytest nor a store. What it is sent comes
as a list of items, and each item's number and result goes back as soon as it is there. Knows nothing of how these
travel (`ray_cluster`), and nothing of rows.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness import __version__
from harness.errors import BusyError
from harness.experiment.intervention import MeanValues
from harness.experiment.locks import WAIT_SECONDS, Leases, try_claim
from harness.experiment.record import Ask, Completion, RunKey
from harness.experiment.store import IN_MEMORY
from harness.retrieval.prompts import Prompt, Trial
from harness.settings import Settings
from harness.study.asked_model import AskedModel
from harness.study.workers import own_device_map

if TYPE_CHECKING:
    from harness.model.generation.engines import ModelEngine


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a node would answer with: all that records depend on, the harness's version, and the card's name."""

    key: RunKey
    harness: str
    card: str


Answer = tuple[tuple[Completion, ...], float, str]
"""Completions of one prompt, the seconds that they took, and the names of the cards."""


class NodeModel:
    """One model on one node; `work` is what layers are dealt out by (`AskedModel.load`)."""

    def __init__(self, settings: Settings, work: Sequence[float]) -> None:
        # here is where it is, and the store is the driver's alone: what is here is found out, not remembered
        self._settings = replace(settings, ray=None, store=IN_MEMORY)
        self._work = work
        self._model = AskedModel(self._settings)
        self._leases = Leases(session="ray")

    def begin(self) -> Iterator[Equipment | None]:
        """Say that this is here (`None`), then what is here, from files alone; then load the model.

        Raises:
            HarnessError: the model cannot be had or loaded here.
        """
        yield None
        with self._turn():
            key = self._model.run_key
        yield Equipment(key, __version__, self._card())
        _ = self._engine

    def answer(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Answer]]:
        """What the engine says to each prompt."""
        began = time.perf_counter()
        for number, completions in self._engine(asks):
            yield number, (completions, time.perf_counter() - began, self._engine.device)
            began = time.perf_counter()

    def means(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, MeanValues]]:
        """What every head puts out over each prompt, on average over its positions."""
        for number, prompt in enumerate(prompts):
            yield number, self._engine.mean_values([prompt], lambda _: None)

    def scores(self, trials: Sequence[Trial], method: str, variant: str | None) -> Iterator[tuple[int, object]]:
        """What every head scores on each trial: (layers, heads), or `None` where it does not count."""
        from harness.model.identification.identify import find_method, scored

        yield from scored(self._engine.loaded, trials, find_method(method, variant))

    def _card(self) -> str:
        import torch

        on_gpu = self._model.blueprint.device_type == "cuda"
        return torch.cuda.get_device_name() if on_gpu else "cpu"

    @cached_property
    def _engine(self) -> "ModelEngine":
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

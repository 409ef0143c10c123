"""Rows in flight: several on their way at once through one model whose layers are split over several devices.

A stage is a run of neighbouring layers on one device. One row keeps one device busy at a time; of several rows, each in
a thread of its own, every device can have one. A thread that comes to a layer of another device hands over the one that
it had, and waits for its turn on the next. It does so wherever layers are called, whether a prompt is read or an answer
decoded. The short goes first: a row that reads a long prompt lets a decoding step pass between any two of its layers;
else the row goes first that began first. (Pipelining of layers: Huang et al. 2019, GPipe,
https://arxiv.org/abs/1811.06965; there of micro-batches in training.)

On GPUs all layers of a device run on one stream, whosever turn it is, so that what one row gives back to the allocator
another can take. All else that a thread does (embedding, copies from device to device, logits) runs on streams of its
own: a copy waits for the streams of both devices. A turn is asked for when what it needs is there, and of a long
prompt at most one layer is launched ahead, so that nobody waits long, nor behind work that itself waits.

A row that runs out of memory gives up what it has, and waits until it is alone before it tries again.

Knows nothing of what rows are.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any, Self, TypeVar

import torch
from torch import nn

from harness.model.generation.branching import attention_modules, decoder_layers
from harness.model.generation.fused import replaced_within
from harness.model.intervention.thread_hooks import ready_for_forwards, ready_for_hooks, replaced
from harness.model.loading.loaded_model import LoadedModel

W = TypeVar("W")
R = TypeVar("R")

SHORT = 64
"""Positions that may be fed before others: a decoding step or a draft, which takes a few milliseconds a stage."""

AHEAD = 1
"""Layers of a long prompt that are launched behind the one that runs, while no other row is decoding."""

ROUNDING = 1e-9
"""By how much parts of the memory may be more than one together."""


class StoppedError(Exception):
    """Raised in a row's thread when nobody wants its answer any more."""


class _Turn:
    """Whose turn it is on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]  # the library's
        self.holder: Flight | None = None
        self.waiting: list[tuple[bool, int]] = []


class Stages:
    """A model's stages, and the rows that are in flight through them.

    `starts` are the first layers of all stages, 0 among them; by default a stage begins wherever the device changes.
    Stages on one GPU take turns on it; on a CPU each has a turn of its own, as if it were a device. `note` is told of
    every turn that is taken, by the number of the work and of the stage.

    Raises:
        ValueError: starts that are not layers in ascending order from 0 on.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        starts: Sequence[int] | None = None,
        *,
        note: Callable[[int, int], None] = lambda work, stage: None,
    ) -> None:
        self.layers = decoder_layers(loaded)
        devices = [_device(layer) for layer in self.layers]
        changes = [layer for layer in range(len(devices)) if layer == 0 or devices[layer] != devices[layer - 1]]
        self.starts = tuple(changes if starts is None else starts)
        if self.starts != tuple(sorted({0, *self.starts} & {*range(len(devices))})):
            raise ValueError(f"stages start at {self.starts}; expected layers from 0 to {len(devices) - 1} in order")
        self.stage_of = [sum(start <= layer for start in self.starts) - 1 for layer in range(len(devices))]
        owners = [
            device if device.type == "cuda" else stage for stage, device in zip(self.stage_of, devices, strict=True)
        ]
        turns = {owner: _Turn(device) for owner, device in zip(owners, devices, strict=True)}
        self.turns = [turns[owner] for owner in owners]
        self.devices = tuple(dict.fromkeys(parameter.device for parameter in loaded.model.parameters()))
        self.note = note
        self.changed = threading.Condition()
        self.stopped = False
        self._hooked = [*attention_modules(loaded), *(output.module for output in loaded.outputs)]
        self._replaced = [*self.layers, *replaced_within(loaded.model)]
        # of those in flight the part of the memory that each may take; and works that wait to be
        self._flying: dict[Flight, float] = {}
        self._asking: list[int] = []

    @property
    def n_turns(self) -> int:
        """How many rows can be worked on at one moment."""
        return len(set(map(id, self.turns)))

    def fly(
        self,
        works: Iterator[W | None],
        run: Callable[[W, "Flight"], Iterator[R]],
        *,
        part: Callable[[W], float],
        most: int,
    ) -> Iterator[R]:
        """What `run` gives for each of these works, as it comes, at most so many of them in flight.

        It is run in threads; what it raises there is raised here, and ends all of them, as closing the iterator does.
        Works are asked for here, one when there is a place for it; `None` is none at the moment, and whoever says so
        while none is in flight waits meanwhile. A work is in flight once its `part` of the memory is free.
        """
        self.stopped = False
        self._asking.clear()
        handed: SimpleQueue[tuple[int, W] | None] = SimpleQueue()
        results: SimpleQueue[tuple[list[R], BaseException | None] | None] = SimpleQueue()

        def work_off() -> None:
            try:
                with Flight(self) as flight:
                    while (taken := handed.get()) is not None:
                        with flight.of(taken[0], part(taken[1])):
                            for result in run(taken[1], flight):
                                results.put(([result], None))
                        results.put(None)
            except StoppedError:
                pass
            except BaseException as error:  # whatever it is, the caller gets it
                self._stop()
                results.put(([], error))

        threads = [threading.Thread(target=work_off, name=f"row in flight {number}") for number in range(most)]
        with ready_for_hooks(self._hooked), ready_for_forwards(self._replaced), ExitStack() as ends:
            for thread in threads:
                thread.start()
                ends.callback(thread.join)
            for _ in threads:
                ends.callback(handed.put, None)
            ends.callback(self._stop)
            n_begun = n_ended = 0
            left = True
            while left or n_begun > n_ended:
                while left and n_begun - n_ended < most:
                    try:
                        work = next(works)
                    except StopIteration:
                        left = False
                        break
                    if work is None:
                        break
                    self.ask(n_begun)
                    handed.put((n_begun, work))
                    n_begun += 1
                if n_begun == n_ended:
                    continue
                got = results.get()
                if got is None:
                    n_ended += 1
                    continue
                if got[1] is not None:
                    raise got[1]
                yield from got[0]

    def _stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Wait, with `changed` held, until this is so; raise StoppedError where nobody wants the row any more."""
        while not self.stopped and not ready():
            self.changed.wait()
        self.go_on()

    def go_on(self) -> None:
        """Raise StoppedError where nobody wants the row any more."""
        if self.stopped:
            raise StoppedError

    def ask(self, work: int) -> None:
        """Works that ask begin in their order, whichever thread is there first."""
        with self.changed:
            self._asking.append(work)

    def begin(self, flight: "Flight", part: float) -> None:
        """In flight with what was asked for, as soon as this part of the memory is free and no earlier work waits."""
        with self.changed:
            try:
                self.wait_for(
                    lambda: min(self._asking) == flight.work and sum(self._flying.values()) + part <= 1 + ROUNDING
                )
            finally:
                self._asking.remove(flight.work)
                self.changed.notify_all()
            self._flying[flight] = part

    def end(self, flight: "Flight") -> None:
        """Out of flight; what it held is free."""
        with self.changed:
            self._flying.pop(flight, None)
            self.changed.notify_all()

    @property
    def any_short(self) -> bool:
        """Whether one of those in flight was fed a few positions last."""
        return any(flight.is_short for flight in [*self._flying])

    def part_of(self, flight: "Flight") -> float:
        """How much of the memory it may take."""
        return self._flying[flight]


class Flight:
    """One thread's way through the stages, row after row."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self.work = 0
        self.is_short = False
        self._turn: _Turn | None = None
        self._open = ExitStack()
        # its own, by device
        self._streams: dict[torch.device, torch.cuda.Stream] = {}
        # what a pass has brought to a device, by what it was: masks and angles, which every layer is handed
        self._brought: dict[tuple[int, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}
        self._launched: deque[torch.cuda.Event] = deque()

    def __enter__(self) -> Self:
        for device in self._stages.devices:
            if device.type == "cuda":
                self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # the library's
                self._streams[device].wait_stream(torch.cuda.current_stream(device))
                torch.cuda.set_stream(self._streams[device])
        for number, layer in enumerate(self._stages.layers):
            self._open.enter_context(replaced(layer, partial(self._through, number)))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @contextmanager
    def of(self, work: int, part: float) -> Iterator[None]:
        """In flight with this work while the context is open; works go before those of higher numbers."""
        self.work = work
        self._stages.begin(self, part)
        try:
            yield
        finally:
            self._leave()

    def be_alone(self) -> None:
        """Wait until no other row is in flight, and have all memory; to be asked for when what was held is freed."""
        self._leave()
        self._stages.ask(self.work)
        self._stages.begin(self, 1.0)

    @property
    def is_alone(self) -> bool:
        """Whether no other row is in flight, nor will be before this one is done."""
        return self._stages.part_of(self) == 1.0

    def _leave(self) -> None:
        self._hand_over()
        self._brought.clear()
        self._stages.end(self)

    def _through(self, layer: int, own: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One layer's call, in its turn."""
        turn = self._stages.turns[layer]
        hidden: torch.Tensor = args[0] if args else kwargs["hidden_states"]
        short = hidden.shape[1] <= SHORT
        if turn is not self._turn:
            self._hand_over()
        hidden = self._to(hidden, turn.device)
        args, kwargs = self._bring(args[1:], turn.device), self._bring(kwargs, turn.device)
        if "hidden_states" in kwargs:
            kwargs["hidden_states"] = hidden
        else:
            args = (hidden, *args)
        self.is_short = short
        self._take(turn, layer, short=short)
        used = [hidden]
        try:
            result = own(*args, **kwargs)
            used.append(result[0] if isinstance(result, tuple) else result)
            self._wait_for_earlier(turn, short=short)
            return result
        finally:
            if layer == len(self._stages.layers) - 1:
                self._keep(used)
                self._hand_over()
                self._brought.clear()

    def _take(self, turn: _Turn, layer: int, *, short: bool) -> None:
        """Have the turn: the one that this thread holds only if nobody in more of a hurry waits for it."""
        stages, mine = self._stages, (not short, self.work)
        stages.go_on()
        if turn is self._turn:
            if short or all(long for long, _ in turn.waiting):
                return
            self._pass_on(turn)
        elif self._streams:
            # who holds a turn never waits for another device
            self._streams[turn.device].synchronize()
        with stages.changed:
            turn.waiting.append(mine)
            try:
                stages.wait_for(lambda: turn.holder is None and min(turn.waiting) == mine)
            finally:
                turn.waiting.remove(mine)
                stages.changed.notify_all()
            turn.holder = self
        if turn is not self._turn and turn.stream is not None:
            turn.stream.wait_stream(self._streams[turn.device])
            torch.cuda.set_stream(turn.stream)
        self._turn = turn
        stages.note(self.work, stages.stage_of[layer])

    def _pass_on(self, turn: _Turn) -> None:
        with self._stages.changed:
            turn.holder = None
            self._stages.changed.notify_all()

    def _hand_over(self) -> None:
        """Give up the turn, if any: what comes next runs on this thread's own stream, after what it has launched."""
        turn, self._turn = self._turn, None
        if turn is None:
            return
        if turn.stream is not None:
            own = self._streams[turn.device]
            own.wait_stream(turn.stream)
            torch.cuda.set_stream(own)
            self._launched.clear()
        if turn.holder is self:
            self._pass_on(turn)

    def _wait_for_earlier(self, turn: _Turn, *, short: bool) -> None:
        """Wait until of a long prompt's layers so few are left to compute that one more may be launched."""
        if turn.stream is None or short:
            return
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # the library's
        done.record(turn.stream)
        self._launched.append(done)
        ahead = 0 if self._stages.any_short else AHEAD
        while len(self._launched) > ahead:
            self._launched.popleft().synchronize()

    def _keep(self, tensors: Sequence[torch.Tensor]) -> None:
        """Tell the allocator that these, of a device's common stream, are read on this thread's own too."""
        for tensor in tensors:
            if tensor.device in self._streams:
                tensor.record_stream(self._streams[tensor.device])

    def _to(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The tensor on a device; between GPUs it is copied on this thread's own streams."""
        if tensor.device == device or tensor.device not in self._streams:
            return tensor
        self._keep([tensor])
        return tensor.to(device, non_blocking=True)

    def _bring(self, value: Any, device: torch.device) -> Any:
        """The same of all tensors in what a layer is handed beside its hidden states, once in a pass."""
        if isinstance(value, torch.Tensor):
            if value.device == device:
                return value
            if (id(value), device) not in self._brought:
                self._brought[id(value), device] = value, self._to(value, device)
            return self._brought[id(value), device][1]
        if type(value) in (tuple, list):
            return type(value)(self._bring(each, device) for each in value)
        if type(value) is dict:
            return {name: self._bring(each, device) for name, each in value.items()}
        return value


def stages_of(loaded: LoadedModel) -> Stages | None:
    """The stages of a model whose layers lie on several GPUs, whole; `None` for any other."""
    devices = {parameter.device for parameter in loaded.model.parameters()}
    if {device.type for device in devices} != {"cuda"} or len(devices) < 2 or loaded.one_by_one is not None:
        return None
    return Stages(loaded)


def _device(layer: nn.Module) -> torch.device:
    """Where a layer's first weight lies."""
    return next(layer.parameters()).device

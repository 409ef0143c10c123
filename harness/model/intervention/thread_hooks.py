"""What one thread does around modules that several threads run: a row's hooks are met by no other row.

PyTorch's own hooks and a module's `forward` belong to the module, and so to everyone who calls it; and to put them on
or take them off while another thread calls the module is not safe. Here a module has one pair of PyTorch's hooks, or
one `forward` that stands before its own, while anyone needs it: they ask the calling thread for what it wants done.
With the last who needs them they are gone.

Knows nothing of what is done.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch import nn

from harness.model.intervention.projection_input import HookInput

T = TypeVar("T")

Before = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], HookInput | None]
"""Called with what a module is called with; returns what it shall be called with instead, `None` for the same."""

After = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], object], None]
"""Called with what a module was called with, all other hooks done, and with its result."""

Instead = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Called with a module's own forward and what that is to be called with; returns what is its result."""


@dataclass(frozen=True, eq=False, slots=True)
class _Pair:
    before: Before | None
    after: After | None


class _Own(threading.local):
    """What a thread wants done, by module, in the order in which it was opened."""

    def __init__(self) -> None:
        self.pairs: dict[nn.Module, tuple[_Pair, ...]] = {}
        self.forwards: dict[nn.Module, tuple[Instead, ...]] = {}


_own = _Own()


class _Asking:
    """What modules have on them while anyone needs it; `put_on` returns what takes it off again."""

    def __init__(self, put_on: Callable[[nn.Module], Callable[[], None]]) -> None:
        self._put_on = put_on
        self._users: dict[nn.Module, tuple[int, Callable[[], None]]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        held = tuple(modules)
        with self._lock:
            for module in held:
                users, take_off = self._users.get(module) or (0, self._put_on(module))
                self._users[module] = users + 1, take_off
        try:
            yield
        finally:
            with self._lock:
                for module in held:
                    users, take_off = self._users.pop(module)
                    if users > 1:
                        self._users[module] = users - 1, take_off
                    else:
                        take_off()


def _put_hooks(module: nn.Module) -> Callable[[], None]:
    before = module.register_forward_pre_hook(_before, with_kwargs=True)
    after = module.register_forward_hook(_after, with_kwargs=True)

    def take_off() -> None:
        before.remove()
        after.remove()

    return take_off


def _before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HookInput | None:
    changed = False
    for pair in _own.pairs.get(module, ()):
        if pair.before is not None and (call := pair.before(module, args, kwargs)) is not None:
            args, kwargs = call
            changed = True
    return (args, kwargs) if changed else None


def _after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
    for pair in _own.pairs.get(module, ()):
        if pair.after is not None:
            pair.after(module, args, kwargs, result)


class _Forward:
    """A module's forward that does what the calling thread wants; a library may have put its own on the object."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.placed: Callable[..., Any] | None = vars(module).get("forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = self.placed or partial(type(self.module).forward, self.module)
        for instead in _own.forwards.get(self.module, ()):
            forward = _around(instead, forward)
        return forward(*args, **kwargs)


def _around(instead: Instead, forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: instead(forward, args, kwargs)


def _put_forward(module: nn.Module) -> Callable[[], None]:
    asking = _Forward(module)
    vars(module)["forward"] = asking

    def take_off() -> None:
        if asking.placed is None:
            vars(module).pop("forward")
        else:
            vars(module)["forward"] = asking.placed

    return take_off


ready_for_hooks = _Asking(_put_hooks)
"""These modules ask for hooks while the context is open: threads may then open and close some as they run."""

ready_for_forwards = _Asking(_put_forward)
"""The same of forwards in place of their own."""


@contextmanager
def hooked(module: nn.Module, before: Before | None = None, after: After | None = None) -> Iterator[None]:
    """These hooks on this thread's calls of a module while the context is open."""
    with ready_for_hooks([module]), _opened(_own.pairs, module, _Pair(before, after)):
        yield


@contextmanager
def replaced(module: nn.Module, instead: Instead) -> Iterator[None]:
    """This in place of a module's forward, as this thread calls it, while the context is open."""
    with ready_for_forwards([module]), _opened(_own.forwards, module, instead):
        yield


@contextmanager
def _opened(own: dict[nn.Module, tuple[T, ...]], module: nn.Module, wanted: T) -> Iterator[None]:
    own[module] = (*own.get(module, ()), wanted)
    try:
        yield
    finally:
        left = tuple(each for each in own.pop(module) if each is not wanted)
        if left:
            own[module] = left

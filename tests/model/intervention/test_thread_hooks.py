"""What one thread does around a module, and no other: hooks, and another forward."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from harness.model.intervention.projection_input import HookInput
from harness.model.intervention.thread_hooks import hooked, ready_for_forwards, ready_for_hooks, replaced

ONE = torch.ones(1)


def doubling(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HookInput:
    return tuple(2 * each for each in args), kwargs


def in_a_thread(work: Callable[[], float]) -> float:
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def n_hooks(module: nn.Module) -> int:
    return len(module._forward_pre_hooks) + len(module._forward_hooks) + ("forward" in vars(module))


def test_hooks_act_in_their_thread_in_the_order_of_opening() -> None:
    module, seen = nn.Identity(), []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        seen.append((float(args[0]), float(result)))  # type: ignore[arg-type]  # a tensor of one number

    def call() -> float:
        return float(module(ONE))

    with hooked(module, doubling, note), hooked(module, lambda module, args, kwargs: ((args[0] + 1,), kwargs)):
        assert call() == 3
        assert in_a_thread(call) == 1
    assert call() == 1
    assert seen == [(3, 3)]
    assert n_hooks(module) == 0


def test_a_forward_stands_in_in_its_thread() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight.requires_grad_(False), 5.0)

    def call() -> float:
        return float(module(ONE))

    def tenfold(own: Callable[..., torch.Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        return 10 * own(*args, **kwargs)

    with replaced(module, tenfold):
        with replaced(module, lambda own, args, kwargs: own(*args, **kwargs) + 1):
            assert call() == 51
            assert in_a_thread(call) == 5
        assert call() == 50
    assert call() == 5
    assert n_hooks(module) == 0


def test_a_forward_of_a_librarys_own_is_called_and_put_back() -> None:
    module = nn.Identity()
    placed = vars(module)["forward"] = lambda value: value + 7
    with replaced(module, lambda own, args, kwargs: own(*args, **kwargs)):
        assert float(module(ONE)) == 8
    assert vars(module)["forward"] is placed


def test_many_threads_open_and_close_while_all_call() -> None:
    """Every thread always meets its own hooks and never another's; the module is made ready for them before."""
    module, wrong = nn.Identity(), []

    def work(number: int) -> None:
        def add(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return (args[0] + number,), kwargs

        for _ in range(200):
            with hooked(module, add), replaced(module, lambda own, args, kwargs: own(*args, **kwargs) * 10):
                if float(module(ONE)) != 10 * (1 + number):
                    wrong.append(number)
            if float(module(ONE)) != 1:
                wrong.append(number)

    with ready_for_hooks([module]), ready_for_forwards([module]):
        running = [threading.Thread(target=work, args=[number]) for number in range(4)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert n_hooks(module) == 3
    assert not wrong
    assert n_hooks(module) == 0

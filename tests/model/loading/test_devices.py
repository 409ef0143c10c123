"""Device maps, and the GPUs of a machine that is made up."""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch

from harness.errors import ModelError
from harness.model.loading.devices import (
    ALLOCATOR,
    choose_segments,
    device_map_of,
    device_names,
    gpus_of,
    room_of,
    visible_gpus,
)


class Weight(NamedTuple):
    device: torch.device


def test_gpus_by_the_names_of_the_whole_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ("0", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert visible_gpus() == ("5", "7")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert visible_gpus() == ()


def test_the_cards_that_a_model_lies_on_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once; weights that wait on a disk lie nowhere."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card of {device}")
    model = torch.nn.Linear(2, 2)
    assert device_names(model) == "cpu"

    class Spread(torch.nn.Module):
        def parameters(self, recurse: bool = True) -> Iterator[Weight]:  # type: ignore[override]  # no GPU is needed
            yield from (Weight(torch.device(each)) for each in ("cuda:1", "meta", "cuda:0", "cuda:1", "cpu"))

    assert device_names(Spread()) == "card of cuda:0, card of cuda:1, cpu"


@pytest.mark.parametrize(
    ("text", "placed"),
    [
        (None, None),
        ("auto", "auto"),
        ("cuda:1", "cuda:1"),
        ("cuda:0,cuda:3", "auto"),
        ('{"model": "cpu", "lm_head": 0}', {"model": "cpu", "lm_head": 0}),
    ],
)
def test_what_a_device_map_says(text: str | None, placed: object) -> None:
    assert device_map_of(text) == placed


def test_json_that_is_none() -> None:
    with pytest.raises(ModelError, match=r"^device map '\{': .*; expected a name as 'auto', or JSON as"):
        device_map_of("{")
    for text in ('{"model": null}', '{"a": ' * 50_000, '{"model": ' + "9" * 5000 + "}", '{"a": 0, "a": 1}'):
        with pytest.raises(ModelError, match="expected a name as 'auto', or JSON as"):
            device_map_of(text)


def test_several_gpus_are_all_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (100 + gpu, 1000))
    assert room_of("cuda:0, cuda:13") == {0: 100, 13: 113}
    assert [room_of(text) for text in (None, "auto", "cuda:3", "cpu", '{"": "cpu"}')] == [None] * 5


def test_auto_is_over_all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (100 + gpu, 1000))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    for on_gpus in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda on_gpus=on_gpus: on_gpus)
        assert gpus_of("auto") == ({0: 100, 1: 101, 2: 102} if on_gpus else {})
    assert gpus_of("cuda:0,cuda:13") == {0: 100, 13: 113}
    assert [gpus_of(text) for text in (None, "cuda:3", "cpu")] == [{}] * 3


@pytest.mark.parametrize(
    ("placed", "expected"),
    [
        ("cuda", ["expandable_segments:True"]),
        ("cuda:1", ["expandable_segments:True"]),
        ({"": 0}, ["expandable_segments:True"]),
        ({"a": 0, "b": "cpu"}, ["expandable_segments:True"]),
        ({"a": 0, "b": 1}, ["expandable_segments:False"]),
        ({"a": "cuda:0", "b": "cuda:1"}, ["expandable_segments:False"]),
        ("auto", ["expandable_segments:False"]),
        (None, []),
    ],
    ids=str,
)
def test_segments_grow_where_a_model_lies_on_one_card(
    placed: str | dict[str, str | int] | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody says otherwise; where somebody does, nothing is set."""
    said: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", said.append, raising=False)
    for name in ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    choose_segments(placed)
    assert said == expected
    monkeypatch.setenv(ALLOCATOR[0], "backend:native")
    choose_segments(placed)
    assert said == expected

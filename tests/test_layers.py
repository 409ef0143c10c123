"""The rooms and who may import whom, read from the source: floors import downwards, nobody in a circle.

Four floors: 1 `retrieval`, 2 `experiment`, 3 `model`, 4 `findings`. Above them `study`, one study from settings to
outcome, and the faces: pytest's (`plugin`), the shell's (`cli`, `commands`, `gate_simulation`) and the front door
(`harness` itself). Below all lie `errors`, `files`, `choices`, and what was asked for (`settings`, `option_values`,
`options`). Only the model floor, and the demo's tokenizer and training, import torch or transformers as they are
imported; `study` and the faces reach the model floor inside functions only, `findings` never.
"""

from graphlib import TopologicalSorter

import pytest
from house import Import, circles, read_house, rooms, storeys

HOUSE = read_house()
FILES, IMPORTS = HOUSE.files, HOUSE.imports
BELOW_ALL = {"choices", "errors", "files"}
FLOORS = {"retrieval", "experiment", "model", "findings"}
MAY_IMPORT = {
    "choices": set[str](),
    "errors": set[str](),
    "files": set[str](),
    "settings": {"choices", "errors"},
    "option_values": {"choices", "errors", "settings"},
    "options": {"choices", "errors", "files", "option_values", "settings"},
    "retrieval": BELOW_ALL,
    "experiment": {*BELOW_ALL, "retrieval"},
    "model": {*BELOW_ALL, "retrieval", "experiment"},
    "findings": {*BELOW_ALL, "retrieval", "experiment"},
    "demo": {"errors", "retrieval"},
    "study": {*BELOW_ALL, *FLOORS, "settings", "demo"},
    "faces": {*BELOW_ALL, *FLOORS, "settings", "options", "demo", "study"},
}
"""Rooms a room may import from, beside itself."""
HIGHEST = 10
"""Storeys: how many rooms at most stand one above the other."""
SMALL = 60
"""Lines of a module that must have more than one reader."""
WALLS = {
    "harness.model": "what torch reads of the environment is settled before any module imports it",
    "harness.model.identification.contrast": "a module a scoring method",
    "harness.model.identification.summed_attention": "a module a scoring method",
    "harness.plugin.hookspec": "what a user's conftest implements, shown whole in the reference",
}
"""Small modules with one reader, each with what its wall means."""
TORCH = {"torch", "transformers", "tokenizers", "accelerate"}
TORCH_MODULES = {"harness.demo.dialogues", "harness.demo.training"}


def room_of(module: str) -> str:
    name = module.split(".")[1] if "." in module else "faces"
    return name if name in MAY_IMPORT else "faces"


def is_heavy(module: str) -> bool:
    """Whether importing it imports torch."""
    return module.partition(".")[0] in TORCH or module in TORCH_MODULES or module.startswith("harness.model.")


def test_the_modules_are_seen() -> None:
    assert len(FILES) > 40
    assert {room_of(name) for name in FILES} == set(MAY_IMPORT)
    assert (
        Import("harness.model.loading.loaded_model", deferred=True, typing_only=False)
        in IMPORTS["harness.study.asked_model"]
    )
    assert Import("torch", deferred=False, typing_only=False) in IMPORTS["harness.model.loading.loaded_model"]
    assert Import("harness.experiment.heads", deferred=False, typing_only=False) in IMPORTS["harness.study.inputs"]


def test_floors_import_downwards() -> None:
    upwards = [
        (name, found.module)
        for name, imports in IMPORTS.items()
        for found in imports
        if found.module.startswith("harness.")
        and room_of(found.module) not in {room_of(name), *MAY_IMPORT[room_of(name)]}
    ]
    assert not upwards


def test_torch_stays_on_the_model_floor() -> None:
    elsewhere = [
        (name, found.module)
        for name, imports in IMPORTS.items()
        for found in imports
        if is_heavy(found.module)
        and not is_heavy(name)
        and not (room_of(name) in {"study", "faces"} and found.deferred)
    ]
    assert not elsewhere


def test_rooms_of_a_floor_import_one_way() -> None:
    """A folder within a floor is a room, and so is a module beside the folders."""
    graph: dict[str, set[str]] = {}
    for name in FILES:
        floor, room = _place(name)
        inner = {_place(found.module) for found in IMPORTS[name] if found.module in FILES}
        graph.setdefault(f"{floor}.{room}", set()).update(
            f"{floor}.{other}" for where, other in inner if where == floor and other != room
        )
    assert {"model.generation", "findings.verdicts"} <= graph.keys()
    assert "model.loading" in graph["model.generation"]
    TopologicalSorter(graph).prepare()


def _place(module: str) -> tuple[str, str]:
    """The floor, and the room in it."""
    parts = module.split(".")
    return room_of(module), parts[2] if len(parts) > 2 else parts[-1]


def test_no_circles() -> None:
    assert not circles(rooms(HOUSE))
    graph = HOUSE.arrows()
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)
    with pytest.raises(ValueError, match="cycle"):
        list(TopologicalSorter(graph | {"harness.errors": {"harness.plugin"}}).static_order())


def test_the_house_stays_low() -> None:
    assert storeys(rooms(HOUSE)) <= HIGHEST


def test_a_module_earns_its_file() -> None:
    """What one other module alone needs is part of that one; a feature may add a room, not a row of slips of paper."""
    arrows = HOUSE.arrows()
    small = {
        name
        for name in HOUSE.with_code()
        if len(FILES[name].read_text(encoding="utf-8").splitlines()) < SMALL
        and sum(name in below for below in arrows.values()) == 1
    }
    assert small == WALLS.keys()

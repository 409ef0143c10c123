"""The house read from its source: which module imports which, and how many modules, storeys and arrows there are.

    python -m tests.house            three numbers
    python -m tests.house --modules  every room and module, with what it says of itself
    python -m tests.house FOLDER     of another checkout

A room is a folder of `harness/`, and a module that stands beside the folders is a room of its own. Storeys are the
rooms of the longest chain of rooms each of which imports from the next. An arrow is a module's import of another
module. What only a type checker imports counts as no import. Knows no rule of who may import whom (`test_layers`).
"""

import argparse
import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Import:
    """One name that a module imports: the module it is or is from."""

    module: str
    deferred: bool
    """Inside a function, or for the type checker alone."""
    typing_only: bool


@dataclass(frozen=True)
class House:
    """Every module of `harness`, by its dotted name: its file, and what it imports."""

    files: Mapping[str, Path]
    imports: Mapping[str, tuple[Import, ...]]

    def arrows(self) -> dict[str, set[str]]:
        """Which modules of the house each module imports when it runs."""
        return {
            name: {each.module for each in found if each.module in self.files and not each.typing_only} - {name}
            for name, found in self.imports.items()
        }

    def with_code(self) -> list[str]:
        """The modules that are more than a docstring."""
        trees = {name: _parsed(path) for name, path in self.files.items()}
        return [name for name, tree in trees.items() if len(tree.body) > (ast.get_docstring(tree) is not None)]


def read_house(root: Path = ROOT) -> House:
    """The modules under `root/harness` and their imports."""
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((root / "harness").rglob("*.py"))
    }
    return House(files, {name: tuple(_imports_of(_parsed(path), files)) for name, path in files.items()})


def storeys(graph: Mapping[str, set[str]]) -> int:
    """The length of the longest chain; rooms that form a circle are one."""
    circle_of = {name: circle for circle in circles(graph) for name in circle}
    merged: dict[frozenset[str], set[frozenset[str]]] = {}
    for name, below in graph.items():
        own = circle_of.get(name, frozenset({name}))
        merged.setdefault(own, set()).update(circle_of.get(other, frozenset({other})) for other in below - own)
    height: dict[frozenset[str], int] = {}
    for each in TopologicalSorter(merged).static_order():
        height[each] = 1 + max((height[below] for below in merged.get(each, ())), default=0)
    return max(height.values(), default=0)


def circles(graph: Mapping[str, set[str]]) -> set[frozenset[str]]:
    """Every set of rooms that all reach each other."""
    reached = {name: _reached(name, graph) for name in graph}
    return {
        frozenset(other for other in reached[name] if name in reached[other]) for name in graph if name in reached[name]
    }


def _reached(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    found, ahead = set[str](), [start]
    while ahead:
        ahead += (new := graph.get(ahead.pop(), set()) - found)
        found |= new
    return found


def room_of(module: str, files: Mapping[str, Path]) -> str:
    """The folder that a module is in, or the module itself where it stands beside the folders."""
    is_folder = files[module].name == "__init__.py"
    return module if is_folder or module.count(".") == 1 else module.rpartition(".")[0]


def rooms(house: House) -> dict[str, set[str]]:
    """Which rooms each room imports from."""
    graph: dict[str, set[str]] = {}
    for name, below in house.arrows().items():
        room = room_of(name, house.files)
        graph.setdefault(room, set()).update({room_of(other, house.files) for other in below} - {room})
    return graph


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports_of(
    tree: ast.AST, files: Mapping[str, Path], deferred: bool = False, typing_only: bool = False
) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names):
                yield from (Import(each.name, deferred, typing_only) for each in names)
            case ast.ImportFrom(module=str() as module, names=names, level=0):
                for each in names:
                    inner = f"{module}.{each.name}"
                    yield Import(inner if inner in files else module, deferred, typing_only)
            case ast.ImportFrom():
                raise AssertionError("a relative import")
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _imports_of(node, files, True, typing_only)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from _imports_of(node, files, True, True)
            case _:
                yield from _imports_of(node, files, deferred, typing_only)


def main() -> None:
    """Print the house."""
    parser = argparse.ArgumentParser(prog="python -m tests.house", description="modules, storeys and arrows")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT, help="a checkout (default: this one)")
    parser.add_argument("--modules", action="store_true", help="every room and module, with what it says of itself")
    arguments = parser.parse_args()
    house = read_house(arguments.folder)
    if not house.files:
        parser.error(f"{arguments.folder}: no harness/*.py; expected the folder of a checkout")
    if arguments.modules:
        _print_modules(house)
    print(f"{len(house.with_code())} modules with code in {len(rooms(house))} rooms")
    print(f"{storeys(rooms(house))} storeys")
    for circle in circles(rooms(house)):
        print(f"  a circle of rooms, counted as one: {', '.join(sorted(circle))}")
    print(f"{sum(map(len, house.arrows().values()))} arrows")


def _print_modules(house: House) -> None:
    """Room by room; what stands beside the folders first."""
    listed: dict[str, list[str]] = {"harness": []}
    for name in house.with_code():
        loose = house.files[name].parent.name == "harness"
        listed.setdefault("harness" if loose else room_of(name, house.files), []).append(name)
    for room, names in listed.items():
        print(room)
        for name in names:
            says = (ast.get_docstring(_parsed(house.files[name])) or "").partition("\n")[0]
            print(f"  {name.rpartition('.')[2]:24} {says}")
        print()


if __name__ == "__main__":
    main()

"""Drawing: rows to be judged by eye, so that it is known how many of all are right.

The same number a task as far as there are rows, at most two a cluster (company) as long as that gives enough; then
three, and so on. Which rows these are is decided by a hash of seed and row. Knows nothing about what is right.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle

from harness.retrieval.filings.building import Recipe


def draw(recipes: Sequence[Recipe], n_rows: int, *, seed: int, most: int = 2) -> tuple[Recipe, ...]:
    """So many of the recipes (all, if there are fewer), in the order that they came in."""
    waiting: dict[str, list[Recipe]] = {}
    for recipe in sorted(recipes, key=lambda recipe: _place(recipe, seed)):
        waiting.setdefault(recipe.task, []).append(recipe)
    wanted = _shares({task: len(rows) for task, rows in waiting.items()}, n_rows)
    drawn: list[Recipe] = []
    of_cluster: Counter[str] = Counter()
    while sum(wanted.values()):
        before = len(drawn)
        # the task with the fewest rows chooses first: it must not find its companies taken
        for task in sorted(wanted, key=lambda task: (len(waiting[task]), task)):
            found = next((each for each in waiting[task] if of_cluster[each.cluster] < most), None)
            if wanted[task] and found is not None:
                waiting[task].remove(found)
                drawn.append(found)
                of_cluster[found.cluster] += 1
                wanted[task] -= 1
        if len(drawn) == before:
            most += 1
    return tuple(sorted(drawn, key=recipes.index))


def _shares(available: Mapping[str, int], n_rows: int) -> dict[str, int]:
    """How many rows of each task: as equal as can be, and where it cannot be, more of the tasks with more rows."""
    shares = dict.fromkeys(available, 0)
    for task in cycle(sorted(available, key=lambda task: (-available[task], task))):
        if sum(shares.values()) == min(n_rows, sum(available.values())):
            break
        shares[task] += shares[task] < available[task]
    return shares


def _place(recipe: Recipe, seed: int) -> str:
    return hashlib.sha256(f"draw\0{seed}\0{recipe.filing}\0{recipe.task}".encode()).hexdigest()

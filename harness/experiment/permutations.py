"""Permutations of heads: what a judged set of heads is held against to say how unusual it is.

If heads were ranked at random within strata (a layer, or some neighbouring ones), every permutation of the heads within
strata would have been as likely to come out of the ranking as the one that did. So the judged lists and their images
under permutations are exchangeable, and the rank of the judged lists' drop among theirs is a p that holds exactly,
however drops are distributed. One permutation is applied to all lists of a gate (every task's, at every k): what lists
share, and that the list for a small k begins the one for a larger k, is the same in every image.

Images are drawn without repetition and never are the judged lists themselves; where there are few, all are taken.
Draws depend on seed and draw alone, and do not change between versions of Python: of the generator only `random()` is
used. Knows no rankings and no conditions.

Source: J. Hemerik and J. Goeman (2018), Exact testing with random permutations, TEST 27, 811-825 (permutations drawn
without repetition, with the identity among them).
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

from harness.experiment.heads import Head, ModelShape

ALL_AT_MOST = 200
"""Where there are at most so many sets, the judged one among them, all are taken."""

Stratum = tuple[Head, ...]
Pattern = tuple[bool, ...]
"""In which of a gate's lists a head is."""


@dataclass(frozen=True, slots=True)
class Permutation:
    """Where every head goes. `draw` is its number among the draws of a seed, or among all that there are."""

    draw: int
    to: Mapping[Head, Head]

    def image(self, heads: Sequence[Head]) -> tuple[Head, ...]:
        """The heads that come in the place of these, in the same order."""
        return tuple(self.to[head] for head in heads)


def strata(shape: ModelShape, layers: int | None = 1) -> tuple[Stratum, ...]:
    """The model's heads in strata of so many neighbouring layers; `None`: one stratum, the whole model.

    Where the layers do not go into strata of that size, some strata have more, none has fewer.
    """
    n_strata = 1 if layers is None else max(1, shape.n_layers // layers)
    gathered: list[list[Head]] = [[] for _ in range(n_strata)]
    for head in shape.heads():
        gathered[head.layer * n_strata // shape.n_layers].append(head)
    return tuple(tuple(heads) for heads in gathered)


def n_images(within: Sequence[Stratum], lists: Sequence[Sequence[Head]]) -> int:
    """How many different images these lists have, themselves among them."""
    patterns = _patterns(lists)
    count = 1
    for stratum in within:
        count *= math.factorial(len(stratum))
        for same in Counter(patterns(head) for head in stratum).values():
            count //= math.factorial(same)
    return count


def permutations(
    within: Sequence[Stratum], lists: Sequence[Sequence[Head]], *, seed: int, draws: int
) -> tuple[Permutation, ...]:
    """So many permutations whose images of these lists differ from the lists and from each other.

    All that there are, where `ALL_AT_MOST` holds them or fewer are left than are asked for.
    """
    others = n_images(within, lists) - 1
    if others < max(ALL_AT_MOST, draws + 1):
        return tuple(_every(within, lists))
    return tuple(islice(_distinct(within, lists, seed), draws))


def permutation(within: Sequence[Stratum], *, seed: int, draw: int) -> Permutation:
    """One draw: every head of the model gets a random number, and in each stratum heads go in its order."""
    generator = random.Random(f"permutation: seed {seed}, draw {draw}")
    number = {head: generator.random() for head in sorted(head for stratum in within for head in stratum)}
    to: dict[Head, Head] = {}
    for stratum in within:
        to |= dict(zip(stratum, sorted(stratum, key=number.__getitem__), strict=True))
    return Permutation(draw, to)


def _distinct(within: Sequence[Stratum], lists: Sequence[Sequence[Head]], seed: int) -> Iterator[Permutation]:
    seen = {tuple(frozenset(heads) for heads in lists)}
    draw = 0
    while True:
        drawn = permutation(within, seed=seed, draw=draw)
        image = tuple(frozenset(drawn.image(heads)) for heads in lists)
        if image not in seen:
            seen.add(image)
            yield drawn
        draw += 1


def _every(within: Sequence[Stratum], lists: Sequence[Sequence[Head]]) -> Iterator[Permutation]:
    """One permutation for each image but the lists themselves."""
    patterns = _patterns(lists)
    own = [tuple(patterns(head) for head in stratum) for stratum in within]
    draw = 0
    for arrangement in product(*(list(_arrangements(Counter(each))) for each in own)):
        if list(arrangement) == own:
            continue
        to: dict[Head, Head] = {}
        for stratum, placed in zip(within, arrangement, strict=True):
            for pattern in set(placed):
                sources = [head for head in stratum if patterns(head) == pattern]
                targets = [head for head, place in zip(stratum, placed, strict=True) if place == pattern]
                to |= dict(zip(sources, targets, strict=True))
        yield Permutation(draw, to)
        draw += 1


def _arrangements(left: Counter[Pattern]) -> Iterator[tuple[Pattern, ...]]:
    """All different orders of these patterns."""
    if not left.total():
        yield ()
    for pattern in sorted(left):
        if left[pattern]:
            rest = left - Counter([pattern])
            for others in _arrangements(rest):
                yield (pattern, *others)


def _patterns(lists: Sequence[Sequence[Head]]) -> Callable[[Head], Pattern]:
    """For each head, in which of the lists it is."""
    sets = [frozenset(heads) for heads in lists]
    return lambda head: tuple(head in heads for heads in sets)

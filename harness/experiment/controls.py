"""Drawing control heads: as many random heads as an experiment zeroes, from heads that do not retrieve.

Draws are nested (the first heads of a draw are the draw for fewer), depend on seed and draw alone, and do not
change between versions of Python: of the generator only `random()` is used. Knows no rankings.
"""

import random
from collections.abc import Sequence

from harness.experiment.heads import Head, ModelShape


def shuffled(pool: Sequence[Head], shape: ModelShape, *, seed: int, draw: int) -> tuple[Head, ...]:
    """The pool in random order.

    Every head of the model gets a random number from a generator of its own, seeded by (seed, draw), and the
    pool is sorted by these: heads that join or leave the pool do not change the order of the others.
    """
    generator = random.Random(f"random control: seed {seed}, draw {draw}")
    place = {head: (generator.random(), head) for head in shape.heads()}
    return tuple(sorted(pool, key=place.__getitem__))


def matched(order: Sequence[Head], controlled: Sequence[Head]) -> tuple[Head, ...]:
    """For each controlled head, in turn, the first free head of its layer in `order`.

    Where a layer has none left, the nearest layer that has one serves, the lower of two equally near. `order`
    holds at least as many heads as are controlled for.
    """
    free = list(order)
    drawn = []
    for head in controlled:
        layer = min({other.layer for other in free}, key=lambda near: (abs(near - head.layer), near))
        drawn.append(next(other for other in free if other.layer == layer))
        free.remove(drawn[-1])
    return tuple(drawn)

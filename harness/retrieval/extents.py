"""Extents: how long some prompts are and where in them needles stand, in a few numbers that a file can keep.

Heads that are ranked on prompts of 700 tokens need not be the best at 7,000, and those ranked with the needle in the
middle need not be the best with the needle at the end. So a ranking keeps the extent of its prompts, and whoever
evaluates it on others can say that they are others. Knows nothing of heads or of models.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles

from harness.retrieval.prompts import Prompt

LENGTHS_APART = 1.5
"""How many times as long the one median must be as the other to be plainly another length. A convention, as is the
next one."""
DEPTHS_APART = 0.25
"""By how much one of the three quartiles of depth must differ to be plainly other depths: needles anywhere and needles
all in the middle are not."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Of some prompts: the median number of tokens, and the quartiles of the needle's depth, from 0 to 1."""

    tokens: float
    depths: tuple[float, float, float]


def extent_of(prompts: Iterable[Prompt]) -> Extent | None:
    """The extent of these prompts, each of which counts once; `None` of none."""
    lengths, depths = [], []
    for prompt in prompts:
        lengths.append(len(prompt.token_ids))
        depths.append(prompt.depth)
    if not lengths:
        return None
    low, middle, high = quantiles(depths, n=4, method="inclusive") if len(depths) > 1 else depths * 3
    return Extent(float(median(lengths)), (low, middle, high))


def apart(ranked: Extent | None, evaluated: Extent | None) -> Iterator[str]:
    """In words, how the evaluated prompts plainly differ from a ranking's; nothing where either is unknown."""
    if ranked is None or evaluated is None:
        return
    short, long = sorted((ranked.tokens, evaluated.tokens))
    if long >= LENGTHS_APART * short:
        yield (
            f"the ranking was made on prompts of {ranked.tokens:,.0f} tokens (median), and those evaluated have "
            f"{evaluated.tokens:,.0f}: other heads may be the best at this length"
        )
    if max(abs(a - b) for a, b in zip(ranked.depths, evaluated.depths, strict=True)) > DEPTHS_APART:
        yield (
            f"the ranking was made with needles at depths of {_quartiles(ranked)} (quartiles), and those evaluated "
            f"stand at {_quartiles(evaluated)}: other heads may be the best there"
        )


def _quartiles(extent: Extent) -> str:
    low, middle, high = (f"{depth:.2f}" for depth in extent.depths)
    return low if low == high else f"{low}, {middle} and {high}"

"""How findings are said in text: points, percentages and numbers of heads, columns of cells, what was done to heads.

Knows nothing of where the figures come from.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

GAP = "  "
PARTICIPLES = {
    "zero": "zeroed",
    "mean": "set to their mean",
    "resample": "resampled",
    "resample_same": "resampled with the same answer",
    "rescue": "zeroed, but for the answer",
    "needle_edge": "kept from the needle",
    "other_edge": "kept from as many other tokens",
    "mass_edge": "kept from other tokens of as much attention",
}
"""What is done to heads, by the setting `mode`."""


def points(part: float | None) -> str:
    """A change of a part of 1 in points: `+12.5`."""
    return "unknown" if part is None else f"{100 * part:+.1f}"


def points_between(ends: tuple[float, float] | None) -> str:
    """An interval of such changes: `[+1.0, +12.5]`."""
    return "[unknown]" if ends is None else f"[{points(ends[0])}, {points(ends[1])}]"


def percent(part: float | None) -> str:
    """A part of 1: `12.5%`."""
    return "unknown" if part is None else f"{part:.1%}"


def span(fewest: int, most: int) -> str:
    """From the fewest to the most of a thing: `20` or `7-20`."""
    return str(most) if fewest == most else f"{fewest}-{most}"


def aligned(table: Collection[Sequence[str]], sides: str) -> Iterator[str]:
    """The table's lines, each column as wide as its widest cell; no line ends in spaces.

    sides: `l` or `r` a column, for cells set left or right.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = (
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(line, widths, sides, strict=True)
        )
        yield GAP.join(cells).rstrip()


def participle(settings: Mapping[str, object]) -> str:
    """What was done to the heads, as a participle: `zeroed`, too where nothing is said, as of published counts."""
    return PARTICIPLES.get(str(settings.get("mode", "zero")), "ablated")


def manner_note(settings: Mapping[str, object]) -> str | None:
    """What was done to the heads and when, where it is not the usual."""
    decode_only = settings.get("phase", "all") == "decode"
    done = participle(settings)
    if done == PARTICIPLES["zero"] and not decode_only:
        return None
    return f"heads {done}" + (" from the prompt's last token on" if decode_only else "")

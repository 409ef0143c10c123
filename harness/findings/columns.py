"""Columns of plain text: cells of a table set below each other. Knows nothing of what they say."""

from collections.abc import Collection, Iterator, Sequence

GAP = "  "


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

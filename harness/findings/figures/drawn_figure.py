"""A figure that was drawn, by whichever process: its files, or why it is missing; and the error that names these.

Knows nothing of how it was drawn, and imports no matplotlib.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from harness.errors import ReportError


class DrawnFigure(NamedTuple):
    """The files of a figure, none where the report has nothing to draw, and why some are `missing`."""

    files: tuple[Path, ...] = ()
    missing: str | None = None


def files_of(drawn: Mapping[str, DrawnFigure], folder: Path) -> tuple[Path, ...]:
    """The files of these figures, by name, that were drawn into the folder.

    Raises ReportError, which names the figures that are missing and why, where one is; the others are there.
    """
    if missing := {name: found.missing for name, found in drawn.items() if found.missing is not None}:
        reasons = "; ".join(dict.fromkeys(missing.values()))
        raise ReportError(
            f"{folder}: the plots cannot be written: no {', '.join(missing)} ({reasons}); expected room in a folder "
            "that can be written; the report stands: draw them again with `retrieval-heads plot`"
        )
    return tuple(file for found in drawn.values() for file in found.files)

"""What a row asked, in words: its question, its needle, and what stood around it; a line of `rows.jsonl`.

Samples say what was answered; who looks at one wants to see what was asked. Whole documents stay where they are: 300
characters on either side of the needle are kept, of the document as the model was given it.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from harness.errors import ReportError
from harness.experiment.json_nodes import parse_json
from harness.files import read_bytes, write_text
from harness.findings.report.report_files import ROWS_FILE
from harness.findings.section import Fraction, Name, Section, read_section
from harness.retrieval.placement import Placed
from harness.retrieval.rows import Row

AROUND = 300
"""How many characters are kept on either side of the needle."""


class RowText(Section):
    """A row's question, needle and surroundings."""

    row: Name
    question: str
    needle: str
    before: str
    """The characters before the needle, at most 300."""
    after: str
    """Those after it."""
    depth: Fraction
    """Where the needle really stands: the characters of the haystack before it, of all."""


def row_text(row: Row, question: str, placed: Placed) -> RowText:
    """What this row asked; `placed` is its document with the needle in it.

    Raises ValueError where the needle was left out.
    """
    if placed.needle is None:
        raise ValueError(f"{row.id}: no needle in the document; expected it placed with its needle kept")
    start, end = placed.needle
    document = placed.document
    return RowText(
        row=row.id,
        question=question,
        needle=document[start:end],
        before=document[max(0, start - AROUND) : start],
        after=document[end : end + AROUND],
        depth=placed.depth,
    )


def write_row_texts(texts: Iterable[RowText], folder: Path) -> Path:
    """Write `rows.jsonl` into a report's folder, which is there; return its path.

    Raises ReportError where it cannot be written.
    """
    path = folder / ROWS_FILE
    lines = "".join(json.dumps(text.model_dump(), ensure_ascii=False, allow_nan=False) + "\n" for text in texts)
    try:
        write_text(path, lines)
    except OSError as error:
        raise ReportError(
            f"{path}: cannot be written ({error.strerror or error}); expected room in a folder that can be written"
        ) from error
    return path


def read_row_texts(folder: Path) -> tuple[RowText, ...]:
    """What `rows.jsonl` in a report's folder says; nothing where there is none.

    Raises ReportError where it cannot be read, or a line of it is none.
    """
    path = folder / ROWS_FILE
    if not path.exists():
        return ()
    try:
        lines = read_bytes(path).decode().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: cannot be read ({error}); expected lines that the harness wrote") from error
    return tuple(
        read_section(RowText, line, parse_json(line, f"{path}:{number}", ReportError), "run again")
        for number, line in enumerate(lines, start=1)
        if line
    )

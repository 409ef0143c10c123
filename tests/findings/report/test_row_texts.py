"""What rows asked, in words, written and read back."""

from pathlib import Path

import pytest

from harness.errors import ReportError
from harness.findings.report.row_texts import AROUND, read_row_texts, row_text, write_row_texts
from harness.retrieval.placement import place_needle
from harness.retrieval.rows import Row

LONG = Row("f.txt", "ceo_lastname", "Sam Lee signed.", "Lee", "One sentence here. " * 100)
HOSTILE = Row("<b>.txt", "ceo_lastname", 'It is "</script>\u202e".', "</script>", "First.\u2028Second. Third.")


def test_the_needle_and_what_stands_around_it() -> None:
    placed = place_needle(LONG, depth=0.5)
    found = row_text(LONG, "Who?", placed)
    assert (found.question, found.needle) == ("Who?", "Sam Lee signed.")
    assert len(found.before) == len(found.after) == AROUND
    assert found.before + found.needle + found.after in placed.document
    assert found.depth == placed.depth


def test_a_short_document_is_kept_whole() -> None:
    placed = place_needle(HOSTILE, depth=0.5)
    found = row_text(HOSTILE, "What?", placed)
    assert found.before + found.needle + found.after == placed.document


def test_no_needle_no_text() -> None:
    with pytest.raises(ValueError, match="no needle in the document"):
        row_text(LONG, "Who?", place_needle(LONG, depth=0.5, keep=False))


def test_written_and_read_back(tmp_path: Path) -> None:
    texts = tuple(row_text(row, "Who?", place_needle(row, depth=0.5)) for row in (LONG, HOSTILE))
    assert read_row_texts(tmp_path) == ()
    assert write_row_texts(texts, tmp_path).name == "rows.jsonl"
    assert read_row_texts(tmp_path) == texts


def test_what_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"row": "f"}\n')
    with pytest.raises(ReportError, match=r"rows.jsonl:1: no 'question'"):
        read_row_texts(tmp_path)
    (tmp_path / "rows.jsonl").write_bytes(b"\xff")
    with pytest.raises(ReportError, match="cannot be read"):
        read_row_texts(tmp_path)
    with pytest.raises(ReportError, match="cannot be written"):
        write_row_texts([], tmp_path / "none")

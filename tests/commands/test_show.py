"""The page of a report, opened."""

import os
import webbrowser
from pathlib import Path

import pytest

from harness.cli import main
from harness.findings.page.page_writing import embedded
from harness.findings.report.reading import load

from .refusals import Capture, refusal


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    return addresses


def test_a_page_that_is_not_there_is_written_and_opened(folder: Path, opened: list[str], capsys: Capture) -> None:
    page = folder / "index.html"
    assert main(["show", str(folder)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert opened == [page.as_uri()]
    text = page.read_text(encoding="utf-8")
    assert "<svg " in text
    samples = load(folder).sample_lines()
    assert {row.id for row in embedded(text).rows} == {sample.row for sample in samples}


def test_one_that_is_there_is_opened_as_it_is(folder: Path, opened: list[str]) -> None:
    page = folder / "index.html"
    page.write_text("mine")
    assert main(["show", str(folder / "report.json"), "--no-browser"]) == 0
    assert (page.read_text(), opened) == ("mine", [])
    assert main(["show", str(folder), "--no-browser", "--anew"]) == 0
    assert page.read_text(encoding="utf-8") != "mine"


def test_one_older_than_its_report_is_written_anew(folder: Path, opened: list[str]) -> None:
    page = folder / "index.html"
    page.write_text("old")
    os.utime(page, (1, 1))
    assert main(["show", str(folder), "--no-browser"]) == 0
    assert page.read_text(encoding="utf-8") != "old"


def test_a_report_without_samples(folder: Path, opened: list[str]) -> None:
    (folder / "samples.jsonl").unlink()
    assert main(["show", str(folder), "--no-browser"]) == 0
    assert embedded((folder / "index.html").read_text(encoding="utf-8")).rows == ()


def test_what_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    assert "expected a report's file" in refusal(capsys, "show", tmp_path / "none")

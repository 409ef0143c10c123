"""What published counts cannot support is said, with numbers."""

from pathlib import Path

import pytest
from published_files import documents, published_folder, write_documents

from findings.published.test_published_report import REAL, REAL_SHAPE, report_of
from harness.findings.published.published_limits import limit_lines


def test_one_draw(tmp_path: Path) -> None:
    """Random heads cost 2 of 16 at k = 2, own heads 10 of 16: 50 points beyond."""
    lines = list(limit_lines(report_of(published_folder(tmp_path))))
    assert lines[:5] == [
        "a task's own heads on its own rows: transfer equals within_task in 4 of 4 cells",
        "the control is not flat: random heads cost +12.5 points at k=2",
        "1 of the 2 random heads at k=2 are among some task's best 2",
        "counts only: lost rows and filings are unknown; intervals take rows as independent, nothing is paired",
        "no run without the needle: what guessing scores is unknown",
    ]
    table = {line.split()[0]: line for line in lines if line.strip().startswith("k=")}
    assert "+50.0 [" in table["k=2"]
    assert "1 head only" in table["k=2"]
    assert "one random seed" in lines[-2]
    assert lines[-1].endswith("no gate can pass on these files")


def test_more_draws_and_none(tmp_path: Path) -> None:
    files = documents()
    files["random_again"] = files["random_ablation_control"]
    lines = list(limit_lines(report_of(write_documents(files, tmp_path / "two"))))
    assert "the control is not flat: random heads cost +12.5 points at k=2" in lines, "each k once"
    assert lines[-1] == "2 random seeds show how draws differ, but a gate also needs the rows"
    del files["random_again"], files["random_ablation_control"]
    lines = list(limit_lines(report_of(write_documents(files, tmp_path / "none"))))
    assert lines[-1] == ("no random heads: nothing shows that these heads do more than any others, so no gate can pass")


@pytest.mark.skipif(not REAL.is_dir(), reason="the published files are not on this machine")
def test_the_published_files() -> None:
    lines = list(limit_lines(report_of(REAL, REAL_SHAPE)))
    assert lines[0].endswith("in 63 of 63 cells")
    assert "one head of 32 apart at k=32: general with L13H18 28.2%, global with L17H29 65.5%" in lines
    assert any("+43.1 points at k=128" in line for line in lines)
    assert lines[-1].endswith("no gate can pass on these files")

"""The process that draws figures: the same files as without it, and no trace of it however either side ends."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from fake_study import TASKS, make_report

from harness.errors import ReportError
from harness.findings.figures import drawing_process
from harness.findings.figures.drawing_process import DrawingProcess, begin_drawing
from harness.findings.figures.plots import draw_plots
from harness.findings.report.report_files import REPORT_FILE
from harness.findings.report.report_writing import write_report


@pytest.fixture
def process() -> Iterator[DrawingProcess]:
    begun = DrawingProcess()
    yield begun
    begun.close()


def test_the_files_are_those_drawn_without_it(process: DrawingProcess, tmp_path: Path) -> None:
    """But for one whose place is taken, which is named as it would be without."""
    report = write_report(*make_report(TASKS[:1], (5,), ("within_task", "random_control"), 2), tmp_path)
    (tmp_path / "here").mkdir()
    there = {file.name: file.read_bytes() for file in draw_plots(report, tmp_path / "here")}
    assert len(there) == 10
    (tmp_path / "beside" / "forest.png").mkdir(parents=True)
    with pytest.raises(ReportError, match=r"beside: the plots cannot be written: no forest \(Is a directory\)"):
        process.draw(tmp_path / REPORT_FILE, tmp_path / "beside")
    beside = {file.name: file.read_bytes() for file in (tmp_path / "beside").iterdir() if file.is_file()}
    assert beside == {name: content for name, content in there.items() if not name.startswith("forest")}


def test_what_python_does_not_import_from_is_not_handed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A `Path` in `sys.path`, where imports pass over it, was a TypeError in the middle of a study."""
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    with closing(DrawingProcess()) as begun:
        assert Path(f"/proc/{begun.id}/exe").resolve() == Path(sys.executable).resolve()
        os.kill(begun.id, signal.SIGKILL)


def test_one_that_has_ended_says_so(process: DrawingProcess, tmp_path: Path) -> None:
    """Whoever asked draws without it then."""
    os.kill(process.id, signal.SIGKILL)
    assert process.draw(tmp_path / REPORT_FILE, tmp_path) is None


def test_one_that_does_not_answer_is_ended(
    process: DrawingProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was waited for without an end."""
    monkeypatch.setattr(drawing_process, "PATIENCE_SECONDS", 0.1)
    os.kill(process.id, signal.SIGSTOP)
    with pytest.raises(ReportError) as error:
        process.draw(tmp_path / REPORT_FILE, tmp_path / "plots")
    assert str(error.value) == (
        f"{tmp_path / 'plots'}: the plots were not drawn: the process that draws them gave no answer for 0.1 s, and "
        f"was ended; expected all of them; the report stands: draw them with `retrieval-heads plot {tmp_path}`"
    )
    assert not psutil.pid_exists(process.id)


def test_it_ends_with_whoever_began_it() -> None:
    """However that ended: nobody holds the other end of its input any more."""
    code = """
import os
from harness.findings.figures.drawing_process import DrawingProcess
print(DrawingProcess().id, flush=True)
os._exit(0)
"""
    said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    with suppress(ProcessLookupError):
        watched = select.poll()
        watched.register(os.pidfd_open(int(said)), select.POLLIN)
        assert watched.poll(60_000)


def test_it_is_begun_where_there_are_cores_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    monkeypatch.setattr(drawing_process, "DrawingProcess", lambda: begun.append(1))
    for cores in (1, 2, 3, 4, 64):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid, n=cores: set(range(n)))
        begin_drawing()
    assert len(begun) == 2
    monkeypatch.setattr(sys, "executable", "")
    assert begin_drawing() is None
    assert len(begun) == 2

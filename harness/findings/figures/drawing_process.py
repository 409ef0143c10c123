"""A process that draws a report's figures, a core a figure: it imports matplotlib while rows are still being answered.

Drawing is Python's work, on one core, and takes as long as hundreds of short rows on a GPU. So where there are cores
enough a second process is begun with the model, and waits for a report. Then it makes a copy of itself for each figure,
and says what they drew. It is a Python of its own: no copy of the session, which may hold a GPU, threads and locks, and
no second run of the user's program, as the processes of `multiprocessing` are. No Ctrl-C reaches it, and it ends with
the session. Whatever becomes of it, figures can be drawn without (`plots.draw_plots`), and the files are the same. One
that does not answer is ended: nobody waits for figures without an end.

Knows nothing of how a figure looks.
"""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from harness.errors import ReportError
from harness.findings.figures.drawn_figure import DrawnFigure, files_of
from harness.findings.report.reading import load

LEAST_CORES = 4
"""With fewer it would take from the rows what it saves at the end."""
PATIENCE_SECONDS = 300.0
"""How long its figures are waited for, once a report is there."""


class DrawingProcess:
    """One such process, for one report. To be closed."""

    def __init__(self) -> None:
        path = [each for each in sys.path if isinstance(each, str)]  # as Python's own imports take it
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )

    @property
    def id(self) -> int:
        """The process's number."""
        return self._process.pid

    def draw(self, report: Path, folder: Path) -> tuple[Path, ...] | None:
        """Draw every figure of the report in this file into the folder; the files, as `draw_plots` has them.

        `None` where the process has ended, and what it has drawn is not known.

        Raises ReportError as `draw_plots` does, and where it does not answer; it is ended then.
        """
        asked = json.dumps([str(report.resolve()), str(folder.resolve())])
        try:
            said, _ = self._process.communicate(asked, timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.close()
            raise ReportError(
                f"{folder}: the plots were not drawn: the process that draws them gave no answer for "
                f"{PATIENCE_SECONDS:g} s, and was ended; expected all of them; the report stands: draw them with "
                f"`retrieval-heads plot {report.parent}`"
            ) from None
        try:
            drawn = {name: DrawnFigure(tuple(map(Path, files)), why) for name, (files, why) in json.loads(said).items()}
        except ValueError:
            return None
        return files_of(drawn, folder)

    def close(self) -> None:
        """End it, and the copies that draw for it."""
        if self._process.poll() != 0:
            with suppress(ProcessLookupError):
                os.killpg(self.id, signal.SIGKILL)
        with self._process:
            pass


def begin_drawing() -> DrawingProcess | None:
    """The process, begun now; `None` where few cores may be used, and where a process cannot make copies of itself."""
    if not sys.platform.startswith("linux") or len(os.sched_getaffinity(0)) < LEAST_CORES:
        return None
    if not sys.executable:  # Python within another program
        return None
    try:
        return DrawingProcess()
    except OSError:  # no room for one more
        return None


def main() -> None:
    """Get ready to draw, wait for a report's and a folder's paths on standard input, and say what was drawn."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from harness.findings.figures.plots import FIGURES, draw_figure

    _warm_up()
    if not (asked := sys.stdin.read()):
        return
    report, folder = map(Path, json.loads(asked))
    data = load(report).data
    with ProcessPoolExecutor(len(FIGURES), get_context("fork")) as copies:
        drawn = copies.map(partial(draw_figure, report=data, folder=folder), FIGURES)
        print(json.dumps(dict(zip(FIGURES, drawn, strict=True)), default=str))


def _warm_up() -> None:
    """Draw something of everything: matplotlib reads its fonts and formats as it first needs them."""
    from harness.findings.figures.plot_style import house_style, new_figure

    with house_style():
        figure = new_figure(1.0, 1.0, "k", ["k"])
        figure.add_subplot().plot([0, 1])
        for ending in ("png", "svg"):
            figure.savefig(io.BytesIO(), format=ending)


if __name__ == "__main__":
    main()

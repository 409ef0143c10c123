"""A line that says how far a study is: on a terminal below whatever pytest writes, in a log once a minute.

On a terminal it stands under the cursor, which goes back to where pytest left it, and is gone before pytest writes on:
pytest's own lines are what they are without it. The control sequences are those of the VT100, which every terminal of
today knows (https://vt100.net/docs/vt100-ug/chapter3.html). Pace and time left are said as tqdm says them. There is
none with `-qq`, or where pytest has no terminal reporter; a log has none with `-q`.

In one process it is told of each row; of xdist's workers the main process reads notes in the store, in a thread. What
is shown is a `Progress`, whoever hands it in, from whichever thread.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from shutil import get_terminal_size

import pytest

from harness.errors import plain
from harness.study.progress import Progress, shared_progress

SHOWN_SECONDS, LOGGED_SECONDS = 0.2, 60.0
"""How much time there is at least from one line to the next, on a terminal and in a log."""
LOOK_SECONDS = 1.0
"""How often the workers' notes are read."""
DRAW = "\x1b[J\x1bD\x1b[A\x1b7\r\x1b[B{}\x1b8"
"""Clear what is below; make room for a line below, keep the cursor's place, write there, and go back."""
CLEAR = "\x1b[J"


class StatusLine:
    """The line on pytest's terminal or in its log; closed, it leaves nothing behind on a terminal."""

    def __init__(self, config: pytest.Config, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter
        self._writer = config.get_terminal_writer()
        self._file = self._writer._file  # what it counts as written on a line must not hold ours
        self._is_terminal = bool(reporter.isatty()) and os.environ.get("TERM") != "dumb"
        capture = config.pluginmanager.get_plugin("capturemanager")
        self._uncaptured = nullcontext if capture is None else capture.global_and_fixture_disabled
        self._main = threading.current_thread()
        self._lock = threading.RLock()
        self._shown = False
        self._said: set[str] = set()
        self._next = 0.0 if self._is_terminal else time.monotonic() + LOGGED_SECONDS
        self._write = self._writer.write
        self._writer.write = self._write_pytests  # type: ignore[method-assign]  # until it is closed

    def show(self, progress: Progress) -> None:
        """Show it, where the last line is not too new; each of its notices at once, and once."""
        self._say([notice for notice in progress.notices if notice not in self._said])
        if time.monotonic() < self._next:
            return
        text = status_text(progress)
        with self._lock, self._outside_capture():
            if self._is_terminal:
                self._file.write(DRAW.format(_cut(text, get_terminal_size().columns - 1)))
                self._file.flush()
                self._shown = True
            else:
                self._reporter.ensure_newline()
                if self._writer.width_of_current_line:
                    self._writer.line()
                self._writer.line(text)
                self._writer.flush()
        self._next = time.monotonic() + (SHOWN_SECONDS if self._is_terminal else LOGGED_SECONDS)

    def _say(self, notices: Sequence[str]) -> None:
        """Lines that stay."""
        if not notices:
            return
        self._said.update(notices)
        with self._lock, self._outside_capture():
            self._reporter.ensure_newline()
            if self._writer.width_of_current_line:
                self._writer.line()
            for notice in notices:
                self._writer.line(plain(f"ablation: {notice}"), yellow=True)
            self._writer.flush()

    def close(self) -> None:
        """Take it away."""
        with self._lock, self._outside_capture():
            self._clear()
            self._file.flush()
            del self._writer.write

    def _write_pytests(self, msg: str, *, flush: bool = False, **markup: bool) -> None:
        """What anyone writes on pytest's terminal: the line makes way for it."""
        with self._lock:
            self._clear()
            self._write(msg, flush=flush, **markup)

    def _clear(self) -> None:
        if self._shown:
            self._file.write(CLEAR)
            self._shown = False

    def _outside_capture(self) -> AbstractContextManager[None]:
        """Past pytest's capture, which holds what is printed while a fixture is set up, in the main thread."""
        return self._uncaptured() if threading.current_thread() is self._main else nullcontext()


class Follower:
    """Shows on a line, from a thread, how far the processes of a run are by their notes in a store."""

    def __init__(self, line: StatusLine, store: Path, run: str) -> None:
        self._line, self._store, self._run = line, store, run
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Follow no longer; the line is gone."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join()
            self._line.close()

    def _follow(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            if (progress := shared_progress(self._store, self._run)) is not None:
                with suppress(OSError, ValueError):  # a terminal that is gone; who writes there next is told
                    self._line.show(progress)


def status_text(progress: Progress) -> str:
    """Rows done of all, pace and time left, who did them, and what the answers say so far."""
    from tqdm import tqdm

    done = tqdm.format_meter(
        progress.rows_done,
        progress.rows,
        progress.seconds,
        unit="row",
        bar_format="ablation: {n_fmt}/{total_fmt} " + progress.of + ", {rate_fmt}, {remaining} left",
    )
    return plain(", ".join(filter(None, [" ".join(done.split()), progress.facts()])))


@contextmanager
def progress_line(config: pytest.Config) -> Iterator[Callable[[Progress], None]]:
    """A line for as long as a run lasts in this process."""
    line = line_of(config)
    if line is None:
        yield lambda progress: None
        return
    try:
        yield line.show
    finally:
        line.close()


def line_of(config: pytest.Config) -> StatusLine | None:
    """A session's line; `None` where there is to be none."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.get_verbosity() < (-1 if reporter.isatty() else 0):
        return None
    return StatusLine(config, reporter)


def _cut(text: str, width: int) -> str:
    """The text in this many columns."""
    from tqdm.utils import disp_len, disp_trim

    return text if disp_len(text) <= width else f"{disp_trim(text, width - 1)}…"

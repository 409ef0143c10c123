"""The line of progress, on an emulated terminal and in a log: there while a study runs, and gone without a trace."""

import contextlib
import os
import re
from types import SimpleNamespace

import pyte
import pytest

from harness.plugin import status_line
from harness.study.progress import Progress
from plugin.project import Project

STUDY = "evals/test_within_task.py"
WIDTH = 100
LINE = re.compile(r"ablation: (\d+)/6 rows, \S+(?:row/s|s/row), [\d:?]+ left(.*)")
ON_A_TERMINAL = """
    import os
    import pytest

    @pytest.hookimpl(trylast=True)
    def pytest_configure(config):
        if (reporter := config.pluginmanager.get_plugin("terminalreporter")) is not None:
            reporter.isatty = lambda: True

    if "PYTEST_XDIST_WORKER" in os.environ:
        import time
        from pathlib import Path
        import harness.study.progress
        from harness.study.run import Run

        execute = Run.execute

        def execute_and_wait(self, *arguments):
            execute(self, *arguments)
            while not Path("all_shown").exists():
                time.sleep(0.01)

        harness.study.progress.NOTE_SECONDS = 0.0
        Run.execute = execute_and_wait
"""
"""A worker notes every row, and waits in the end until the last note was shown, however seldom the other is heard."""
TALKING = (
    ON_A_TERMINAL
    + """
    import logging

    def pytest_ablation_score(row, completion):
        print("printed by a hook")
        logging.getLogger("theirs").warning("logged by a hook")
"""
)


class Seen:
    """What a run wrote, and how a terminal of 100 columns and 12 lines shows it."""

    def __init__(self, written: str) -> None:
        self.written = written
        self._screen = pyte.HistoryScreen(WIDTH, 12, history=10_000)
        self._screen.set_mode(pyte.modes.LNM)  # as the terminal's driver makes of a line's end
        pyte.Stream(self._screen).feed(written)

    @property
    def lines(self) -> list[str]:
        """What stands there in the end, that which was scrolled away first; how long things took left out."""
        above = ["".join(line[column].data for column in range(WIDTH)) for line in self._screen.history.top]
        text = "\n".join(line.rstrip() for line in [*above, *self._screen.display]).rstrip()
        return re.sub(r"(?:=+ )?(\d+ passed.*?) in [\d.]+s.*", r"\1", text).split("\n")

    @property
    def shown(self) -> list[str]:
        """The lines of progress, one after the other."""
        return re.findall(r"ablation: \d[^\x1b\n]*", self.written)


@pytest.fixture
def every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 100 columns, and a line for every row."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(status_line, "SHOWN_SECONDS", 0.0)
    monkeypatch.setattr(status_line, "LOGGED_SECONDS", 0.0)
    monkeypatch.setattr(status_line, "LOOK_SECONDS", 0.01)


@pytest.mark.usefixtures("every_row")
@pytest.mark.parametrize("how", [(), ("-v", "-s"), ("-q", "--no-header")], ids=" ".join)
def test_pytests_own_lines_are_what_they_are_without_it(
    how: tuple[str, ...], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.pytester.makeconftest(ON_A_TERMINAL)
    seen = Seen(project.run(STUDY, *how).stdout.str())
    found = [match for line in seen.shown if (match := LINE.match(line))]
    assert [match[1] for match in found] == ["1", "2", "3", "4", "5", "6"]
    assert "untouched " in found[-1][2]
    monkeypatch.setattr(status_line, "line_of", lambda config: None)
    plain = Seen(project.run(STUDY, *how, "--ablation-refresh", "--ablation-run=plain").stdout.str())
    assert plain.shown == []
    expected = [line.replace("reports/plain", "reports/latest") for line in plain.lines]
    assert seen.lines == expected


@pytest.mark.usefixtures("every_row")
def test_workers_are_followed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main process shows what they note; of its own lines nothing is lost, and nothing of ours is left."""
    show = status_line.StatusLine.show

    def show_and_tell(self: status_line.StatusLine, progress: Progress) -> None:
        show(self, progress)
        if progress.rows_done == progress.rows:
            (project.path / "all_shown").touch()

    monkeypatch.setattr(status_line.StatusLine, "show", show_and_tell)
    project.pytester.makeconftest(ON_A_TERMINAL)
    seen = Seen(project.run(STUDY, "-n", "1").stdout.str())
    found = [match for line in seen.shown if (match := LINE.match(line))]
    done = [int(match[1]) for match in found]
    assert done == sorted(done)
    assert done[-1] == 6
    assert "untouched " in found[-1][2]
    assert not [line for line in seen.lines if "row/s" in line]
    assert any(re.fullmatch(r"\.{4} +\[100%\]", line) for line in seen.lines)
    assert project.report()["run"]["finished"]


def test_on_a_real_terminal(project: Project) -> None:
    """Past pytest's capture, which once held the line back until nobody needed it."""
    project.pytester.makeconftest("import harness.plugin.status_line as line\nline.SHOWN_SECONDS = 0.0")
    ours, theirs = os.openpty()
    process = project.start("evals/test_baseline.py", "-k", "not needle", output=theirs)
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
        while chunk := os.read(ours, 1 << 16):
            text += chunk
    os.close(ours)
    assert process.wait() == pytest.ExitCode.OK
    seen = Seen(text.decode())
    assert [line.split(" rows, ")[0] for line in seen.shown] == [f"ablation: {n}/6" for n in range(1, 7)]
    assert not [line for line in seen.lines if LINE.match(line)]


@pytest.mark.usefixtures("every_row")
def test_what_others_print_meanwhile_stands_whole(project: Project) -> None:
    project.pytester.makeconftest(TALKING)
    lines = Seen(project.run(STUDY, "-s", "-o", "log_cli=1").stdout.str()).lines
    assert sum("printed by a hook" in line for line in lines) == sum("logged by a hook" in line for line in lines) > 0
    assert not [line for line in lines if LINE.match(line)]


@pytest.mark.usefixtures("every_row")
def test_a_narrow_terminal(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    project.pytester.makeconftest(ON_A_TERMINAL)
    shown = Seen(project.run(STUDY).stdout.str()).shown
    assert len(shown) == 6
    assert all(len(line) == 29 and line.endswith("…") for line in shown)


@pytest.mark.usefixtures("every_row")
@pytest.mark.parametrize("how", [("-qq",), ("-p", "no:terminal")], ids=" ".join)
def test_none_where_nobody_wants_it(how: tuple[str, ...], project: Project) -> None:
    project.pytester.makeconftest(ON_A_TERMINAL)
    result = project.run(STUDY, *how)
    assert result.ret == pytest.ExitCode.OK
    assert "row/s" not in result.stdout.str()


@pytest.mark.usefixtures("every_row")
def test_lines_of_a_log(project: Project) -> None:
    lines = project.run(STUDY).outlines
    assert [match[1] for line in lines if (match := LINE.fullmatch(line))] == ["1", "2", "3", "4", "5", "6"]
    assert "row/s" not in project.run(STUDY, "--ablation-refresh", "-q").stdout.str()


def test_a_log_of_less_than_a_minute_has_none(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that stands still, however busy the machine is."""
    monkeypatch.setattr(status_line, "time", SimpleNamespace(monotonic=lambda: 0.0))
    assert "row/s" not in project.run(STUDY).stdout.str()


def test_words() -> None:
    several = Progress(30, 90, 15.0, by={"gw0": 20, "gw1": 10}, tallies=lambda: {"baseline": (24, 30), "a": (3, 30)})
    said = "gw0 20 gw1 10, untouched 80%, worst 10% of 30 a"
    assert status_line.status_text(several) == f"ablation: 30/90 rows, 2.00row/s, 00:30 left, {said}"
    assert status_line.status_text(Progress(0, 9, 0.0)) == "ablation: 0/9 rows, ?row/s, ? left"
    slow = Progress(6, 90, 60.0, "rows for the mean")
    assert status_line.status_text(slow) == "ablation: 6/90 rows for the mean, 10.00s/row, 14:00 left"

"""Sessions of pytest that begin at once: a process that has imported everything forks one after the other.

What a session imports takes seconds, and a test that kills twenty of them would mostly wait for that.
"""

import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from plugin.project import IN_PROCESS, PLUGINS, REPOSITORY

IMPORTED = (
    *("torch", "transformers.models.llama.modeling_llama", "harness.plugin", "harness.study.session"),
    *("harness.study.to_look_at", "harness.model.generation.engines", "harness.model.identification.identify"),
)


class Session:
    """One forked session, its output in a file; it does not draw plots."""

    def __init__(self, nursery: "subprocess.Popen[str]", folder: Path, arguments: tuple[str, ...]) -> None:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        self._says, self._output = nursery.stdout, folder / "session.txt"
        nursery.stdin.write(json.dumps([str(self._output), *PLUGINS, *IN_PROCESS, *arguments]) + "\n")
        nursery.stdin.flush()
        self.pid = int(self._says.readline())

    def ended(self) -> bool:
        """Whether it has come to its end."""
        return bool(select.select([self._says], [], [], 0)[0])

    def kill(self) -> int:
        """Without warning; what `wait` gives."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        return int(self._says.readline())

    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")


class Nursery:
    """Starts sessions in a folder, one at a time."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process, self._folder = process, folder

    def start(self, *arguments: str) -> Session:
        return Session(self._process, self._folder, arguments)


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """Ready to start sessions of the project in this folder."""
    serving = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'tests')!r}); import plugin.nursery as n; n.serve()"
    process = subprocess.Popen(
        [sys.executable, "-c", serving],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Nursery(process, folder)


def serve() -> None:
    """Fork a session for each line of standard input, and say its process id and its exit code."""
    for name in IMPORTED:
        importlib.import_module(name)
    plots = importlib.import_module("harness.findings.figures.plots")
    plots.__dict__["draw_plots"] = lambda report, folder, **named: ()
    print("ready", flush=True)
    for line in sys.stdin:
        output, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            with Path(output).open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            code = pytest.main(arguments)
            sys.stdout.flush()
            os._exit(code)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

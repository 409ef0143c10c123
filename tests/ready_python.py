"""A Python that begins at once: a server has imported everything, and forks a child for each command.

`ready_python` gives the path of an executable that takes Python's own arguments. It hands them, its folder, environment
and standard streams to the server, and ends as the child does: with its exit code, or by the same signal. The child
runs the command as `python -c` and `python -m` do. Where a fresh process would do otherwise, one is begun: for other
options of Python's, for an environment that differs from the server's in what is read at start or at import, and in
folders with a module of a name that is imported. The server only imports, so nothing is computed before a command.

What differs: `os.getppid` tells who began the command, not who forked it; an import that is done already warns of
nothing; modules are not taken apart at the end; and the thread in which jemalloc gives memory back is gone.
"""

import atexit
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

IMPORTED = (
    *("torch", "transformers.models.llama.modeling_llama", "pandas", "matplotlib.pyplot", "scipy.stats", "hypothesis"),
    *("pytest", "_pytest.pytester", "xdist.remote", "harness.cli", "harness.findings.figures.plots"),
    *("harness.study.session", "harness.study.to_look_at", "harness.study.asked_model", "harness.study.run"),
    *("harness.model.generation.engines", "harness.model.identification.identify"),
)
"""By a study, its report and its plots; the plugin itself is pytest's to import, which rewrites its asserts."""
READ_EARLY = tuple("PYTHON LANG LC_ OMP_ GOMP_ MKL_ CUDA_ HF_ TOKENIZERS_ TORCH_ TRANSFORMERS_ MPL".split())
"""How variables begin that are read at start or at import."""
AT_START = dict(os.environ)
"""Before anything was imported that adds to it."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_EXECUTABLE = """\
#!{python} -IS
import json, os, signal, socket, sys

with socket.socket(socket.AF_UNIX) as keeper:
    keeper.connect({address!r})
    asked = dict(arguments=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ), began=os.getppid())
    asked["interruptible"] = signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    socket.send_fds(keeper, [b"\\n"], [0, 1, 2])
    keeper.sendall(json.dumps(asked).encode() + b"\\n")
    answers = keeper.makefile()
    if not (child := int(answers.readline())):
        os.execv({python!r}, [{python!r}, *sys.argv[1:]])
    for number in {forwarded}:
        signal.signal(number, lambda number, _frame: keeper.sendall(bytes([number])))
    with open(os.path.join({children!r}, str(os.getpid())), "w") as file:
        file.write(str(child))
    for stream in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    code = int(answers.readline())
if -code in {forwarded}:
    signal.signal(-code, signal.SIG_DFL)
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextmanager
def ready_python(folder: Path, code: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """The executable, in this folder, which finds modules in `code` first; its server lives as long.

    The server begins in `environment`: what tests begin in, and not what the first one that asks has made of it.

    What is begun before the server has imported all waits for it.
    """
    children, address, python = folder / "children", str(folder / "server"), folder / "python"
    children.mkdir(parents=True)
    forwarded = [int(number) for number in FORWARDED]
    python.write_text(
        _EXECUTABLE.format(python=sys.executable, address=address, children=str(children), forwarded=forwarded)
    )
    python.chmod(0o755)
    serving = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import ready_python; ready_python.main()"
    path = os.pathsep.join([str(code), *_folders(environment.get("PYTHONPATH", ""))])
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        arguments = [sys.executable, "-c", serving, str(python), str(listening.fileno())]
        with subprocess.Popen(
            arguments, stdin=subprocess.PIPE, env={**environment, "PYTHONPATH": path}, pass_fds=[listening.fileno()]
        ) as server:
            yield python
            server.kill()


def child_of(process: "subprocess.Popen[str]", python: Path) -> int:
    """The process that a command of this executable became; known once it has done anything."""
    return int((python.parent / "children" / str(process.pid)).read_text())


@dataclass(frozen=True)
class Command:
    """What was asked for: Python's arguments, where, with what around it, by which process, on which streams.

    A command that a shell has put into the background may not be interruptible: then Python ignores SIGINT.
    """

    arguments: Sequence[str]
    folder: str
    environment: dict[str, str]
    began: int
    interruptible: bool
    streams: tuple[int, ...]

    @classmethod
    def receive(cls, connection: socket.socket) -> Self:
        """From the executable."""
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        with connection.makefile() as asked:
            return cls(**json.loads(asked.readline()), streams=tuple(streams))

    @property
    def program(self) -> tuple[str, str, Sequence[str]] | None:
        """`-c` or `-m`, what it is to run, and the arguments; `None` for anything else that Python can do."""
        match self.arguments[1:] if self.arguments[:1] == ["-u"] else self.arguments:
            case [("-c" | "-m") as how, what, *rest]:
                return how, what, rest
            case [joined, *rest] if joined[:2] in ("-c", "-m"):
                return joined[:2], joined[2:], rest
        return None

    @property
    def first_on_path(self) -> list[str] | None:
        """The folders in which it looks for modules before those of the server; `None` where these are others."""
        given, ours = (_folders(each.get("PYTHONPATH", "")) for each in (self.environment, AT_START))
        if given[len(given) - len(ours) :] != ours:
            return None
        first = self.folder if self.program and self.program[0] == "-m" else ""
        return [first, *given[: len(given) - len(ours)]]

    @property
    def is_for_a_child(self) -> bool:
        """Whether a fork of this process does what a fresh one would."""
        return (
            self.program is not None
            and all(self.environment.get(name) in (AT_START.get(name), os.environ.get(name)) for name in self._early())
            and (folders := self.first_on_path) is not None
            and not any(_hides_a_module(Path(self.folder, folder)) for folder in folders)
        )

    def _early(self) -> Iterator[str]:
        """Names that are read early, but for the path; what imports set themselves may be there or not."""
        names = self.environment.keys() | AT_START.keys()
        return (name for name in names if name.startswith(READ_EARLY) and name != "PYTHONPATH")

    def become(self, python: str) -> None:
        """Make this process the command's, and run it to its end."""
        import numpy
        import torch

        assert self.program is not None
        (how, what, rest), began = self.program, self.began
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(self.folder)
        by_imports = {name: value for name, value in os.environ.items() if name not in AT_START}
        os.environ.clear()
        os.environ.update(by_imports | self.environment)
        os.getppid = lambda: began
        torch.seed()
        numpy.random.seed()
        signal.signal(signal.SIGINT, signal.default_int_handler if self.interruptible else signal.SIG_IGN)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            vars(sys)[name] = vars(sys)[f"__{name}__"] = self._stream(vars(sys)[name], number)
        sys.executable = python
        sys.argv = [how, *rest]
        sys.path[:1] = self.first_on_path or ()
        importlib.invalidate_caches()
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        code = 0
        try:
            if how == "-m":
                runpy._run_module_as_main(what)  # type: ignore[attr-defined]  # what -m itself calls
            else:
                exec(compile(what, "<string>", "exec"), vars(main))
        except BaseException as error:
            code = _code_of(error)
        _end(code)

    def _stream(self, ours: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
        """As Python opened ours."""
        at_once = self.arguments[0] == "-u" or ours.write_through
        mode, buffering = ("wb", 0 if at_once else -1) if number else ("rb", -1)
        raw = open(number, mode, buffering, closefd=False)  # noqa: SIM115  # open as long as the process
        in_lines = not at_once and (raw.isatty() or number == 2)
        return io.TextIOWrapper(raw, ours.encoding, ours.errors, line_buffering=in_lines, write_through=at_once)


def _code_of(error: BaseException) -> int:
    """What Python makes of an exception that nobody caught, said on standard error."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    seen = error.__traceback__
    while seen is not None and seen.tb_frame.f_code.co_filename == _code_of.__code__.co_filename:
        seen = seen.tb_next
    sys.excepthook(type(error), error.with_traceback(seen), seen)
    return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def _end(code: int) -> NoReturn:
    """As Python ends, without taking apart what every child has of the server: that takes seconds."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are not daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


def _folders(path: str) -> list[str]:
    return list(filter(None, dict.fromkeys(path.split(os.pathsep))))


def _hides_a_module(folder: Path) -> bool:
    """Whether a fresh process would import something from there that is imported from elsewhere."""
    modules = (sys.modules.get(each.name.removesuffix(".py")) for each in folder.iterdir())
    return any(not Path(getattr(each, "__file__", None) or "/").is_relative_to(folder) for each in modules if each)


def main() -> None:
    """Serve until standard input ends; in a child, do what was asked for."""
    python, listening = sys.argv[1:]
    for name in IMPORTED:
        importlib.import_module(name)
    del sys.path[-1]  # of this file
    gc.collect()
    gc.freeze()  # children share it as long as nobody looks through it
    command = _serve(socket.socket(fileno=int(listening)))
    if command is not None:
        command.become(python)


def _serve(listening: socket.socket) -> Command | None:
    """Fork a process that keeps a child, for each command; `None` in the end, and in a child what it is to do."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in (waiting := select.select([listening, sys.stdin], [], [])[0]):
        if waiting:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return _keep(connection)
            connection.close()
    return None


def _keep(connection: socket.socket) -> Command:
    """In a child, what it is to do; its parent hands on signals, and kills it when the executable is gone."""
    command = Command.receive(connection)
    child = os.fork() if command.is_for_a_child else None
    if child == 0:
        connection.close()
        return command
    connection.sendall(b"%d\n" % (child or 0))
    if child is None:
        os._exit(0)
    for stream in command.streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    either: list[int | socket.socket] = [ended, connection]
    while ended not in (waiting := select.select(either, [], [])[0]):
        if waiting:
            for number in connection.recv(64) or [signal.SIGKILL]:
                os.kill(child, number)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        connection.sendall(b"%d\n" % code)
    finally:
        os._exit(0)

"""A forked command does what a fresh process does, and one that could not is a fresh process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ready_python import IMPORTED, child_of

from harness.model import SPINS

SAYING = (
    f"import importlib\nfor name in {IMPORTED}: importlib.import_module(name)"
    + """
import json, os, signal, sys, threading, torch, warnings
print(json.dumps({
    "arguments": sys.argv,
    "name": __name__,
    "folder": os.getcwd(),
    "path": sys.path,
    "environment": dict(os.environ),
    "began": os.getppid(),
    "streams": [[each.encoding, each.errors, each.line_buffering, each.write_through] for each in
                (sys.stdin, sys.stdout, sys.stderr)],
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
    "filters": [str(each) for each in warnings.filters],
    "threads": threading.active_count(),
    "files": sorted(os.listdir("/proc/self/fd"))[:-1],
    "torch": [torch.get_num_threads(), torch.is_grad_enabled(), str(torch.get_default_dtype())],
    "given": sys.stdin.read(),
}))
"""
)
ENDS = {
    "exit": "raise SystemExit(3)",
    "said": "raise SystemExit('why')",
    "raised": "def f():\n    return 1 / 0\nf()",
    "interrupted": "raise KeyboardInterrupt",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "terminated": "import os; os.kill(os.getpid(), 15)",
    "at exit": "import atexit; atexit.register(print, 'bye'); print('so far')",
    "thread": "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()",
    "half a line": "import sys; sys.stdout.write('a'); sys.stderr.write('b')",
}


def run(python: Path | str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """In an environment in which this checkout is found first, as the server's."""
    code = str(Path(__file__).parents[1])
    return subprocess.run(
        [str(python), *arguments], input="given", capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": code} | environment,
    )  # fmt: skip


def test_a_command_finds_what_a_fresh_process_does(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has imported what is imported."""
    monkeypatch.chdir(tmp_path)
    asked = ("-c", SAYING, "-n", "two words")
    forked, fresh = (run(each, *asked, OF_MY_OWN="value") for each in (python, sys.executable))
    assert json.loads(forked.stdout) == json.loads(fresh.stdout)
    assert (forked.stderr, forked.returncode) == (fresh.stderr, fresh.returncode)


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_a_command_ends_as_a_fresh_process_does(code: str, python: Path) -> None:
    forked, fresh = (run(each, "-c", code) for each in (python, sys.executable))
    assert forked.args[1:] == fresh.args[1:]
    assert (forked.returncode, forked.stdout, forked.stderr) == (fresh.returncode, fresh.stdout, fresh.stderr)


@pytest.mark.parametrize("how", [("-m", "json.tool"), ("-mjson.tool",), ("-m", "nothing.there")], ids=" ".join)
def test_modules_are_run(how: tuple[str, ...], python: Path) -> None:
    forked, fresh = (run(each, *how, "--compact") for each in (python, sys.executable))
    assert (forked.returncode, forked.stdout) == (fresh.returncode, fresh.stdout)
    assert forked.stderr.replace(str(python), sys.executable) == fresh.stderr


def test_forks_draw_other_numbers(python: Path) -> None:
    code = "import random, numpy, torch; print(random.random(), numpy.random.random(), torch.rand(1).item())"
    drawn = [run(python, "-c", code).stdout.split() for _ in range(2)]
    assert not set(drawn[0]) & set(drawn[1])


IS_FORKED = ("-c", "import sys; print('torch' in sys.modules)")


def test_what_a_fork_cannot_do_a_fresh_process_does(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(python, *IS_FORKED).stdout == "True\n"
    assert run(python, *IS_FORKED, PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[1]}").stdout == "True\n"
    assert run(python, *IS_FORKED, GOMP_SPINCOUNT=SPINS).stdout == "True\n", "imports set it"
    assert run(python, "-O", *IS_FORKED).stdout == "False\n"
    for name in ("PYTHONOPTIMIZE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HOME"):
        assert run(python, *IS_FORKED, **{name: "7"}).stdout == "False\n"
    assert run(python, *IS_FORKED, PYTHONPATH=str(tmp_path)).stdout == "False\n"
    (tmp_path / "torch.py").touch()
    assert run(python, *IS_FORKED, PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[1]}").stdout == "False\n"
    monkeypatch.chdir(tmp_path)
    assert run(python, *IS_FORKED).stdout == "False\n"


@pytest.mark.parametrize("how", ["its own", "the command's"])
def test_killing_either_ends_both(how: str, python: Path) -> None:
    command = [str(python), "-c", "import time; print('began', flush=True); time.sleep(600)"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "began\n"
            child = child_of(process, python)
            assert child != process.pid
            os.kill(child if how == "its own" else process.pid, signal.SIGKILL)
            assert process.stdout.read() == "", "the child has closed it"
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL

"""A user's project with a study in it, the ways to run pytest there, and what such a run may print and leave."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.heads import ModelShape

TASKS = ("ceo_lastname", "incorporation_year")
SHAPE = ModelShape(3, 4)
N_ROWS = 6
UNSOUND = "layer 2: the hook never fired; expected one call; report this model's architecture"
"""What the fixture `unsound` makes a run end with."""
REPOSITORY = Path(__file__).parents[2]
WITHIN = [f"within_task[{task}-k0{k}]" for task in reversed(TASKS) for k in (1, 2)]
"""The within-task conditions, in the order of the rows' tasks."""

INI = {
    "ablation_model": "tiny",
    "ablation_data": "rows.csv",
    "ablation_heads": "heads.json",
    "ablation_k": "1,2",
    "ablation_max_new_tokens": "3",
    "filterwarnings": "error",
}
PLUGINS = ("-p", "harness.plugin", "-p", "no:cacheprovider")
IMPORTED_BEFORE = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")
"""A package of an installed plugin is to be imported after pytest; in a run within a run, or a fork, it was before."""

SMALL_DEMO = f"""
    from dataclasses import replace
    from pathlib import Path
    import harness.demo.filings
    import harness.study.memory
    import harness.study.inputs

    here, rows = Path(__file__).parent, harness.demo.filings.demo_rows(3, n_sentences=2)
    evaluated = tuple(replace(row, split="evaluation") for row in rows if row.task in {TASKS})
    harness.demo.filings.demo_rows = lambda **_: evaluated
    harness.study.memory.MODEL_FOLDER = here / "tiny"
    harness.study.inputs.RANKING_FILE = here / "heads.json"
"""
"""The project's own files are the demo's: a study of which no setting tells."""

OURS = {"tiny", "rows.csv", "heads.json", "evals", "tox.ini", "conftest.py"}
Report = dict[str, Any]


@dataclass(frozen=True)
class Project:
    """A folder with a checkpoint, rows, a ranking, a copy of the evals, and an ini file that names them."""

    pytester: pytest.Pytester
    ready_python: Callable[[], Path]
    """The executable whose processes have imported everything: see `tests/ready_python.py`."""

    @property
    def path(self) -> Path:
        return self.pytester.path

    def configure(self, **ini: str) -> None:
        """The usual ini file, with these entries beside or in place of its own."""
        self.only_ini(**(INI | ini))

    def only_ini(self, **ini: str) -> None:
        self.pytester.makeini("[pytest]\n" + "".join(f"{name} = {value}\n" for name, value in ini.items()))

    def run(self, *arguments: str) -> pytest.RunResult:
        """pytest in this process; Ctrl-C and SIGTERM end that run alone."""
        with self._processes_begin_at_once(if_any="-n" in arguments):
            return self.pytester.runpytest_inprocess(*PLUGINS, *IMPORTED_BEFORE, *arguments, no_reraise_ctrlc=True)

    def run_alone(self, *arguments: str) -> pytest.RunResult:
        """pytest in a process of its own."""
        with self._processes_begin_at_once():
            return self.pytester.runpytest_subprocess(*PLUGINS, *IMPORTED_BEFORE, *arguments)

    @contextmanager
    def _processes_begin_at_once(self, *, if_any: bool = True) -> Iterator[None]:
        """A fork is asked for only where it will be used: a test that needs none does not wait for its server."""
        with pytest.MonkeyPatch.context() as patch:
            if if_any:
                patch.setattr(sys, "executable", str(self.ready_python()))
            yield

    def start(
        self, *arguments: str, output: int = subprocess.PIPE, python: Path | None = None
    ) -> "subprocess.Popen[str]":
        """pytest in a process of its own, which is not waited for; `output` may be a terminal."""
        command = [str(python or self.ready_python()), "-m", "pytest", *PLUGINS, *IMPORTED_BEFORE, *arguments]
        return subprocess.Popen(
            command,
            cwd=self.path,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            preexec_fn=_hear_interrupts,  # noqa: PLW1509  # nothing else runs in these tests
        )

    def ids(self, *arguments: str) -> list[str]:
        """What a collection selects."""
        result = self.run(*arguments, "--collect-only", "-q")
        return [line for line in result.outlines if "::" in line]

    def report(self, name: str = "latest") -> Report:
        report: Report = json.loads((self.path / "reports" / name / "report.json").read_text(encoding="utf-8"))
        return report

    def samples(self, name: str = "latest") -> list[Report]:
        lines = (self.path / "reports" / name / "samples.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def own_model(self) -> Path:
        """A copy of the checkpoint, to be spoilt, in the place of the link to it."""
        copy = shutil.copytree(self.path / "tiny", self.path / "copy")
        (self.path / "tiny").unlink()
        return copy.rename(self.path / "tiny")

    def cut_weights(self) -> None:
        """A download that broke off: only loading the model finds out."""
        file = self.own_model() / "model.safetensors"
        file.write_bytes(file.read_bytes()[:5000])

    def left(self) -> list[str]:
        """Files and folders that were not there before."""
        paths = (path.relative_to(self.path) for path in self.path.rglob("*"))
        return sorted(str(path) for path in paths if path.parts[0] not in OURS)


def _hear_interrupts() -> None:
    """Whoever runs these tests, as an xdist worker, may have been started deaf to Ctrl-C, which children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def names(report: Report) -> list[str]:
    return [condition["name"] for condition in report["conditions"]]


def lasting(report: Report) -> Report:
    """All of a report that another run of the same study must say too."""
    return {key: value for key, value in report.items() if key != "run"}


def usage_error(result: pytest.RunResult) -> str:
    """The one line that a session which could not start says."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: ")
    assert "Traceback" not in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()
    return line.removeprefix("ERROR: ")

"""The whole command: a study as a user types it, from the process' start to its end, beside the same by a plain loop.

`pytest` runs in a process of its own with a fresh store. Where its time goes is told by what it reports of its rows:
what comes before the first (imports, the model), the rows, and what comes after the last (verdicts, report, figures,
page). The plain loop shares nothing and takes no log-probabilities; it is run on some of the study's rows, evenly
spread, after one that warms up, and its time is scaled by completions. It is given the same start and end.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from harness.errors import ReportError
from harness.experiment.store import IN_MEMORY, Store
from harness.study.benchmark import Request, conditions_of, group_of, setting_of
from harness.study.inputs import read_inputs
from harness.study.run import Run

FAILED = 1
"""pytest's exit code where a test failed, as a gate's may."""


@dataclass(frozen=True, slots=True)
class WholeResult:
    """Seconds of a whole command, before its first row, of its rows, and after the last; and of a loop on its rows.

    Of `n_completions` of the study's `n_rows` rows, `loop_completions` were made by the loop of this name.
    """

    command: str
    seconds: float
    before: float
    rows: float
    after: float
    n_rows: int
    n_conditions: int
    n_completions: int
    loop: str
    loop_rows: int
    loop_completions: int
    loop_seconds: float

    @property
    def loop_rows_seconds(self) -> float:
        """What the loop would take for all rows, by completions."""
        return self.loop_seconds * self.n_completions / self.loop_completions

    @property
    def ratio(self) -> float:
        """The study by the loop, with the same start and end, over the whole command."""
        return (self.before + self.loop_rows_seconds + self.after) / self.seconds

    def as_json(self) -> dict[str, object]:
        """All fields and what follows from them."""
        return asdict(self) | {"loop_rows_seconds": self.loop_rows_seconds, "ratio": self.ratio}


def measure_whole(request: Request, folder: Path, options: Sequence[str]) -> tuple[Mapping[str, object], WholeResult]:
    """Run the tests in `folder` that the experiments' names select, with these options; then the loop on some rows.

    Raises:
        ReportError: the command ended in an error, or without rows of its own.
        HarnessError: what the plain loop works on cannot be used.
    """
    words = " or ".join(request.experiments)
    with tempfile.TemporaryDirectory() as place:
        asked = [str(folder), "-k", words, *options]
        began, seconds = time.time(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *asked, "-q", "--ablation-reports", place],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - seconds
        run = _run_of(Path(place), done)
    first, last = (datetime.fromisoformat(each).timestamp() for each in run)
    before, rows = first - began, last - first
    study = _loop(request)
    return study.setting, WholeResult(
        command=f"pytest {folder} -k '{words}'",
        seconds=seconds,
        before=before,
        rows=rows,
        after=seconds - before - rows,
        n_rows=study.n_rows,
        n_conditions=study.n_conditions,
        n_completions=study.n_completions,
        loop=request.baseline,
        loop_rows=min(request.n_rows, study.n_rows),
        loop_completions=study.sampled,
        loop_seconds=study.seconds,
    )


def _run_of(place: Path, done: "subprocess.CompletedProcess[str]") -> tuple[str, str]:
    """When the command's first row was begun and its last one done."""
    from harness.findings.report.reading import load

    file = place / "latest" / "report.json"
    if done.returncode not in (0, FAILED) or not file.is_file():
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
        raise ReportError(f"--whole: pytest ended with {done.returncode}: {lines[-1]}; expected a report; run it alone")
    run = load(file).data.run
    if run.rows_from is None or run.rows_to is None:
        raise ReportError(f"--whole: {run.name}: no row was asked; expected a study with rows; name its experiments")
    return run.rows_from, run.rows_to


@dataclass(frozen=True, slots=True)
class _Loop:
    """The plain loop on some rows, and the study that they are of."""

    setting: Mapping[str, object]
    n_rows: int
    n_conditions: int
    n_completions: int
    sampled: int
    seconds: float


def _loop(request: Request) -> _Loop:
    from harness.model.loading.device_speed import finish
    from harness.model.performance.bench import BASELINES

    way, most = BASELINES[request.baseline], request.settings.max_new_tokens
    with Store(IN_MEMORY) as store:
        inputs = read_inputs(request.settings)
        run = Run(inputs, store, run_id="bench")
        plan = run.plan(conditions_of(request.experiments, inputs.study()))
        n_sampled = min(request.n_rows, len(plan.work))
        places = [number * len(plan.work) // n_sampled for number in range(n_sampled)]
        warm, *works = (group_of(run, [plan.work[place]]) for place in [-1, *places])
    loaded = inputs.model.load()
    way(loaded, warm, most)
    finish(loaded.device)
    began = time.perf_counter()
    for group in works:
        way(loaded, group, most)
    finish(loaded.device)
    return _Loop(
        setting=setting_of(request, loaded, works, warm),
        n_rows=len(plan.work),
        n_conditions=max(len(work.jobs) for work in plan.work),
        n_completions=plan.distinct,
        sampled=sum(len(work.head_sets) for group in works for work in group),
        seconds=time.perf_counter() - began,
    )

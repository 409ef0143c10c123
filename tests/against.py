"""Whole commands in two trees of this project, taking turns, and every completion of both against the other's.

    python -m tests.against --other TREE --json FILE -- evals -k "within_task or random_control"

`TREE` is a checkout of another version, down to 0.1.0; this tree is the one that the command is run in. Without another
one this tree alone is measured. What stands after `--` is given to `pytest` in each tree, with a fresh store each time;
files in it are named by absolute paths. Tests are collected first, without the clock, so that libraries are read from
the disk by nobody's turn.

Two ways to run one tree are compared where it is its own other tree, and each side is given options of its own:

    python -m tests.against --other . --this-options=--ablation-ray=auto --other-options="-n 2" --json FILE -- evals

Completions are read from the last store of each tree and paired by row, prompt and heads. Kernels that round
differently may choose the other of two tokens that are as good as equal: a difference counts as a tie where the best
two logits came that near on either side (`tie_of`). The gaps of those that differ are written down, and how many of all
completions came how near, and differ (`by_gap`): where rounding alone is at work, those that differ came nearest. What
one tree computes and the other does not is counted, not compared.

Where others want the same cores, seconds say little: `cpu_seconds` are those in which a command computed.

Knows nothing of what the completions say.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from harness.experiment.plan import Job
from harness.experiment.record import Record, read_record, upgraded
from harness.files import write_text

ROOT = Path(__file__).parents[1]
DONE = (0, 1)
"""What pytest ends with where tests passed, or a gate's failed."""
QUIET = ("-W", "ignore::DeprecationWarning")
"""0.1.0 asks SQLite in a way that Python 3.12 deprecates."""
PRECISION = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""From 1 to the next number: no number lies farther from the next than so much of itself."""
SUMMED = 84
"""Times the precision of a dtype that sums are added in: in float32 that is the benchmark's 1e-5."""
BEST = 8
"""The best logit in standard deviations, about: on the demo's rows in float32 the median is 7.8, the most 13.3."""
BINS = (0.0, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Gaps up to which completions are counted, in ties."""
N_SHOWN = 200
"""Differences that are written down, those of the largest gaps first."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole command: when it came where, and what its store holds.

    `before`, `rows` and `after` are the seconds to the first row, of the rows, and from the last one to the end; `None`
    where the tree's report does not say. `stored` are the seconds, and those of computing, of the same command once
    more, with all its records stored; `None` where it was not run. `n_layers` are the model's, as the report says.
    """

    seconds: float
    cpu_seconds: float
    before: float | None
    rows: float | None
    after: float | None
    records: Mapping[Job, Record]
    stored: tuple[float, float] | None = None
    n_layers: int | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A completion that the two trees do not agree in.

    `at` is the first token that differs, `tokens` what each says there, `None` past its end; `gap` the least distance
    of the best two logits at any step of either.
    """

    row: str
    prompt: str
    heads: tuple[str, ...]
    at: int
    tokens: tuple[int | None, int | None]
    texts: tuple[str, str]
    gap: float


def main() -> None:
    """Run, print and write."""
    asked = _arguments()
    trees = {"this": ROOT} if asked.other is None else {"this": ROOT, "other": asked.other.resolve()}
    commands = {
        "this": [*asked.pytest, *shlex.split(asked.this_options)],
        "other": [*asked.pytest, *shlex.split(asked.other_options)],
    }
    for name, tree in trees.items():
        run_whole(tree, [*commands[name], "--collect-only"])
    turns: dict[str, list[Whole]] = {name: [] for name in trees}
    for name in asked.turns.split(",") if asked.turns else trees:
        turns[name].append(run_whole(trees[name], commands[name], again=asked.again))
        print(f"{name}: {turns[name][-1].seconds:.1f} s", flush=True)
    typed = ["pytest", *(Path(word).name if Path(word).is_absolute() else word for word in asked.pytest)]
    found = {
        "command": shlex.join(typed),
        "options": {"this": asked.this_options, "other": asked.other_options},
        "trees": dict(zip(trees, asked.names, strict=False)) or {name: commit_of(tree) for name, tree in trees.items()},
        "machine": machine(),
        **against(turns, tie=tie_of(asked.dtype, turns["this"][-1].n_layers)),
    }
    write_text(asked.json, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--other", type=Path, help="a checkout of another version")
    parser.add_argument("--turns", help="whose command is run when, as this,other,this; by default each tree's once")
    for name in ("this", "other"):
        parser.add_argument(f"--{name}-options", default="", help="what is typed in that tree alone", metavar="OPTIONS")
    parser.add_argument("--again", action="store_true", help="each command once more, with all its records stored")
    parser.add_argument("--names", nargs="+", default=(), help="of trees that are no checkouts, this one first")
    parser.add_argument("--dtype", choices=sorted(PRECISION), default="float32", help="that logits are rounded in")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("pytest", nargs="+", help="pytest's arguments, after --")
    return parser.parse_args()


def run_whole(tree: Path, arguments: Sequence[str], *, again: bool = False) -> Whole:
    """One command in a tree, as a user types it; `again`: and once more over its store.

    Raises RuntimeError, with the end of what it said, where it fails.
    """
    with tempfile.TemporaryDirectory() as place:
        asked = [*arguments, "--ablation-reports", place]
        began = time.time()
        seconds, cpu = _run(tree, asked)
        report, store = Path(place) / "latest" / "report.json", Path(place) / "store.sqlite"
        told = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {"run": {}}
        records = read_records(store) if store.is_file() else {}
        stored = _run(tree, asked) if again else None
    run, n_layers = told["run"], told.get("model", {}).get("n_layers")
    times = [datetime.fromisoformat(run[name]).timestamp() for name in ("rows_from", "rows_to") if run.get(name)]
    if len(times) < 2:
        return Whole(seconds, cpu, None, None, None, records, stored, n_layers)
    first, last = times
    return Whole(seconds, cpu, first - began, last - first, seconds - (last - began), records, stored, n_layers)


def _run(tree: Path, arguments: Sequence[str]) -> tuple[float, float]:
    """The seconds of a command, and those in which it computed."""
    paths = [str(tree), *filter(None, [os.environ.get("PYTHONPATH")])]
    began, computed = time.perf_counter(), _cpu_seconds()
    done = subprocess.run(
        [sys.executable, *QUIET, "-m", "pytest", *arguments, *QUIET, "-q"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in DONE:
        raise RuntimeError(f"{tree}: pytest ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    return time.perf_counter() - began, _cpu_seconds() - computed


def _cpu_seconds() -> float:
    """Of all commands that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def read_records(store: Path) -> dict[Job, Record]:
    """What a store of any version holds, without regard to keys, which every version of an engine has of its own."""
    with contextlib.closing(sqlite3.connect(store)) as database:
        texts = [text for (text,) in database.execute("SELECT record FROM records")]
    records = [_record(text) for text in texts]
    return {record.job: record for record in records}


def _record(text: str) -> Record:
    try:
        return read_record(text)
    except ValueError:
        return read_record(upgraded(text))  # of 0.1.0


def tie_of(dtype: str, n_layers: int | None) -> float:
    """The gap of the best two logits, in standard deviations of all, up to which rounding may choose between them.

    Sums are added in float32 at least, and what comes of them is rounded to the dtype. In float32 and float64 it is the
    sums that differ, by how they are added up: `SUMMED` times the precision p. In 16 bits it is what is written: a
    number is off by up to half its distance to the next, at most p of itself, so by p / sqrt(12) in the root mean
    square (a uniform error). A layer writes the residual stream twice; the errors are independent, so the last state is
    off by e = p sqrt(2 n_layers / 12) of its length, and every logit, which is the state along a direction of its own,
    by e standard deviations. The best two are themselves written: off by BEST p / sqrt(12). The gap of two logits in
    one tree and that in another differ by four such errors: by d = 2 sqrt(e^2 + (BEST p)^2 / 12) in the root mean
    square, and by 3 d hardly ever. Of 8 layers in bfloat16 that is 0.12, of 80 it is 0.20; one bfloat16's distance to
    the next is there 0.05.

    Raises:
        ValueError: the number of layers is needed, and no report said it.
    """
    precision = PRECISION[dtype]
    if dtype in ("float32", "float64"):
        return SUMMED * precision
    if n_layers is None:
        raise ValueError(f"{dtype}: no report says how many layers the model has; expected one; run a study with rows")
    return 6 * precision * math.sqrt(n_layers / 6 + BEST**2 / 12)


def against(turns: Mapping[str, Sequence[Whole]], *, tie: float) -> dict[str, Any]:
    """Seconds of each tree's commands; of two how many times as fast this one is, and how their completions differ."""
    seconds = {name: _seconds(commands) for name, commands in turns.items()}
    if "other" not in turns:
        return {"seconds": seconds, "completions": len(turns["this"][-1].records)}
    return {
        "seconds": seconds,
        "ratio": seconds["other"]["seconds"] / seconds["this"]["seconds"],
        "completions": compared(turns["this"][-1].records, turns["other"][-1].records, tie=tie),
    }


def _seconds(turns: Sequence[Whole]) -> dict[str, Any]:
    """The median of these commands, and of their parts; `all` are those of every command, in order."""

    def middle(part: Callable[[Whole], float | None]) -> float | None:
        known = [seconds for each in turns if (seconds := part(each)) is not None]
        return median(known) if known else None

    return {
        "seconds": middle(lambda each: each.seconds),
        "cpu_seconds": middle(lambda each: each.cpu_seconds),
        "before_first_row": middle(lambda each: each.before),
        "rows": middle(lambda each: each.rows),
        "after_last_row": middle(lambda each: each.after),
        "stored": middle(lambda each: each.stored and each.stored[0]),
        "stored_cpu_seconds": middle(lambda each: each.stored and each.stored[1]),
        "all": [each.seconds for each in turns],
    }


def compared(these: Mapping[Job, Record], others: Mapping[Job, Record], *, tie: float) -> dict[str, Any]:
    """How many completions both hold, and how many of them differ, in tokens and in text; ties among them."""
    both = [(these[job], others[job]) for job in these if job in others]
    found = sorted(_differences(both), key=lambda each: -each.gap)
    return {
        "both": len(both),
        "this_alone": len(these) - len(both),
        "other_alone": len(others) - len(both),
        "different": len(found),
        "different_texts": sum(each.texts[0] != each.texts[1] for each in found),
        "ties": sum(each.gap <= tie for each in found),
        "tie": tie,
        "by_gap": _by_gap(both, tie),
        "least_gap_of_equal": min((_gap(pair) for pair in both if _ids(pair[0]) == _ids(pair[1])), default=None),
        "differences": [asdict(each) for each in found[:N_SHOWN]],
    }


def _by_gap(pairs: Sequence[tuple[Record, Record]], tie: float) -> list[dict[str, float | int | None]]:
    """How many completions came so near to a tie, on the nearer side, and how many of these differ; the rest last."""
    gaps = [(_gap(pair), _ids(pair[0]) != _ids(pair[1])) for pair in pairs]
    edges, found, before = [*(each * tie for each in BINS), None], list[dict[str, float | int | None]](), -math.inf
    for edge in edges:
        up_to = math.inf if edge is None else edge
        here = [differs for gap, differs in gaps if before < gap <= up_to]
        found.append({"up_to": edge, "both": len(here), "different": sum(here)})
        before = up_to
    return found


def _differences(pairs: Sequence[tuple[Record, Record]]) -> Iterator[Difference]:
    for pair in pairs:
        this, other = (_ids(record) for record in pair)
        if this == other:
            continue
        at = next((i for i, (a, b) in enumerate(zip(this, other, strict=False)) if a != b), min(len(this), len(other)))
        job = pair[0].job
        yield Difference(
            row=job.row_id,
            prompt=job.prompt,
            heads=tuple(map(str, sorted(job.heads))),
            at=at,
            tokens=(this[at] if at < len(this) else None, other[at] if at < len(other) else None),
            texts=(pair[0].text, pair[1].text),
            gap=_gap(pair),
        )


def _ids(record: Record) -> tuple[int, ...]:
    return record.completion.all_ids


def _gap(pair: tuple[Record, Record]) -> float:
    return min(record.completion.smallest_gap for record in pair)


def commit_of(tree: Path) -> str | None:
    """The commit of a checkout, with a `+` where files were changed since; `None` where it is none."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(tree), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def machine() -> dict[str, Any]:
    """What the commands ran on; cards as their driver names them, those alone that a command sees."""
    cards: list[str] = []
    if os.environ.get("CUDA_VISIBLE_DEVICES") != "" and (asks := shutil.which("nvidia-smi")):
        query = [asks, "--query-gpu=name", "--format=csv,noheader"]
        told = subprocess.run(query, capture_output=True, text=True, check=False)
        cards = told.stdout.split("\n")[:-1] if told.returncode == 0 else []
    return {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "cards": cards,
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()

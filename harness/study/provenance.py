"""What stands behind a report, and its session's header: when and how it ran, with which programs, model and data.

Knows nothing of what came of it, nor of pytest.
"""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness import __version__
from harness.experiment.conditions import Condition
from harness.experiment.heads import Blueprint
from harness.experiment.record import Record
from harness.findings.report.report_data import (
    DataInfo,
    ExcludedRow,
    Exit,
    ModelSection,
    PartInfo,
    RunInfo,
)
from harness.findings.report.report_writing import Setup
from harness.retrieval.placement import recurring_rows
from harness.retrieval.scoring import SCORER_VERSION
from harness.settings import DEMO, Settings, Shown
from harness.study.inputs import Inputs
from harness.study.run import Run

PROGRAMS = ("torch", "transformers", "pytest")
"""Programs whose versions a report names beside Python's and the harness's own."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a session began: by which command, and when, on the calendar and on the clock."""

    command: str | None = None
    started: str = field(default_factory=lambda: _calendar("seconds"))
    clock: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long ago that was."""
        return round(time.monotonic() - self.clock, 3)


@dataclass(slots=True)
class RowTimes:
    """When a session's rows were asked, to the millisecond; nothing where none was."""

    began: str | None = None
    ended: str | None = None

    def note(self, seconds: float) -> None:
        """A row was done now, and the first begun so many seconds ago."""
        self.began = self.began or _calendar("milliseconds", seconds)
        self.ended = _calendar("milliseconds")


def _calendar(precision: str, seconds_ago: float = 0.0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat(timespec=precision)


def setup_of(  # of which run, on which part of its rows, since when, how it ended, in which project
    run: Run, records: Iterable[Record], part: PartInfo | None, *, since: Beginning, how: Exit, root: Path
) -> Setup:
    """What was asked of which model, on which data, with which programs; `root` is the folder of the project."""
    inputs, settings, records = run.inputs, run.inputs.settings, tuple(records)
    return Setup(
        run=RunInfo(
            name=settings.run,
            started=since.started,
            seconds=since.seconds,
            exit=how,
            commit=commit_of(root),
            out_of_memory=sum(record.completion.halvings > 0 for record in records),
            command=since.command,
            part=part,
        ),
        configuration=_configuration(run, root),
        versions=program_versions() | {"scorer": str(SCORER_VERSION)},
        model=_model_info(run, records),
        ranking=inputs.ranking,
        data=_data_info(inputs),
    )


def part_of(run: Run, conditions: Sequence[Condition]) -> PartInfo | None:
    """Which part of its study a run does; `None` for all of it."""
    if run.inputs.settings.part is None:
        return None
    number, parts = run.inputs.settings.part
    rows, left = run.part_of_rows(conditions) or frozenset(), run.plan(conditions).work
    return PartInfo(number=number, of=parts, rows=len(rows), left=len(left))


def header_lines(settings: Settings, blueprint: Blueprint, *, root: Path, report_name: str) -> Iterator[str]:
    """What is asked of what, in two lines; more where the model cannot do what is usual."""
    shown, tasks = settings.shown(root), "all tasks" if settings.tasks is None else ", ".join(settings.tasks)
    yield (
        f"ablation: model {_model_words(shown)}, rows {shown['data'] or DEMO} ({tasks}), "
        f"heads {shown['heads'] or DEMO}, k {', '.join(map(str, settings.k))}"
    )
    yield (
        f"ablation: mode {settings.mode}, phase {settings.phase}, engine {settings.engine}, "
        f"seed {settings.seed}, report {report_name}"
    )
    if blueprint.device_type == "cuda" and (settings.device_map == "auto" or (settings.gpus or 1) > 1):
        yield (
            f"ablation: over {settings.gpus or 'all'} GPUs where none holds the model alone, as much work for each as "
            "memory allows: which layers lie where is said as rows begin, at the end, and in the report"
        )
    elif settings.gpus is not None and not settings.cluster and blueprint.device_type != "cuda":
        yield f"ablation: gpus {settings.gpus}: of no use here, for the model is on the CPU"
    if settings.part is not None:
        number, parts = settings.part
        yield f"ablation: part {number} of {parts}: nothing is judged before the stores of all parts are merged"
    if blueprint.quantized_file is not None:
        yield f"ablation: quantised weights ({blueprint.quantized_file}), read as full {blueprint.dtype}"
    if blueprint.one_by_one is not None and settings.engine == "shared":
        yield f"ablation: each condition is computed alone: {blueprint.one_by_one}"
    if blueprint.attention == "eager":
        yield "ablation: eager attention: long prompts take more memory and time than with sdpa"


def _model_words(shown: Mapping[str, Shown]) -> str:
    """The model, and what was asked of it beside the usual."""
    numbers = " and ".join(str(shown[name]) for name in ("quantization", "dtype") if shown[name] is not None)
    asked = {"at": shown["revision"], "with": shown["adapter"], "in": numbers or None, "on": shown["device_map"]}
    return " ".join([str(shown["model"]), *(f"{word} {what}" for word, what in asked.items() if what is not None)])


def program_versions() -> dict[str, str | None]:
    """Versions of Python, of the harness, and of `PROGRAMS`; `None` for what is not installed."""
    found: dict[str, str | None] = {"python": sys.version.split()[0], "harness": __version__}
    for name in PROGRAMS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def commit_of(root: Path) -> str | None:
    """The commit that the repository of this folder stands at; `None` where there is none."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _configuration(run: Run, root: Path) -> dict[str, Shown]:
    """The settings, and of mean values the hash: the settings alone do not tell which numbers they were."""
    configuration, means = run.inputs.settings.shown(root), run.interventions.means
    return configuration if means is None else configuration | {"mean_sha256": means.sha256}


def _data_info(inputs: Inputs) -> DataInfo:
    return DataInfo(
        source=inputs.source,
        split_seed=inputs.split_seed,
        excluded=tuple(ExcludedRow(row=each.row_id, reason=each.reason) for each in inputs.excluded),
        ranking_overlap=inputs.ranking_overlap,
        known_by=inputs.known_by,
        cut=inputs.n_cut,
        value_recurs=recurring_rows(inputs.rows, inputs.tasks),
    )


def _model_info(run: Run, records: Iterable[Record]) -> ModelSection:
    shape, key, asked = run.inputs.shape, run.inputs.run_key, run.inputs.settings.model
    kept = run.inputs.blueprint.quantized_file
    return ModelSection(
        id=DEMO if asked == DEMO else shape.id or asked,
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        head_dim=shape.head_dim,
        revision=shape.revision,
        fingerprint=key.fingerprint,
        dtype=key.dtype,
        attention=key.attention,
        device=key.device_type,
        cards=tuple(sorted({record.device for record in records if record.device is not None})),
        quantization=key.quantization if kept is None else f"{kept}, read as full weights",
        adapter=key.adapter,
    )

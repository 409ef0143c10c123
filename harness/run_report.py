"""The report of a run: its records scored, and what was asked of which model, on which data, with which programs.

Puts together what `harness.findings.report.report_writing` writes. Knows nothing of pytest.
"""

import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness import __version__
from harness.experiment.conditions import Condition
from harness.findings.report.report_data import Exit, ReportData
from harness.findings.report.report_writing import DataInfo, ModelInfo, RunInfo, Setup, build_report
from harness.findings.samples import DONOR_VALUE, OwnScore, Sample, score_samples
from harness.gating import judge_gates
from harness.inputs import Inputs, donor_row
from harness.retrieval.rows import Row
from harness.retrieval.scoring import SCORER_VERSION, matches_published, matches_value
from harness.run import Run
from harness.settings import DEMO, Shown

PROGRAMS = ("torch", "transformers", "pytest")
"""Programs whose versions a report names beside Python's and the harness's own."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """When a session began, on the calendar and on the clock."""

    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    clock: float = field(default_factory=time.monotonic)


def run_report(  # what is reported, of which run, how scored, since when, and how it ended
    run: Run, conditions: Sequence[Condition], own_score: OwnScore, *, since: Beginning, how: Exit, root: Path
) -> tuple[ReportData, Sequence[Sample]]:
    """The report on what the store holds of these conditions, and its samples; `root` is the folder of the project.

    Raises:
        HarnessError: the store cannot be read, or two different conditions share a name.
    """
    inputs, settings = run.inputs, run.inputs.settings

    def score(row: Row, completion: str) -> tuple[bool, bool]:
        value = matches_value(completion, row.needle_value, inputs.tasks[row.task].compare)
        published = matches_published(completion, row.needle_value)
        return (published if settings.scorer == "published" else value), published

    own = _with_donors(own_score, inputs) if settings.mode == "resample" else own_score
    records = run.records(conditions)
    samples = score_samples(conditions, inputs.rows, records, score, own, manner=inputs.manner)
    judged = judge_gates(run, conditions, records, samples)
    setup = Setup(
        run=RunInfo(
            name=settings.run,
            started=since.started,
            seconds=round(time.monotonic() - since.clock, 3),
            exit=how,
            commit=_commit(root),
            out_of_memory=sum(record.halvings > 0 for record in records.values()),
            command=shlex.join(["pytest", *sys.argv[1:]]),
        ),
        configuration=_configuration(run, root),
        versions=program_versions() | {"scorer": str(SCORER_VERSION)},
        model=_model_info(run),
        ranking=inputs.ranking,
        data=DataInfo(inputs.source, inputs.split_seed, inputs.excluded, inputs.ranking_overlap, inputs.n_cut),
    )
    return build_report(setup, conditions, inputs.rows, samples, judged), samples


def _with_donors(own_score: OwnScore, inputs: Inputs) -> OwnScore:
    """The user's metrics, and whether a completion matches the donor's value by the rule `value`.

    A head that hands over the answer makes the model say the donor's; damage alone does not.
    """
    donors: dict[str, Row] = {}

    def score(row: Row, completion: str) -> Mapping[str, float]:
        if row.id not in donors:
            donors[row.id] = donor_row(inputs, row)
        donor = donors[row.id]
        said = matches_value(completion, donor.needle_value, inputs.tasks[row.task].compare)
        return {**own_score(row, completion), DONOR_VALUE: float(said)}

    return score


def _configuration(run: Run, root: Path) -> dict[str, Shown]:
    """The settings, and of mean values the hash: the settings alone do not tell which numbers they were."""
    configuration, means = run.inputs.settings.shown(root), run.interventions.means
    return configuration if means is None else configuration | {"mean_sha256": means.sha256}


def _model_info(run: Run) -> ModelInfo:
    shape, key, asked = run.inputs.shape, run.run_key, run.inputs.settings.model
    return ModelInfo(
        id=DEMO if asked == DEMO else shape.id or asked,
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        head_dim=shape.head_dim,
        revision=shape.revision,
        fingerprint=key.fingerprint,
        dtype=key.dtype,
        attention=key.attention,
        device=key.device_type,
        quantization=key.quantization,
        adapter=key.adapter,
    )


def _commit(root: Path) -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def program_versions() -> dict[str, str | None]:
    """Versions of Python, of the harness, and of `PROGRAMS`; `None` for what is not installed."""
    found: dict[str, str | None] = {"python": sys.version.split()[0], "harness": __version__}
    for name in PROGRAMS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found

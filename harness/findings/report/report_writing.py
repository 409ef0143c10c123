"""Writing the report: from conditions, rows and samples to `report.json` with `samples.jsonl` beside it.

A report can be built at any moment, also after a failure or an interrupt: conditions whose rows lack records
are named in `run.missing`, and their figures rest on the rows that were answered. What is lost where it takes the place
of another session's (two that share a run name, or parts of one study) is said. What stands where says
`report_data`. Knows nothing of models, of pytest or of figures; `harness.findings.report.reading` reads what is written
here.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ReportError, counted
from harness.experiment.conditions import BASELINE, Condition, distinct
from harness.experiment.heads import Head, ModelShape
from harness.experiment.json_nodes import Node, read_json
from harness.experiment.plan import covers
from harness.experiment.rankings import HeadRanking, ScoredHead
from harness.experiment.stability import ListStability, Stability
from harness.files import replacing, try_folder
from harness.findings.damage import DamageShare
from harness.findings.rankings.ranking_summary import ranking_notes
from harness.findings.report.condition_results import ConditionSamples, condition_result
from harness.findings.report.report_data import (
    KIND,
    SCHEMA_VERSION,
    ConditionResult,
    DataInfo,
    DataSection,
    ModelSection,
    NamedAgain,
    RankingSection,
    RankingStability,
    ReportData,
    RunInfo,
    RunSection,
    SamplesFile,
    Setting,
    TaskRows,
)
from harness.findings.report.report_files import REPORT_FILE, SAMPLES_FILE
from harness.findings.samples import Sample
from harness.findings.verdicts.contrasts import contrasts, specificity
from harness.findings.verdicts.gate_samples import Answers
from harness.findings.verdicts.verdict_data import Claim, Contrast, GateResult, Specificity
from harness.retrieval.rows import Row
from harness.retrieval.scoring import normalise

# A list of plain numbers over several lines. No text is touched: within JSON's strings there are no newlines.
_NUMBERS = re.compile(r'\[\n[^\[\]{}"]*\]')


@dataclass(frozen=True)
class Setup:
    """What was run, on what: all of a report that is not a result.

    `configuration` are the resolved settings, `versions` the programs' by name. `model` and `ranking` are
    `None` where a run ended before they were known.
    """

    run: RunInfo
    configuration: Mapping[str, Setting]
    versions: Mapping[str, str | None]
    model: ModelSection | None
    ranking: HeadRanking | None
    data: DataInfo


@dataclass(frozen=True)
class Judged:
    """What a run's gates add to its report.

    `gates` are their results, `lacking` conditions over plain text without all their records, `margin` what findings
    beside the gates are measured by, and `claim` the gates together.
    """

    gates: Sequence[GateResult] = ()
    lacking: Sequence[str] = ()
    margin: float = 0.1
    claim: Claim | None = None


NO_GATES = Judged()


@dataclass(frozen=True)
class FurtherFindings:
    """What a report says beside the figures of its conditions; `lacking` as in `Judged`."""

    gates: Sequence[GateResult] = ()
    lacking: Sequence[str] = ()
    contrasts: Sequence[Contrast] = ()
    specificity: Specificity | None = None
    claim: Claim | None = None
    damage: Sequence[DamageShare] = ()


NO_FURTHER_FINDINGS = FurtherFindings()


def build_report(
    setup: Setup,
    conditions: Iterable[Condition],
    rows: Sequence[Row],
    samples: Sequence[Sample],
    judged: Judged = NO_GATES,
    damage: Sequence[DamageShare] = (),
) -> ReportData:
    """The report of these conditions on these rows.

    `rows` are all rows of the run: each condition asks for those that it covers. `samples` come from
    `samples.score_samples`. Conditions stand in the order given; those over plain text belong to gates, and are not
    among them. Drops are against `BASELINE`; without its samples they are null.

    Raises SettingsError where two different conditions share a name.
    """
    asked = tuple(condition for condition in distinct(conditions) if condition.prompt != "plain_text")
    answers = Answers.of(samples, ())
    results = [condition_result(each) for each in _by_condition(asked, rows, samples)]
    further = FurtherFindings(
        gates=judged.gates,
        claim=judged.claim,
        lacking=judged.lacking,
        contrasts=contrasts(asked, rows, answers),
        specificity=specificity(asked, rows, answers, judged.margin),
        damage=damage,
    )
    return assemble_report(setup, _data(setup.data, rows), results, further)


def assemble_report(
    setup: Setup, data: DataSection, results: Sequence[ConditionResult], further: FurtherFindings = NO_FURTHER_FINDINGS
) -> ReportData:
    """The report of conditions whose figures are known."""
    return ReportData(
        schema_version=SCHEMA_VERSION,
        kind=KIND,
        run=_run(setup.run, results, further.lacking),
        configuration=dict(setup.configuration),
        versions=dict(setup.versions),
        model=setup.model,
        ranking=None if setup.ranking is None else _ranking(setup.ranking, setup.model),
        data=data,
        conditions=tuple(results),
        gates=tuple(further.gates),
        contrasts=tuple(further.contrasts),
        specificity=further.specificity,
        claim=further.claim,
        damage=tuple(further.damage),
    )


def make_report_folder(folder: Path) -> None:
    """Make the report's folder; a ReportError where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try_folder(folder)
    except OSError as error:
        raise ReportError(
            f"{folder}: {error.strerror}; expected a folder that can be written; name another with --ablation-reports"
        ) from None


def write_report(report: ReportData, samples: Sequence[Sample], folder: Path) -> ReportData:
    """Write `samples.jsonl` and `report.json` into the folder, which is made; return the report as it was written.

    Each file is whole or not there: both are written beside their places before either is moved, the samples first.
    The report names the samples' SHA-256, so that one beside other samples, where a kill came between the two, is seen.
    Raises ReportError where the folder cannot be written, and ValueError where a figure is infinite or not a number.
    """
    lines = "".join(json.dumps(s.model_dump(), ensure_ascii=False, allow_nan=False) + "\n" for s in samples).encode()
    beside = SamplesFile(sha256=hashlib.sha256(lines).hexdigest(), lines=len(samples))
    named = report.model_copy(update={"samples": beside})
    whole = json.dumps(named.model_dump(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    whole = _NUMBERS.sub(lambda found: " ".join(found.group().split()), whole)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / REPORT_FILE) as report_part, replacing(folder / SAMPLES_FILE) as samples_part:
            report_part.write_bytes(whole.encode())
            samples_part.write_bytes(lines)
    except OSError as error:
        raise ReportError(
            f"{folder}: the report cannot be written ({error.strerror or error}); expected a folder that can "
            "be written; choose another"
        ) from error
    return named


def _by_condition(
    conditions: Sequence[Condition], rows: Sequence[Row], samples: Sequence[Sample]
) -> Iterable[ConditionSamples]:
    by_name: dict[str, list[Sample]] = {condition.name: [] for condition in conditions}
    for sample in samples:
        by_name[sample.condition].append(sample)
    baseline = {sample.row: sample for sample in by_name.get(BASELINE.name, [])}
    wrong = {row for row, sample in baseline.items() if not sample.match}
    for condition in conditions:
        tasks = dict.fromkeys(row.task for row in rows if covers(condition, row))
        asked = Counter(row.task for row in rows if covers(condition, row, wrong))
        requested = {task: asked[task] for task in tasks}
        compared = None if condition.name == BASELINE.name else baseline
        yield ConditionSamples(condition, requested, by_name[condition.name], compared)


def _run(run: RunInfo, results: Sequence[ConditionResult], lacking: Sequence[str]) -> RunSection:
    missing = [*(result.name for result in results if result.n < result.requested), *lacking]
    return RunSection(**dict(run), finished=not missing, missing=tuple(missing))


def _ranking(ranking: HeadRanking, model: ModelSection | None) -> RankingSection:
    scores = ranking.mean_scores
    return RankingSection(
        source=ranking.source,
        method=ranking.full_method,
        top_k=ranking.top_k,
        tasks={task: _scored(ranking.scored(task)) for task in ranking.tasks},
        shared_heads=tuple((s.head.layer, s.head.head, s.task_frequency, s.score) for s in ranking.shared()),
        global_heads=_scored(ranking.global_candidates()),
        mean_scores=None
        if scores is None
        else {task: tuple(tuple(layer) for layer in grid) for task, grid in scores.items()},
        pool=None if model is None else len(ranking.pool(ModelShape(model.n_layers, model.n_heads))),
        notes=ranking_notes(ranking),
        chance=None if ranking.chance is None else dict(ranking.chance),
        stability=None if ranking.stability is None else _stability(ranking, ranking.stability),
    )


def _stability(ranking: HeadRanking, found: Stability) -> RankingStability:
    shared = [each.head for each in ranking.shared()[: ranking.top_k]]
    best = [each.head for each in ranking.global_candidates()]
    return RankingStability(
        clusters=found.clusters,
        tasks={task: _again(of_task, ranking.candidates(task)) for task, of_task in found.tasks.items()},
        shared_heads=None if found.shared_heads is None else _again(found.shared_heads, shared),
        global_heads=None if found.global_heads is None else _again(found.global_heads, best),
    )


def _again(found: ListStability, heads: Sequence[Head]) -> NamedAgain:
    ks = range(1, len(heads) + 1)
    return NamedAgain(
        again=tuple(min(1.0, found.overlap(heads[:k], k)) for k in ks), kept=tuple(found.kept(k) for k in ks)
    )


def _scored(heads: Iterable[ScoredHead]) -> tuple[tuple[int, int, float], ...]:
    return tuple((scored.head.layer, scored.head.head, scored.score) for scored in heads)


def _data(data: DataInfo, rows: Sequence[Row]) -> DataSection:
    return DataSection(
        **dict(data),
        rows=len(rows),
        filings=len({row.filename for row in rows}),
        clusters=len({row.cluster_name for row in rows}),
        tasks={
            task: _task_rows([row for row in rows if row.task == task]) for task in dict.fromkeys(r.task for r in rows)
        },
    )


def _task_rows(rows: Sequence[Row]) -> TaskRows:
    values = Counter(normalise(row.needle_value, "text") for row in rows)
    return TaskRows(rows=len(rows), majority_floor=max(values.values()) / len(rows))


N_NAMED = 3
"""How many names are said before `...`."""


def what_is_replaced(report: ReportData, folder: Path) -> str | None:
    """What the report that lies in the folder says and this one does not, in a line; `None` where that is nothing.

    It says something else where it has conditions that this one has not, or was made with other settings. What is no
    report is nothing to keep.
    """
    try:
        old = read_json(folder / REPORT_FILE, ReportError)
        started = old.field("run").field("started").text()
        names = [each.field("name").text() for each in old.field("conditions").items()]
        settings = old.field("configuration").table(lambda node: node)
    except ReportError:
        return None
    known = {condition.name for condition in report.conditions}
    lost = [name for name in names if name not in known]
    other = [name for name in {**settings, **report.configuration} if _value(settings.get(name)) != _now(report, name)]
    kept = [f"{counted(len(lost), 'condition')} that this one has not ({_some(lost)})"] if lost else []
    kept += [f"other settings ({_some(other)})"] if other else []
    if not kept:
        return None
    return (
        f"{folder / REPORT_FILE}: took the place of a report of {started} with {' and '.join(kept)}; give each session "
        "a name of its own with --ablation-run to keep both; the store holds all records"
    )


def _value(node: Node | None) -> object:
    return None if node is None else node.value


def _now(report: ReportData, name: str) -> object:
    return report.configuration.get(name)


def _some(names: list[str]) -> str:
    return ", ".join(names[:N_NAMED]) + (", ..." if len(names) > N_NAMED else "")

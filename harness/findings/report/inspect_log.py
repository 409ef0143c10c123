"""Samples as a log of Inspect AI, which `inspect view` opens (https://inspect.aisi.org.uk/eval-logs.html).

One log a report: a sample a row and condition, as `samples.jsonl` has them, in its order. What a row asked stands in
its input where `rows.jsonl` keeps it: the needle in its surroundings and the question, not the whole document. Scores
are the report's: `match` and `published_match` as correct and incorrect, a user's own metrics as numbers. Written
by `inspect_ai`'s own writer, the extra `inspect`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import ReportError, SettingsError
from harness.files import replacing
from harness.findings.report.report_data import ConditionResult, Exit, ReportData
from harness.findings.report.row_texts import RowText
from harness.findings.samples import Sample

if TYPE_CHECKING:  # an extra
    from inspect_ai.log import EvalLog, EvalSample, EvalScore

STATUS: Mapping[Exit, Literal["success", "cancelled", "error"]] = {
    "passed": "success",
    "failed": "success",
    "interrupted": "cancelled",
    "error": "error",
}
"""Tests that fail are results: the log of such a run is whole."""
RULES = ("match", "published_match")
MEASURES = ("gold_logprob", "baseline_logprob", "value_logprob", "ended", "tokens", "faults")


def check_inspect(option: str) -> None:
    """Raise a SettingsError where `inspect_ai` is not installed."""
    try:
        import inspect_ai.log  # noqa: F401
    except ImportError:
        raise SettingsError(
            f"{option}: the package inspect_ai is not installed; expected it; pip install 'retrieval-heads[inspect]'"
        ) from None


def inspect_log(report: ReportData, samples: Sequence[Sample], texts: Iterable[RowText] = ()) -> "EvalLog":
    """The log of a report; `check_inspect` comes first."""
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalLog,
        EvalResults,
        EvalRevision,
        EvalSpec,
        EvalStats,
    )

    run, of_row = report.run, {text.row: text for text in texts}
    conditions = {condition.name: condition for condition in report.conditions}
    rows = list(dict.fromkeys(sample.row for sample in samples))
    model = "unknown" if report.model is None else report.model.id
    return EvalLog(
        status=STATUS[run.exit],
        eval=EvalSpec(
            created=run.started,
            task=run.name,
            dataset=EvalDataset(name=report.data.source, samples=len(samples), shuffled=False),
            model=model,
            config=EvalConfig(),
            revision=None if run.commit is None else EvalRevision(type="git", origin="", commit=run.commit),
            packages={name: version for name, version in report.versions.items() if version is not None},
            metadata={"command": run.command, "rows": len(rows), "configuration": dict(report.configuration)},
        ),
        results=EvalResults(
            total_samples=sum(condition.requested for condition in report.conditions),
            completed_samples=len(samples),
            scores=list(_scores(report.conditions)),
        ),
        stats=EvalStats(started_at=run.started, completed_at=_end(run.started, run.seconds)),
        samples=[_sample(each, conditions[each.condition], of_row.get(each.row), model) for each in samples],
    )


def write_inspect_log(log: "EvalLog", path: Path) -> None:
    """Write the log at once under its name; an ending `.json` makes it JSON, any other Inspect's own format.

    Raises ReportError where it cannot be written.
    """
    from inspect_ai.log import write_eval_log

    try:
        with replacing(path) as temporary:
            write_eval_log(log, temporary, format="json" if path.suffix == ".json" else "eval")
    except OSError as error:
        raise ReportError(
            f"{path}: the log cannot be written ({error.strerror or error}); expected room in a folder that can be "
            "written; name another file"
        ) from error


def _scores(conditions: Iterable[ConditionResult]) -> "Iterator[EvalScore]":
    """Each condition's accuracy, as the report has it, by either rule."""
    from inspect_ai.log import EvalMetric, EvalScore

    found = [condition for condition in conditions if condition.prompt != "plain_text"]
    accuracies = {
        "match": {each.name: each.accuracy for each in found},
        "published_match": {each.name: each.published_rule.accuracy for each in found},
    }
    for rule in RULES:
        metrics = {
            name: EvalMetric(name=name, group="accuracy", value=value)
            for name, value in accuracies[rule].items()
            if value is not None
        }
        yield EvalScore(name=rule, scorer=rule, metrics=metrics)


def _sample(sample: Sample, condition: ConditionResult, text: RowText | None, model: str) -> "EvalSample":
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import CORRECT, INCORRECT, Score

    asked = _asked(sample, text)
    scores = {
        rule: Score(value=CORRECT if getattr(sample, rule) else INCORRECT, answer=sample.completion) for rule in RULES
    }
    scores |= {name: Score(value=value) for name, value in sample.own.items() if value is not None}
    return EvalSample(
        id=f"{sample.row} {sample.condition}",
        epoch=1,
        input=asked,
        target=sample.value,
        messages=[
            ChatMessageUser(content=asked),
            ChatMessageAssistant(content=sample.completion, source="generate", model=model),
        ],
        output=ModelOutput.from_content(model, sample.completion, "stop" if sample.ended else "max_tokens"),
        scores=scores,
        metadata=_metadata(sample, condition),
    )


def _asked(sample: Sample, text: RowText | None) -> str:
    if text is None:
        return f"{sample.row} (this report keeps neither question nor document)"
    return f"{text.before}{text.needle}{text.after}\n\n{text.question}"


def _metadata(sample: Sample, condition: ConditionResult) -> dict[str, Any]:
    """What Inspect has no field for."""
    said: dict[str, Any] = {name: getattr(sample, name) for name in ("row", "condition", "task", "filename", "depth")}
    said |= {name: getattr(condition, name) for name in ("experiment", "k", "k_effective", "prompt")}
    said["heads"] = " ".join(f"L{layer}H{head}" for layer, head in condition.heads)
    measures = {name: getattr(sample, name) for name in MEASURES}
    return said | {**measures, "faults": list(sample.faults)}


def _end(started: str, seconds: float) -> str:
    return (datetime.fromisoformat(started) + timedelta(seconds=seconds)).isoformat(timespec="seconds")

"""Tables: a report's figures as CSV files that any spreadsheet opens.

Two of them: accuracy by k, a line an experiment and random draw; and every figure, a line a condition and
task. Everything comes from the report alone. An undefined figure is an empty cell, and a name
that would be a formula is text.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from harness.errors import ReportError, counted
from harness.files import write_text
from harness.findings.report.curves import Curve, curves, envelope, level
from harness.findings.report.report_data import ConditionResult, Likelihood, Rate, ReportData

ACCURACY_FILE = "accuracy_by_k.csv"
FIGURES_FILE = "figures.csv"

POOLED = "pooled"
"""What stands in the column `task` of a line over all rows of its condition."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a formula begins, in one spreadsheet or another."""

Cell = str | int | float | None
Line = dict[str, Cell]


def accuracy_by_k(report: ReportData) -> list[Line]:
    """One line a curve, one column a k; the draws of a random control also have their mean.

    `baseline` is over the same tasks. `note` says where fewer than k heads were there to ablate, and where
    rows are missing.
    """
    every = curves(report)
    ks = sorted({point.k for curve in every for point in curve.points})
    lines = []
    for experiment in dict.fromkeys(curve.experiment for curve in every):
        draws = [curve for curve in every if curve.experiment == experiment]
        lines += [_accuracies(report, curve, ks) for curve in draws]
        if len(draws) > 1:
            means = {point.k: point.mean for point in envelope(draws)}
            first = lines[-1]
            lines.append(
                {
                    **first,
                    "draw": "mean",
                    **{f"k={k}": means.get(k) for k in ks},
                    "note": f"of {len(draws)} draws",
                }
            )
    return lines


def figures(report: ReportData) -> list[Line]:
    """One line a condition and task, the pooled one (`task` is `pooled`) first."""
    lines = []
    for condition in report.conditions:
        drop = condition.drop
        lines.append(
            {
                **_what(condition),
                "task": POOLED,
                "requested": condition.requested,
                "n": condition.n,
                **_rates(condition, condition.published_rule),
                "macro_accuracy": condition.macro_accuracy,
                "disagreements": condition.disagreements,
                "drop": None if drop is None else drop.estimate,
                "lost": None if drop is None else drop.lost,
                "gained": None if drop is None else drop.gained,
                "permutation_p": None if drop is None else drop.permutation_p,
                "mcnemar_p": None,
                "gold_logprob_change": condition.gold_logprob_change,
                "baseline_logprob_change": condition.baseline_logprob_change,
                **_likelihood(condition.likelihood),
            }
        )
        lines += [
            {
                **_what(condition),
                "task": task,
                "requested": result.requested,
                "n": result.n,
                **_rates(result, result.published_rule),
                "macro_accuracy": None,
                "disagreements": result.disagreements,
                "drop": result.drop,
                "lost": result.lost,
                "gained": result.gained,
                "permutation_p": None,
                "mcnemar_p": result.mcnemar_p,
                "gold_logprob_change": result.gold_logprob_change,
                "baseline_logprob_change": result.baseline_logprob_change,
                **_likelihood(result.likelihood),
            }
            for task, result in condition.per_task.items()
        ]
    return lines


def _likelihood(found: Likelihood | None) -> Line:
    return {
        "value_rows": None if found is None else found.n,
        "value_probability": None if found is None else found.probability,
        "value_logprob_change": None if found is None else found.logprob_change,
    }


def export_csv(report: ReportData, folder: Path) -> tuple[Path, Path]:
    """Write both tables into the folder, which is made: `accuracy_by_k.csv` and `figures.csv`.

    Raises ReportError where the folder cannot be written.
    """
    paths = (folder / ACCURACY_FILE, folder / FIGURES_FILE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, lines in zip(paths, (accuracy_by_k(report), figures(report)), strict=True):
            write_text(path, as_csv(lines))
    except OSError as error:
        raise ReportError(
            f"{folder}: the tables cannot be written ({error.strerror or error}); expected a folder that can "
            "be written; choose another"
        ) from error
    return paths


def as_csv(lines: Sequence[Line]) -> str:
    """The lines as CSV text under a line of column names; no lines give no text."""
    if not lines:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _unevaluated(cell) for name, cell in line.items()} for line in lines)
    return text.getvalue()


def _unevaluated(cell: Cell) -> Cell:
    """A text that a spreadsheet would take for a formula, as text: with the apostrophe that spreadsheets know.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _accuracies(report: ReportData, curve: Curve, ks: Sequence[int]) -> Line:
    tasks = {
        task
        for condition in report.conditions
        if condition.experiment == curve.experiment
        for task in condition.per_task
    }
    baseline = level(report, "baseline", tasks)
    points = {point.k: point for point in curve.points}
    notes = [f"k={p.k}: {p.heads} heads" for p in curve.points if p.is_short]
    notes += [f"k={p.k}: {counted(p.requested - p.n, 'row')} missing" for p in curve.points if p.n < p.requested]
    return {
        "experiment": curve.experiment,
        "draw": curve.seed,
        "rows": max(point.requested for point in curve.points),
        "baseline": None if baseline is None else baseline.accuracy,
        **{f"k={k}": points[k].accuracy if k in points else None for k in ks},
        "note": "; ".join(notes),
    }


def _what(condition: ConditionResult) -> Line:
    return {
        "condition": condition.name,
        "experiment": condition.experiment,
        "setting": condition.setting,
        "k": condition.k,
        "k_effective": condition.k_effective,
        "seed": condition.seed,
        "random_match": condition.random_match,
        "source_task": condition.source_task,
        "prompt": condition.prompt,
    }


def _rates(value: Rate, published: Rate) -> Line:
    low, high = value.interval or (None, None)
    return {
        "matches": value.matches,
        "accuracy": value.accuracy,
        "low": low,
        "high": high,
        "published_matches": published.matches,
        "published_accuracy": published.accuracy,
    }

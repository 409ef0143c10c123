"""The summary: a report in a few lines of text, for a terminal.

A line an experiment and k: accuracy, its interval, and the drop from the baseline on the same rows. Everything comes
from the report alone.
"""

from collections.abc import Iterator, Sequence

from harness.findings.curves import Curve, Level, curves, envelope, level
from harness.findings.report_data import ReportData

RANDOM = "random_control"
UNTOUCHED = ("baseline", "needle_absent")


def summary_lines(report: ReportData) -> Iterator[str]:
    """The lines of the summary."""
    every = curves(report)
    yield _provenance(report)
    baseline = level(report, "baseline")
    if baseline is not None:
        yield f"{'baseline':<16} {'':>5}  {_accuracy(baseline)}"
    absent = level(report, "needle_absent")
    if absent is not None:
        yield f"{'needle absent':<16} {'':>5}  {_accuracy(absent)}"
    for curve in every:
        if curve.experiment != RANDOM:
            yield from _curve_lines(report, curve)
    yield from _random_lines(report, [curve for curve in every if curve.experiment == RANDOM])
    yield from _own_lines(report)
    missing = report["run"]["missing"]
    if missing:
        names = ", ".join(missing[:5]) + (" ..." if missing[5:] else "")
        yield f"missing: {len(missing)} conditions lack records: {names}"


def _provenance(report: ReportData) -> str:
    data, model = report["data"], report["model"]
    name = "no model" if model is None else f"{model['id']} ({model['n_layers']} layers of {model['n_heads']} heads)"
    return f"{name}, {data['rows']} rows of {data['filings']} filings"


def _curve_lines(report: ReportData, curve: Curve) -> Iterator[str]:
    for point in curve.points:
        heads = f"k={point.k}" + (f", but {point.heads} heads" if point.is_short else "")
        yield f"{curve.experiment:<16} {heads:>5}  {_accuracy(point)}{_drop(report, curve, point)}"


def _random_lines(report: ReportData, draws: Sequence[Curve]) -> Iterator[str]:
    baseline = level(report, "baseline")
    before = None if baseline is None else baseline.accuracy
    for point in envelope(draws):
        drop = "" if before is None else f"   drop {_points(before - point.mean)}"
        yield (
            f"{RANDOM:<16} {f'k={point.k}':>5}  {point.mean:6.1%}  [{point.low:6.1%}, {point.high:6.1%}]{drop}"
            f"   mean and range of {point.n_draws} draws"
        )


def _own_lines(report: ReportData) -> Iterator[str]:
    """A user's own conditions have no k, and a line each."""
    for condition in report["conditions"]:
        point = level(report, condition["name"])
        if condition["k"] is None and condition["name"] not in UNTOUCHED and point is not None:
            drop = "" if condition["drop"] is None else f"   drop {_points(condition['drop']['estimate'])}"
            yield f"{condition['name']:<16} {'':>5}  {_accuracy(point)}{drop}"


def _accuracy(point: Level) -> str:
    if point.accuracy is None or point.interval is None:
        return f"no rows of {point.requested}"
    of = f"{point.matches}/{point.n}" + ("" if point.n == point.requested else f" of {point.requested}")
    return f"{point.accuracy:6.1%}  [{point.interval.low:6.1%}, {point.interval.high:6.1%}]  {of:>9}"


def _drop(report: ReportData, curve: Curve, point: Level) -> str:
    """The drop over the curve's rows; nothing where rows are missing, so that it is always a paired one."""
    tasks = [
        task
        for condition in report["conditions"]
        if condition["experiment"] == curve.experiment
        for task in condition["per_task"]
    ]
    baseline = level(report, "baseline", tasks)
    if baseline is None or baseline.accuracy is None or point.accuracy is None:
        return ""
    if baseline.n < baseline.requested or point.n < point.requested:
        return ""
    return f"   drop {_points(baseline.accuracy - point.accuracy)}"


def _points(drop: float) -> str:
    return f"{100 * drop:+5.1f} points"

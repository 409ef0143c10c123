"""The likelihood of the right value in a report, in a line or two for the summary."""

from collections.abc import Iterator, Sequence

from harness.counting import counted
from harness.findings.report.report_data import ConditionResult, Likelihood, ReportData


def likelihood_lines(report: ReportData) -> Iterator[str]:
    """The value's mean probability where the untouched model says it: untouched, and by each experiment at its most.

    Nothing where it was measured nowhere; how many rows lack it is said.
    """
    by_experiment: dict[str, list[ConditionResult]] = {}
    for condition in report.conditions:
        if condition.k is not None and condition.likelihood is not None and condition.likelihood.n:
            by_experiment.setdefault(condition.experiment, []).append(condition)
    untouched = next((each.likelihood for each in report.conditions if each.name == "baseline"), None)
    if untouched is not None and untouched.probability is not None:
        said = [f"{untouched.probability:.1%} untouched"]
        for experiment, conditions in by_experiment.items():
            most = max(each.k for each in conditions if each.k is not None)
            at_most = [each.likelihood for each in conditions if each.k == most and each.likelihood is not None]
            said.append(f"{experiment} k={most} {_pooled(at_most):.1%}")
        yield (
            f"likelihood of the value where the untouched model says it, over {counted(untouched.n, 'row')}: "
            f"{', '.join(said)}"
        )
    missing = max((each.likelihood.missing for each in report.conditions if each.likelihood is not None), default=0)
    if missing:
        yield (
            f"likelihood unknown of {counted(missing, 'row')} answered rightly: the store is older than it "
            "(--ablation-gate-outcome likelihood computes it), or the answer cannot be cut where the value stands"
        )


def _pooled(parts: Sequence[Likelihood]) -> float:
    """The mean probability over all rows of some conditions."""
    return sum(part.n * (part.probability or 0.0) for part in parts) / sum(part.n for part in parts)

"""A report of published result files.

Published are counts: which rows were lost, and which rows share a filing, is unknown and stays `None`. Drops are
differences of accuracies over as many rows of the same tasks. Knows nothing of files (`published`).
"""

from collections.abc import Mapping, Sequence

from harness.errors import ReportError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.experiment.rankings import HeadRanking
from harness.findings.published.result_files import Count, PublishedCondition, PublishedResults
from harness.findings.report.condition_results import condition_setup, rate
from harness.findings.report.report_data import ConditionResult, DataSection, ReportData, TaskResult, TaskRows
from harness.findings.report.report_writing import Setup, assemble_report


def published_report(setup: Setup, results: PublishedResults) -> ReportData:
    """The report of published counts; `setup.ranking` names the heads where the files only count them.

    Raises:
        ReportError: the ranking does not give as many heads as the files say, or two files hold one condition.
        HeadsError: a head is listed twice.
    """
    conditions = [_result(BASELINE, 0, results.baseline, None)]
    places: dict[str, str] = {}
    for cell in results.cells:
        condition = _condition(cell, setup.ranking)
        if condition.name in places:
            raise ReportError(
                f"{cell.where}: {condition.name} again, after {places[condition.name]}; expected each condition in one "
                "file; take the other away"
            )
        places[condition.name] = cell.where
        conditions.append(_result(condition, cell.n_heads, cell.counts, results.baseline))
    data = DataSection(
        source=setup.data.source,
        rows=sum(count.attempts for count in results.baseline.values()),
        filings=None,
        tasks={task: TaskRows(rows=count.attempts, majority_floor=None) for task, count in results.baseline.items()},
    )
    return assemble_report(setup, data, conditions)


def fitting_ranking(results: PublishedResults) -> HeadRanking | None:
    """The one of the published rankings whose lists are as long as the results say, if one is.

    Raises ReportError where several are.
    """
    fitting = [ranking for ranking in results.rankings if all(_fits(ranking, cell) for cell in results.cells)]
    if len(fitting) > 1:
        names = ", ".join(ranking.source for ranking in fitting)
        raise ReportError(f"{names}: each may have chosen the heads; expected one ranking; name it with --heads")
    return fitting[0] if fitting else None


def _result(
    condition: Condition, n_heads: int, counts: Mapping[str, Count], baseline: Mapping[str, Count] | None
) -> ConditionResult:
    attempts, matches = sum(c.attempts for c in counts.values()), sum(c.matches for c in counts.values())
    accuracies = [count.matches / count.attempts for count in counts.values() if count.attempts]
    right = rate(matches, attempts)
    return ConditionResult(
        **dict(condition_setup(condition)) | {"k_effective": n_heads},
        **dict(right),
        requested=attempts,
        n=attempts,
        filings=None,
        macro_accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
        published_rule=right,
        disagreements=0,
        drop=None,
        degenerate=None,
        gold_logprob_change=None,
        baseline_logprob_change=None,
        own={},
        per_task={
            task: _task_result(count, None if baseline is None else baseline[task]) for task, count in counts.items()
        },
    )


def _task_result(count: Count, baseline: Count | None) -> TaskResult:
    drop = (baseline.matches - count.matches) / count.attempts if baseline is not None and count.attempts else None
    right = rate(count.matches, count.attempts)
    return TaskResult(
        **dict(right),
        requested=count.attempts,
        n=count.attempts,
        published_rule=right,
        disagreements=0,
        drop=drop,
        lost=None,
        gained=None,
        mcnemar_p=None,
        gold_logprob_change=None,
        baseline_logprob_change=None,
    )


def _condition(cell: PublishedCondition, ranking: HeadRanking | None) -> Condition:
    heads = cell.heads if cell.heads is not None else _zeroed(ranking, cell)
    if heads and len(heads) != cell.n_heads:
        raise ReportError(
            f"{cell.where}: {cell.n_heads} heads, but {len(heads)} follow from the ranking; expected the ranking that "
            "chose them; name it with --heads"
        )
    return Condition(
        cell.experiment,
        _setting(cell),
        heads,
        tasks=None if cell.source_task is None else tuple(cell.counts),
        k=cell.k,
        source_task=cell.source_task,
        seed=cell.seed,
        random_match=None if cell.seed is None else "uniform",
    )


def _setting(cell: PublishedCondition) -> str:
    """As our own conditions are called."""
    k = f"k{cell.k:02d}"
    match cell.experiment:
        case "within_task":
            return f"{cell.source_task}-{k}"
        case "transfer":
            return f"{cell.source_task}:{next(iter(cell.counts))}-{k}"
        case _:
            return k if cell.seed is None else f"seed{cell.seed}-{k}"


def _fits(ranking: HeadRanking, cell: PublishedCondition) -> bool:
    if cell.heads is not None:
        return True
    if cell.source_task is not None and cell.source_task not in ranking.tasks:
        return False
    heads = _zeroed(ranking, cell)
    return not heads or len(heads) == cell.n_heads


def _zeroed(ranking: HeadRanking | None, cell: PublishedCondition) -> tuple[Head, ...]:
    """The heads that the ranking gives a cell, as its file lists them; none where it has no such list."""
    if ranking is None:
        return ()
    listed: Sequence[Head] = ()
    if cell.source_task is not None:
        listed = ranking.candidates(cell.source_task)
    elif cell.experiment == "general":
        listed = [shared.head for shared in ranking.listed_shared or ranking.shared()]
    elif cell.experiment == "global":
        listed = [scored.head for scored in ranking.global_candidates()]
    return tuple(listed[: cell.k])

"""A report of published result files, and what it cannot support.

Published are counts: which rows were lost, and which rows share a filing, is unknown and stays `None`. Drops are
differences of accuracies over as many rows of the same tasks. With one random draw the spread of draws is unknown, and
no gate can pass: lines of text say so. Knows nothing of files (`result_files`).
"""

from collections.abc import Iterator, Mapping, Sequence

from harness.errors import ReportError
from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, RANDOM, Condition
from harness.experiment.heads import Head
from harness.experiment.rankings import HeadRanking
from harness.findings.published.result_files import Count, PublishedCondition, PublishedResults
from harness.findings.report.condition_results import condition_setup, rate
from harness.findings.report.curves import Curve, curves, envelope, level
from harness.findings.report.report_data import ConditionResult, DataSection, ReportData, TaskResult, TaskRows
from harness.findings.report.report_writing import Setup, assemble_report
from harness.findings.statistics import newcombe
from harness.findings.wording import aligned, percent, points, points_between


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


FLAT = 0.10
"""A random control that costs more than this is not flat."""
LEVEL = 0.05


def limit_lines(report: ReportData) -> Iterator[str]:
    """The lines, of a report of published counts."""
    yield from _diagonal_lines(report)
    yield from _exchange_lines(report)
    yield from _control_lines(report)
    yield "counts only: lost rows and filings are unknown; intervals take rows as independent, nothing is paired"
    if NEEDLE_ABSENT.name not in {condition.name for condition in report.conditions}:
        yield "no run without the needle: what guessing scores is unknown"
    draws = len({condition.seed for condition in report.conditions if condition.experiment == RANDOM})
    if draws == 0:
        yield "no random heads: nothing shows that these heads do more than any others, so no gate can pass"
    elif draws == 1:
        yield from _one_draw_lines(report)
    else:
        yield f"{draws} random seeds show how draws differ, but a gate also needs the rows"


def _one_draw_lines(report: ReportData) -> Iterator[str]:
    """Drops beyond the one draw's, and what is not known of them."""
    every = curves(report)
    random = next(curve for curve in every if curve.experiment == RANDOM)
    others = [curve for curve in every if curve.experiment != RANDOM]
    yield ""
    yield "drop beyond that of the random heads, in points, and Newcombe's 95 % interval:"
    table = [("", *(curve.experiment for curve in others))]
    table += [(f"k={point.k}", *(_beyond(curve, random, point.k) for curve in others)) for point in random.points]
    yield from aligned(table, "r" * (len(others) + 1))
    yield (
        "one random seed: the intervals hold the chance in the rows alone; how far another draw of random heads would "
        "lie"
    )
    yield (
        f"from this one is unknown (rank p of one draw: at least 1/2; {round(1 / LEVEL) - 1} draws can reach "
        f"{LEVEL:g}): no gate can pass on these files"
    )


def _beyond(curve: Curve, random: Curve, k: int) -> str:
    ours, theirs = curve.at(k), random.at(k)
    if ours is None or theirs is None or ours.accuracy is None or theirs.accuracy is None:
        return "-"
    if ours.is_short:  # the random heads are more
        return f"{ours.heads} head{'' if ours.most == 1 else 's'} only"
    interval = newcombe((ours.matches, ours.n), (theirs.matches, theirs.n))
    if interval is None:
        return "-"
    return f"{points(theirs.accuracy - ours.accuracy)} {points_between(interval.ends)}"


def _diagonal_lines(report: ReportData) -> Iterator[str]:
    """Whether a task's own heads score the same in both files that hold them."""
    own = {(c.source_task, c.k): c.matches for c in report.conditions if c.experiment == "within_task"}
    diagonal = {
        (c.source_task, c.k): c.matches
        for c in report.conditions
        if c.experiment == "transfer" and c.tasks == (c.source_task,)
    }
    both = own.keys() & diagonal.keys()
    if both:
        equal = sum(own[key] == diagonal[key] for key in both)
        yield f"a task's own heads on its own rows: transfer equals within_task in {equal} of {len(both)} cells"


def _exchange_lines(report: ReportData) -> Iterator[str]:
    """Conditions that differ in one head, and in accuracy by more than the rows' chance."""
    whole = [c for c in report.conditions if c.tasks is None and c.heads and c.experiment != RANDOM]
    for i, one in enumerate(whole):
        for other in whole[i + 1 :]:
            mine, theirs = ({Head(*head) for head in each.heads} for each in (one, other))
            interval = newcombe((one.matches, one.n), (other.matches, other.n))
            if interval is None or interval.low <= 0.0 <= interval.high:
                continue
            if one.k == other.k and len(mine - theirs) == len(theirs - mine) == 1:
                (out,), (into,) = mine - theirs, theirs - mine
                yield (
                    f"one head of {len(mine)} apart at k={one.k}: {one.experiment} with {out} {percent(one.accuracy)}, "
                    f"{other.experiment} with {into} {percent(other.accuracy)}"
                )


def _control_lines(report: ReportData) -> Iterator[str]:
    """Whether random heads are idle, and no task's candidates."""
    draws = [c for c in report.conditions if c.experiment == RANDOM]
    baseline = level(report, BASELINE.name)
    mean_draws = envelope([curve for curve in curves(report) if curve.experiment == RANDOM])
    costly = [
        f"{points(drop)} points at k={point.k}"
        for point in mean_draws
        if baseline is not None and baseline.accuracy is not None and (drop := baseline.accuracy - point.mean) > FLAT
    ]
    if costly:
        yield f"the control is not flat: random heads cost {', '.join(costly)}"
    ranking = report.ranking
    if ranking is not None and draws:
        listed = {(int(layer), int(head)) for heads in ranking.tasks.values() for layer, head, _ in heads}
        most = max(draws, key=lambda c: c.k or 0)
        shared = sum((layer, head) in listed for layer, head in most.heads)
        if shared:
            n, top_k = len(most.heads), ranking.top_k
            yield f"{shared} of the {n} random heads at k={most.k} are among some task's best {top_k}"

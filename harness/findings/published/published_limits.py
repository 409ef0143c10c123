"""What published counts say beside accuracies, and what they cannot support: lines of text, from the report alone.

With one random draw the spread of draws is unknown, and no gate can pass.
"""

from collections.abc import Iterator

from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT
from harness.experiment.heads import Head
from harness.findings.report.curves import Curve, curves, envelope, level
from harness.findings.report.report_data import ReportData
from harness.findings.statistics import newcombe
from harness.findings.wording import aligned, percent, points, points_between

RANDOM = "random_control"
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

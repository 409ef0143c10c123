"""The summary: a report in a few lines of text, for a terminal.

A line an experiment and k: accuracy, its interval, and the drop from the baseline on the same rows. Everything comes
from the report alone.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from harness.errors import counted, plain
from harness.experiment.conditions import PERMUTATION, RANDOM, UNTOUCHED
from harness.findings.damage import damage_lines
from harness.findings.report.curves import Curve, Level, curves, envelope, level
from harness.findings.report.gate_message import gate_lines
from harness.findings.report.report_data import ConditionResult, Likelihood, ReportData
from harness.findings.samples import DONOR_VALUE
from harness.findings.verdicts.verdict_data import Kind
from harness.findings.wording import manner_note, points, points_between, span
from harness.retrieval.traces import seen_words

DEGENERATE = 0.05
"""By how much a condition's part of degenerate completions may exceed the baseline's before it is worth a line."""


def report_lines(report: ReportData) -> Iterator[tuple[Kind | None, str]]:
    """The report as a session ends with it: what its gates decided, each line with its verdict; then the summary."""
    yield from gate_lines(report)
    for line in summary_lines(report):
        yield None, line


def summary_lines(report: ReportData) -> Iterator[str]:
    """The lines of the summary."""
    every = curves(report)
    yield _provenance(report)
    yield from data_lines(report)
    baseline = level(report, "baseline")
    if baseline is not None:
        yield f"{'baseline':<16} {'':>5}  {_accuracy(baseline)}"
    absent = level(report, "needle_absent")
    if absent is not None:
        yield f"{'needle absent':<16} {'':>5}  {_accuracy(absent)}{_guessing(report)}"
    yield from likelihood_lines(report)
    for curve in every:
        if curve.experiment != RANDOM:
            yield from _curve_lines(report, curve)
    yield from rising_lines(every)
    yield from _random_lines(report, [curve for curve in every if curve.experiment == RANDOM])
    yield from _gate_draw_lines(report)
    yield from _many_lines(report, {curve.experiment for curve in every})
    yield from _own_lines(report)
    yield from _donor_lines(report)
    yield from damage_lines(report.damage)
    yield from _ending_lines(report)
    yield from _degenerate_lines(report)
    yield from _specificity_lines(report)
    yield from missing_lines(report)


def data_lines(report: ReportData) -> Iterator[str]:
    """What there is to know of the rows before one believes any figure."""
    yield from _split_lines(report)
    if cut := report.data.cut:
        yield f"{counted(cut, 'row')} cut to {report.configuration.get('seq_len')} tokens, the others are not longer"
    if recurs := report.data.value_recurs:
        yield f"{counted(len(recurs), 'row')} may be answered without the needle: the value stands in its document"


def missing_lines(report: ReportData) -> Iterator[str]:
    """How many conditions lack records, and the first of them; nothing where none does. Of a part of a study, which."""
    missing = report.run.missing
    if (part := report.run.part) is not None:
        left = f", {part.left:,} of them not done: run it again" if part.left else ""
        yield (
            f"part {part.number} of {part.of}: {part.rows:,} of {counted(report.data.rows, 'row')}{left}; no verdict "
            "before the stores of all parts are put together (`retrieval-heads merge`), and the study is run with that"
        )
    elif missing:
        names = ", ".join(missing[:5]) + (" ..." if missing[5:] else "")
        yield f"missing: {counted(len(missing), 'condition')} without all records: {names}"


def _provenance(report: ReportData) -> str:
    data, model = report.data, report.model
    name = "no model" if model is None else f"{model.id} ({model.n_layers} layers of {model.n_heads} heads)"
    of = "" if data.filings is None else f" of {counted(data.filings, 'filing')}"
    if data.clusters is not None and data.clusters != data.filings:
        of += f" in {counted(data.clusters, 'cluster')}"
    cards = [] if model is None else [plain(card) for card in model.cards if card != "cpu"]
    of += f", on {' and '.join(cards)}" if cards else ""
    note = manner_note(report.configuration)
    return f"{name}, {counted(data.rows, 'row')}{of}" + ("" if note is None else f", {note}")


def rising_lines(every: Sequence[Curve]) -> Iterator[str]:
    """Curves that rise from one k to the next beyond both intervals: more heads gone, and more right."""
    for curve in every:
        for few, many in pairwise(curve.points):
            if few.interval is not None and many.interval is not None and many.interval.low > few.interval.high:
                yield (
                    f"{curve.experiment} is not monotone: {few.accuracy:.1%} at k={few.k}, {many.accuracy:.1%} at "
                    f"k={many.k}, beyond both intervals: one k says little; --ablation-gate-k band judges all"
                )


def _split_lines(report: ReportData) -> Iterator[str]:
    """Whether the heads were ranked on filings that they are evaluated on."""
    overlap, ranking = report.data.ranking_overlap, report.ranking
    if overlap:
        how = seen_words(report.data.known_by)
        yield f"warning: {overlap} of {report.data.filings} evaluated filings also made the ranking{how}"
    elif overlap is None and ranking is not None:
        yield "split unknown: the ranking does not say which filings it was made from"


def _guessing(report: ReportData) -> str:
    """What guessing reaches in the task where it reaches most: without the needle, and by always saying one value."""
    (absent,) = (each for each in report.conditions if each.name == "needle_absent")
    without = [each.accuracy for each in absent.per_task.values() if each.accuracy is not None]
    floors = [each.majority_floor for each in report.data.tasks.values() if each.majority_floor is not None]
    if not without or not floors:
        return ""
    return f"   at most {max(without):.1%} in a task; always the commonest value: at most {max(floors):.1%}"


def _ending_lines(report: ReportData) -> Iterator[str]:
    """Whether the untouched model, which should answer and end, goes on."""
    for condition in report.conditions:
        found, n = condition.degenerate, condition.n
        if condition.name != "baseline" or found is None or not n:
            continue
        if found.cut_off == n:
            most = report.configuration.get("max_new_tokens")
            yield (
                f"warning: none of the untouched model's {counted(n, 'completion')} ended within {most} tokens; allow "
                "more with max-new-tokens, or see whether the model's files name its end token"
            )
        if marked := found.turn_marker:
            yield (
                f"warning: {marked} of the untouched model's {counted(n, 'completion')} hold a turn marker: it goes on "
                "into the next turn; see whether the model's files name all of its end tokens"
            )


def _degenerate_lines(report: ReportData) -> Iterator[str]:
    """The conditions with the most degenerate completions beyond the baseline's, and how many of which kind."""
    shares = {
        each.name: each.degenerate.any / each.n for each in report.conditions if each.degenerate is not None and each.n
    }
    before = shares.get("baseline", 0.0)
    worse = sorted((name for name in shares if shares[name] > before + DEGENERATE), key=lambda name: -shares[name])
    for condition in report.conditions:
        found = condition.degenerate
        if worse and condition.name == worse[0] and found is not None:
            kinds = {"empty": found.empty, "repeating": found.repeating, "cut off": found.cut_off}
            kinds["several numbers"] = found.several_numbers
            kinds |= {"hedging": found.hedging, "with a turn marker": found.turn_marker}
            said = ", ".join(f"{n} {kind}" for kind, n in kinds.items() if n)
            yield (
                f"degenerate completions: {before:.1%} in the baseline, over {DEGENERATE:.0%} more in "
                f"{counted(len(worse), 'condition')}; most in {worse[0]}: {shares[worse[0]]:.1%} of {condition.n} "
                f"({said})"
            )


def _specificity_lines(report: ReportData) -> Iterator[str]:
    """Whether a task's own heads cost its rows more than other tasks' do."""
    found = report.specificity
    if found is not None:
        yield (
            f"specificity k={found.k}: {found.finding}: own heads {_drop_in_points(found.own_drop)}, other tasks' "
            f"{_drop_in_points(found.other_drop)}, difference {_drop_in_points(found.difference)} "
            f"{points_between(found.interval)}; {found.overlap:.1f} of {found.k} heads in common"
        )


def _curve_lines(report: ReportData, curve: Curve) -> Iterator[str]:
    for point in curve.points:
        short = f"   of {point.heads} head{'' if point.most == 1 else 's'} only" if point.is_short else ""
        yield f"{curve.experiment:<16} {f'k={point.k}':>5}  {_accuracy(point)}{_drop(report, curve, point)}{short}"


def _random_lines(report: ReportData, draws: Sequence[Curve]) -> Iterator[str]:
    if len(draws) == 1:  # no range, but rows: as any other heads
        yield from (f"{line}   one draw" for line in _curve_lines(report, draws[0]))
        return
    baseline = level(report, "baseline")
    before = None if baseline is None else baseline.accuracy
    for point in envelope(draws):
        drop = "" if before is None else f"   drop {_drop_in_points(before - point.mean)}"
        yield (
            f"{RANDOM:<16} {f'k={point.k}':>5}  {point.mean:6.1%}  [{point.low:6.1%}, {point.high:6.1%}]{drop}"
            f"   mean and range of {point.n_draws} draws{_mismatches(report, point.k)}"
        )


def _gate_draw_lines(report: ReportData) -> Iterator[str]:
    """What a gate's own controls and permutations reached, on the rows that it compares."""
    for gate in report.gates:
        k = "all k" if len(gate.ks) > 1 else f"k={span(*gate.k_effective)}"
        lacking = not set(report.run.missing).isdisjoint(gate.conditions)
        over = f", over {counted(gate.n, 'row')}" if lacking else ""
        right = 1.0 if gate.outcome == "accuracy" else gate.baseline  # of the rows that are answered rightly
        families = (
            (RANDOM, gate.baseline, gate.control_drops, _from_elsewhere(gate.mismatches, gate.control_heads) + over),
            (
                PERMUTATION,
                right,
                gate.permutation_drops,
                f", over {counted(gate.answered or 0, 'row')} answered rightly",
            ),
        )
        for experiment, before, drops, also in families:
            if before is None or not drops:
                continue
            accuracies = [before - drop for drop in drops]
            mean = sum(accuracies) / len(accuracies)
            yield (
                f"{experiment:<16} {k:>5}  {mean:6.1%}  [{min(accuracies):6.1%}, {max(accuracies):6.1%}]"
                f"   drop {_drop_in_points(before - mean)}   mean and range of {counted(len(drops), 'draw')} for "
                f"{gate.name}{also}"
            )


def _mismatches(report: ReportData, k: int) -> str:
    """How many layer-matched control heads come from another layer, at most; gates' own controls stand apart."""
    counts = [
        condition.mismatches or 0
        for condition in report.conditions
        if condition.experiment == RANDOM and condition.k == k and condition.gate is None
    ]
    return _from_elsewhere(counts, k)


def _from_elsewhere(counts: Sequence[int], heads: int) -> str:
    return f", up to {max(counts)} of {heads} heads from another layer" if any(counts) else ""


def _many_lines(report: ReportData, drawn: Collection[str]) -> Iterator[str]:
    """Experiments with several conditions a row at one k (transfer, single): their number and range."""
    groups: dict[tuple[str, int], list[float]] = {}
    for condition in report.conditions:
        k, accuracy = condition.k, condition.accuracy
        if k is not None and accuracy is not None and condition.experiment not in {*drawn, RANDOM, PERMUTATION}:
            groups.setdefault((condition.experiment, k), []).append(accuracy)
    for (experiment, k), accuracies in groups.items():
        yield (
            f"{experiment:<16} {f'k={k}':>5}  {min(accuracies):.1%} to {max(accuracies):.1%} over "
            f"{counted(len(accuracies), 'condition')}: plots/figures.csv has each"
        )


def _own_lines(report: ReportData) -> Iterator[str]:
    """A user's own conditions have no k, and a line each."""
    for condition in report.conditions:
        point = level(report, condition.name)
        if condition.k is None and condition.name not in UNTOUCHED and point is not None:
            drop = "" if condition.drop is None else f"   drop {_drop_in_points(condition.drop.estimate)}"
            yield f"{condition.name:<16} {'':>5}  {_accuracy(point)}{drop}"


def _donor_lines(report: ReportData) -> Iterator[str]:
    """After resample ablation, how often the donor's value was said instead; all draws and tasks together."""
    said: dict[tuple[str, int | None], list[float]] = {}
    for condition in report.conditions:
        metric = condition.own.get(DONOR_VALUE)
        if metric is not None and metric.mean is not None and condition.k_effective:
            total = said.setdefault((condition.experiment, condition.k), [0.0, 0])
            total[0] += metric.n * metric.mean
            total[1] += metric.n
    for (experiment, k), (n_said, n) in said.items():
        of_k = "" if k is None else f"k={k}"
        yield f"{experiment:<16} {of_k:>5}  the donor's value instead {n_said / n:6.1%}  of {n:.0f}"


def _accuracy(point: Level) -> str:
    if point.accuracy is None or point.interval is None:
        return f"none of {counted(point.requested, 'row')} done"
    of = f"{point.matches}/{point.n}" + ("" if point.n == point.requested else f" of {point.requested}")
    return f"{point.accuracy:6.1%}  [{point.interval.low:6.1%}, {point.interval.high:6.1%}]  {of:>9}"


def _drop(report: ReportData, curve: Curve, point: Level) -> str:
    """The drop over the curve's rows; nothing where rows are missing, so that it is always a paired one."""
    tasks = [
        task
        for condition in report.conditions
        if condition.experiment == curve.experiment
        for task in condition.per_task
    ]
    baseline = level(report, "baseline", tasks)
    if baseline is None or baseline.accuracy is None or point.accuracy is None:
        return ""
    if baseline.n < baseline.requested or point.n < point.requested:
        return ""
    return f"   drop {_drop_in_points(baseline.accuracy - point.accuracy)}"


def _drop_in_points(drop: float) -> str:
    return f"{points(drop):>5} points"


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
            said.append(f"{experiment} k={most} {_mean_probability(at_most):.1%}")
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


def _mean_probability(parts: Sequence[Likelihood]) -> float:
    """The mean probability over all rows of some conditions."""
    return sum(part.n * (part.probability or 0.0) for part in parts) / sum(part.n for part in parts)

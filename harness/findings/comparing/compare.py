"""Two reports compared: their setups, accuracies, and answers row by row where both asked the same row.

A *line* is a condition, or the conditions of one experiment at one k that ask different tasks (`within_task` at
k = 5), which are pooled under the name `within_task[k05]`, as the summary pools them. Rows are paired where their id,
gold value and condition are the same. Nothing depends on the order of conditions or rows. `comparison_text` and
`fail_expression` read what comes out; knows nothing of text or of what fails a run.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from harness.errors import ReportError
from harness.findings.comparing.setup_changes import SetupChange, setup_changes
from harness.findings.report.curves import Level, level, pooled_level
from harness.findings.report.report_data import ConditionResult, ReportData
from harness.findings.samples import Pairing, Sample
from harness.findings.statistics import (
    Interval,
    cluster_mean,
    mcnemar_p,
    newcombe,
    paired_mean_change,
    sign_permutation_p,
)

SCHEMA_VERSION = 1
KIND = "ablation-comparison"


@dataclass(frozen=True, slots=True)
class Paired:
    """The rows that both reports answered in a line, with equal gold values; after less before.

    lost: rows right before and wrong after; gained: the other way round. `change` is (gained - lost) / n, its
    interval the cluster t over filings, at 95 %, `None` for one filing. `p` is McNemar's, exact, where each
    filing has one row, else that of the sign-permutation test over filings. `other_answers` counts completions
    that differ, `logprob_gap` is the largest difference of a gold value's log-probability, in nats.
    """

    n: int
    filings: int
    lost: int
    gained: int
    other_answers: int
    change: float
    interval: Interval | None
    p: float
    test: Literal["mcnemar", "sign permutation"]
    gold_logprob_change: float | None
    logprob_gap: float


@dataclass(frozen=True, slots=True)
class LineChange:
    """A line in both reports.

    `interval` is Newcombe's for the difference of the accuracies, as if the rows were others. A drop is the
    baseline's accuracy on the same tasks less the line's, and `None` where rows are missing. `other_heads`
    counts conditions that zeroed other heads than before. `parts` are the conditions of a pooled line.
    """

    name: str
    experiment: str
    conditions: tuple[str, ...]
    before: Level
    after: Level
    interval: Interval | None
    drop_before: float | None
    drop_after: float | None
    other_heads: int
    paired: Paired | None
    parts: tuple["LineChange", ...] = ()

    @property
    def accuracy_change(self) -> float | None:
        """The accuracy after less before, each of its own rows."""
        if self.before.accuracy is None or self.after.accuracy is None:
            return None
        return self.after.accuracy - self.before.accuracy

    @property
    def change(self) -> float | None:
        """The change on the same rows, or else of the accuracies."""
        return self.accuracy_change if self.paired is None else self.paired.change

    @property
    def is_equal(self) -> bool:
        """Whether figures, heads and answers are the same."""
        answers = self.paired is None or not (self.paired.other_answers or self.paired.lost or self.paired.gained)
        return self.before == self.after and not self.other_heads and answers


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """A gate's verdict in both reports, `None` where a report does not have the gate."""

    gate: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class RowChanges:
    """Rows that one report alone has samples of, and rows whose gold values differ; ids, sorted."""

    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    other_value: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs from `before` to `after`, and the lines that both have, equal ones too.

    `rows` is `None` where a report has no samples: then nothing is paired. `verdicts` are of every gate in
    either report, equal ones too.
    """

    before: str
    after: str
    setup: tuple[SetupChange, ...]
    lines: tuple[LineChange, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    rows: RowChanges | None
    verdicts: tuple[VerdictChange, ...]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs; log-probabilities may, in their last digits."""
        rows_equal = self.rows is None or self.rows == RowChanges()
        apart = self.setup or self.only_before or self.only_after or not rows_equal
        verdicts = all(each.before == each.after for each in self.verdicts)
        return not apart and verdicts and all(line.is_equal for line in self.lines)

    def as_json(self) -> dict[str, object]:
        """The whole comparison for a JSON file."""
        return {"schema_version": SCHEMA_VERSION, "kind": KIND, **asdict(self)}


Samples = Mapping[str, Mapping[str, Sample]]
"""By condition and row."""


@dataclass(frozen=True, slots=True)
class Source:
    """A report to compare: what to call it, its data, and its samples, `None` where none are known."""

    name: str
    data: ReportData
    samples: Sequence[Sample] | None


def compare(before: Source, after: Source) -> Comparison:
    """Compare two reports.

    Raises ReportError where a report's samples hold one row twice under one condition.
    """
    old, new = ({each.name: each for each in source.data.conditions} for source in (before, after))
    samples = None
    if before.samples is not None and after.samples is not None:
        samples = (_by_condition(before, before.samples), _by_condition(after, after.samples))
    return Comparison(
        before=before.name,
        after=after.name,
        setup=setup_changes(before.data, after.data),
        lines=tuple(
            _line(name, members, (before.data, after.data), samples)
            for name, members in _lines([old[name] for name in old.keys() & new.keys()]).items()
        ),
        only_before=tuple(sorted(old.keys() - new.keys())),
        only_after=tuple(sorted(new.keys() - old.keys())),
        rows=None if samples is None else _row_changes(*samples),
        verdicts=_verdicts(before.data, after.data),
    )


def _by_condition(source: Source, samples: Iterable[Sample]) -> Samples:
    found: dict[str, dict[str, Sample]] = {}
    for sample in samples:
        condition, row = sample.condition, sample.row
        if row in found.setdefault(condition, {}):
            raise ReportError(f"{source.name}: samples: row {row} twice under {condition}; expected it once; run again")
        found[condition][row] = sample
    return found


def _lines(conditions: Iterable[ConditionResult]) -> dict[str, tuple[ConditionResult, ...]]:
    """Each line's conditions, by its name: conditions without k first, then by experiment, k and name."""
    ordered = sorted(conditions, key=lambda each: (each.k is not None, each.experiment, each.k or 0, each.name))
    groups: dict[tuple[str, str], list[ConditionResult]] = {}
    for each in ordered:
        groups.setdefault((each.experiment, _pooled_setting(each)), []).append(each)
    names = {each.name for each in ordered}
    lines: dict[str, tuple[ConditionResult, ...]] = {}
    for (experiment, setting), members in groups.items():
        asked = [task for each in members for task in each.per_task]
        pooled = f"{experiment}[{setting}]"
        if len(members) > 1 and setting and len(asked) == len(set(asked)) and pooled not in names:
            lines[pooled] = tuple(members)
        else:
            lines.update({each.name: (each,) for each in members})
    return lines


def _pooled_setting(condition: ConditionResult) -> str:
    """What conditions of one line have in common; of a gate's controls also whose heads they control for."""
    if condition.k is None:
        return ""
    controlled = [] if condition.gate is None else [condition.gate]
    draw = [] if condition.seed is None else [f"seed{condition.seed}"]
    return "-".join([*controlled, *draw, f"k{condition.k:02d}"])


def _line(
    name: str,
    members: Sequence[ConditionResult],
    reports: tuple[ReportData, ReportData],
    samples: tuple[Samples, Samples] | None,
) -> LineChange:
    """`members` are the line's conditions, of either report."""
    names = tuple(each.name for each in members)
    old, new = ([each for each in report.conditions if each.name in names] for report in reports)
    before, after = (pooled_level(part for each in own for part in each.per_task.values()) for own in (old, new))
    heads = ({each.name: sorted(each.heads) for each in own} for own in (old, new))
    heads_before, heads_after = heads
    return LineChange(
        name=name,
        experiment=members[0].experiment,
        conditions=names,
        before=before,
        after=after,
        interval=newcombe((before.matches, before.n), (after.matches, after.n)),
        drop_before=_drop(reports[0], old, before),
        drop_after=_drop(reports[1], new, after),
        other_heads=sum(heads_before[each] != heads_after[each] for each in names),
        paired=None if samples is None else _paired(names, *samples),
        parts=tuple(_line(each.name, [each], reports, samples) for each in members) if len(members) > 1 else (),
    )


def _drop(report: ReportData, conditions: Sequence[ConditionResult], line: Level) -> float | None:
    """The drop over the line's tasks; `None` where rows are missing, so that it is always a paired one."""
    if any(each.name == "baseline" for each in conditions):
        return None
    if all(each.only_right for each in conditions):  # untouched, all of these rows are right
        return None if line.accuracy is None or line.n < line.requested else 1 - line.accuracy
    baseline = level(report, "baseline", {task for each in conditions for task in each.per_task})
    if baseline is None or baseline.accuracy is None or line.accuracy is None:
        return None
    whole = baseline.n == baseline.requested == line.requested == line.n
    return baseline.accuracy - line.accuracy if whole else None


def _paired(names: Sequence[str], before: Samples, after: Samples) -> Paired | None:
    pairs = [pair for name in sorted(names) for pair in _pairs(before.get(name, {}), after.get(name, {}))]
    if not pairs:
        return None
    changes = [int(new.match) - int(old.match) for old, new in pairs]
    clusters = [new.cluster for _, new in pairs]
    sums: dict[str, int] = {}
    for cluster, change in zip(clusters, changes, strict=True):
        sums[cluster] = sums.get(cluster, 0) + change
    lost, gained = changes.count(-1), changes.count(1)
    mean = cluster_mean(changes, clusters)
    independent = len(sums) == len(pairs)
    permutation = sign_permutation_p(list(sums.values()))
    return Paired(
        n=len(pairs),
        filings=len({new.filename for _, new in pairs}),
        lost=lost,
        gained=gained,
        other_answers=sum(old.completion != new.completion for old, new in pairs),
        change=(gained - lost) / len(pairs),
        interval=None if mean is None else mean.interval(),
        p=mcnemar_p(lost, gained) if independent or permutation is None else permutation,
        test="mcnemar" if independent else "sign permutation",
        gold_logprob_change=paired_mean_change(
            [old.gold_logprob for old, _ in pairs], [new.gold_logprob for _, new in pairs]
        ),
        logprob_gap=max(map(_logprob_gap, pairs)),
    )


def _pairs(before: Mapping[str, Sample], after: Mapping[str, Sample]) -> Iterator[Pairing]:
    for row in sorted(before.keys() & after.keys()):
        if before[row].value == after[row].value:
            yield before[row], after[row]


def _logprob_gap(pair: Pairing) -> float:
    old, new = (sample.gold_logprob for sample in pair)
    return 0.0 if old is None or new is None else abs(new - old)


def _row_changes(before: Samples, after: Samples) -> RowChanges:
    old, new = (
        {row: sample.value for rows in samples.values() for row, sample in rows.items()} for samples in (before, after)
    )
    return RowChanges(
        only_before=tuple(sorted(old.keys() - new.keys())),
        only_after=tuple(sorted(new.keys() - old.keys())),
        other_value=tuple(sorted(row for row in old.keys() & new.keys() if old[row] != new[row])),
    )


def _verdicts(before: ReportData, after: ReportData) -> tuple[VerdictChange, ...]:
    old, new = (_verdict_by_gate(report) for report in (before, after))
    return tuple(VerdictChange(gate, old.get(gate), new.get(gate)) for gate in sorted(old.keys() | new.keys()))


def _verdict_by_gate(report: ReportData) -> dict[str, str]:
    return {str(gate.name): str(gate.verdict) for gate in report.gates}

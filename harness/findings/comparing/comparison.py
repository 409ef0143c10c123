"""What a comparison of two reports says: the setups, lines, rows and verdicts, each before and after.

A *line* is a condition, or the conditions of one experiment at one k that ask different tasks (`within_task` at
k = 5), which are pooled under the name `within_task[k05]`, as the summary pools them. Data alone: `compare` makes it,
`comparison_text` and `fail_expression` read it.
"""

from dataclasses import asdict, dataclass
from typing import Literal

from harness.findings.comparing.setup_changes import SetupChange
from harness.findings.report.curves import Level
from harness.findings.stats import Interval

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

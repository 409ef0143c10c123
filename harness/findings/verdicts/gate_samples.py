"""What a gate compares: samples on the same rows under every condition, and their sums by cluster, which decide.

Permutations are asked on the rows alone that the untouched model answers rightly; what they are held against is summed
over these rows too. What is summed is a number a sample, by default whether it matches.

Here also stands what must hold for sums to say anything (`Premises`). Knows nothing of verdicts (`gates`) or of how
samples come about.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any

from harness.choices import GateOutcome
from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.gate_conditions import Gate, Nested, Part
from harness.experiment.plan import covers
from harness.findings.samples import Sample, TextSample, by_condition
from harness.retrieval.rows import Row


@dataclass(frozen=True, slots=True)
class ClusterSums:
    """The outcome judged, summed over one cluster's `n` rows, from 0 to 1 a row.

    On all rows: untouched and absent, by the untouched model and with the needle left out; judged and controls, under
    each set of heads; lowest, under as many lowest-scoring heads, where these are known. right: how many answers the
    untouched model gets right, and wrong with the needle left out.

    On the `answered` rows alone, which the untouched model answers rightly: kept, under the judged heads; permutations,
    under each of them; kept_by_lowest. What they are held against is `untouched` too: of other rows nothing is in it.
    """

    n: int
    untouched: float
    absent: float
    right: int
    judged: float
    controls: tuple[float, ...]
    answered: int
    kept: float
    permutations: tuple[float, ...]
    lowest: float | None = None
    kept_by_lowest: float | None = None


@dataclass(frozen=True, slots=True)
class GateData:
    """The clusters' sums, with as many draws in each as `n_controls` and `n_permutations` say."""

    n_controls: int
    n_permutations: int
    clusters: tuple[ClusterSums, ...]

    @property
    def n_rows(self) -> int:
        """Rows of all clusters."""
        return sum(cluster.n for cluster in self.clusters)

    @property
    def n_answered(self) -> int:
        """Of these, rows that the untouched model answers rightly: what permutations are compared on."""
        return sum(cluster.answered for cluster in self.clusters)

    @property
    def n_clusters(self) -> int:
        """Clusters."""
        return len(self.clusters)

    @property
    def untouched(self) -> float:
        """The untouched model's outcome, summed over all rows."""
        return math.fsum(cluster.untouched for cluster in self.clusters)

    def lost(self) -> float:
        """The share of all rows that the judged heads cost."""
        return (self.untouched - math.fsum(cluster.judged for cluster in self.clusters)) / self.n_rows

    def lost_to_controls(self) -> tuple[float, ...]:
        """The same of each control."""
        return tuple(
            (self.untouched - math.fsum(cluster.controls[i] for cluster in self.clusters)) / self.n_rows
            for i in range(self.n_controls)
        )

    def lost_of_answered(self) -> float:
        """The share of the answered rows that the judged heads cost."""
        return (self.untouched - math.fsum(cluster.kept for cluster in self.clusters)) / self.n_answered

    def lost_to_permutations(self) -> tuple[float, ...]:
        """The same of each permutation."""
        return tuple(
            (self.untouched - math.fsum(cluster.permutations[i] for cluster in self.clusters)) / self.n_answered
            for i in range(self.n_permutations)
        )

    def lost_to_lowest(self) -> float | None:
        """The share of all rows that the lowest-scoring heads cost; `None` where these are unknown."""
        kept = [cluster.lowest for cluster in self.clusters if cluster.lowest is not None]
        return (self.untouched - math.fsum(kept)) / self.n_rows if kept else None


@dataclass(frozen=True, slots=True)
class Premises:
    """What must hold for the sums to say anything, and what is known of the permutations.

    missing: conditions that lack sound records, each with how many. candidates: control heads that are some task's
    candidates. leaked_filings: evaluated filings that also made the ranking, `None` where that is unknown; how they
    were known. held_out: the user vouches that none did, where that is unknown. broken: how the judged heads break the
    model, where they do. n_sets: how many different sets permutations can give; enough_heads and enough_layers: the k,
    and the layers of a stratum, that would give enough for a rank p of 0.05. held: the share of the judged heads that a
    permutation holds in the mean.
    """

    missing: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    leaked_filings: int | None = None
    leaked_how: str = ""
    held_out: bool = False
    broken: str | None = None
    n_sets: int | None = None
    enough_heads: int | None = None
    enough_layers: int | None = None
    held: float | None = None

    @property
    def may_have_leaked(self) -> bool:
        """Whether nobody knows, or vouches, that the evaluated filings did not make the ranking."""
        return self.leaked_filings is None and not self.held_out


Measure = Callable[[Sample], float | None]
"""What is judged of a sample, from 0 to 1; `None` where it is unknown."""


def matches(sample: Sample) -> float:
    """1 where the answer is right."""
    return float(sample.match)


def probability(sample: Sample) -> float | None:
    """Of the right value's tokens where the untouched model says them; known of rows that it answers rightly."""
    return None if sample.value_logprob is None else math.exp(sample.value_logprob)


MEASURES: Mapping[GateOutcome, Measure] = MappingProxyType({"accuracy": matches, "likelihood": probability})
"""What may be judged, by name."""


@dataclass(frozen=True)
class Answers:
    """What a run knows: samples of questions and of plain text, by condition and row."""

    samples: Mapping[str, Mapping[str, Sample]]
    texts: Mapping[str, Mapping[str, TextSample]]

    @cached_property
    def wrong(self) -> frozenset[str]:
        """The rows that the untouched model is known to answer wrongly."""
        return frozenset(row for row, sample in self.samples.get(BASELINE.name, {}).items() if not sample.match)

    @classmethod
    def of(cls, samples: Sequence[Sample], texts: Sequence[TextSample]) -> "Answers":
        """Gathered from lists."""
        return cls(by_condition(samples), by_condition(texts))

    def has(self, condition: Condition, row: str) -> bool:
        """Whether this row has a sample under this condition."""
        known = self.texts if condition.prompt == "plain_text" else self.samples
        return row in known.get(condition.name, {})


def rows_of(condition: Condition, rows: Sequence[Row], wrong: Collection[str] = ()) -> list[Row]:
    """The rows that it covers; `wrong` are those known to be answered wrongly untouched."""
    return [row for row in rows if covers(condition, row, wrong)]


def paired_sums(gate: Gate, rows: Sequence[Row], answers: Answers, outcome: Measure = matches) -> GateData:
    """The outcome summed by cluster, over the rows whose outcome is known under each condition of their part.

    Where several k are judged, a row's outcome under a family of heads is its mean over them.
    """
    gathered: dict[str, list[ClusterSums]] = {}
    for part in gate.parts:
        for row in complete_rows(gate, part, rows, answers):
            if (found := _of_row(gate, part, row, answers, outcome)) is not None:
                gathered.setdefault(row.cluster_name, []).append(found)
    clusters = tuple(_sum(of_rows) for of_rows in gathered.values())
    return GateData(gate.n_controls, gate.n_permutations, clusters)


def complete_rows(gate: Gate, part: Part, rows: Sequence[Row], answers: Answers) -> Iterator[Row]:
    """A part's rows that have a sample under each condition of the part and of the gate that asks them."""
    needed = [BASELINE, NEEDLE_ABSENT, *(condition for nested in part.sets for condition in nested)]
    if gate.lowest is not None:
        needed.append(gate.lowest)
    for row in rows_of(part.largest, rows):
        if all(answers.has(condition, row.id) for condition in needed if covers(condition, row, answers.wrong)):
            yield row


def lacking_samples(gate: Gate, rows: Sequence[Row], answers: Answers, outcome: Measure = matches) -> tuple[str, ...]:
    """Conditions that lack samples, each with how many of how many rows.

    A sample whose outcome is unknown is lacking too, where the untouched model's is known.
    """

    def is_lacking(condition: Condition, row: str) -> bool:
        if not answers.has(condition, row):
            return True
        if condition.prompt != "full" or not answers.has(BASELINE, row):
            return False
        known, before = (answers.samples[each.name][row] for each in (condition, BASELINE))
        return outcome(known) is None and outcome(before) is not None

    names = []
    covered = {row.id for part in gate.parts for row in rows_of(part.largest, rows)}
    for condition in gate.conditions:
        asked = [row.id for row in rows_of(condition, rows, answers.wrong) if row.id in covered]
        lacking = sum(is_lacking(condition, row) for row in asked)
        if lacking:
            names.append(f"{condition.name} ({lacking} of {len(asked)} rows)")
    return tuple(names)


def _of_row(gate: Gate, part: Part, row: Row, answers: Answers, outcome: Measure) -> ClusterSums | None:
    """One row's outcome under each set of heads; `None` where one of them is unknown."""

    def of(condition: Condition) -> Sample:
        return answers.samples[condition.name][row.id]

    def mean(nested: Nested) -> float:
        values = [outcome(of(condition)) for condition in nested]
        return sum(math.nan if value is None else value for value in values) / len(nested)

    before, without = of(BASELINE), of(NEEDLE_ABSENT)
    judged, lowest = mean(part.judged), None if gate.lowest is None else mean((gate.lowest,))
    answered = row.id not in answers.wrong
    found = ClusterSums(
        n=1,
        untouched=mean((BASELINE,)),
        absent=float(without.match),
        right=int(before.match and not without.match),
        judged=judged,
        controls=tuple(mean(nested) for nested in part.controls[: gate.n_controls]),
        answered=int(answered),
        kept=judged * answered,
        permutations=tuple(mean(nested) if answered else 0.0 for nested in part.permutations[: gate.n_permutations]),
        lowest=lowest,
        kept_by_lowest=None if lowest is None else lowest * answered,
    )
    known = (found.untouched, found.judged, *found.controls, *found.permutations, found.lowest or 0.0)
    return found if all(map(math.isfinite, known)) else None


def _sum(rows: Sequence[ClusterSums]) -> ClusterSums:
    return ClusterSums(*(_total([getattr(row, each.name) for row in rows]) for each in fields(ClusterSums)))


def _total(values: Sequence[Any]) -> Any:
    """The sum of numbers, or of tuples place by place; `None` of nothing else."""
    if isinstance(values[0], tuple):
        return tuple(map(sum, zip(*values, strict=True)))
    return None if None in values else sum(values)

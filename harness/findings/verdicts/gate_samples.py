"""The samples that a gate compares: on the same rows under every condition, gathered by filing.

Knows nothing of verdicts (`gates`) or of how samples come about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.gate_conditions import Gate, Part
from harness.findings.samples import Sample, TextSample
from harness.findings.verdicts.gates import FilingCounts, GateData
from harness.retrieval.rows import Row


@dataclass(frozen=True)
class Answers:
    """What a run knows: samples of questions and of plain text, by condition and row."""

    samples: Mapping[str, Mapping[str, Sample]]
    texts: Mapping[str, Mapping[str, TextSample]]

    @classmethod
    def of(cls, samples: Sequence[Sample], texts: Sequence[TextSample]) -> "Answers":
        """Gathered from lists."""
        by_condition: dict[str, dict[str, Sample]] = {}
        for sample in samples:
            by_condition.setdefault(sample.condition, {})[sample.row] = sample
        text_of: dict[str, dict[str, TextSample]] = {}
        for text in texts:
            text_of.setdefault(text.condition, {})[text.row] = text
        return cls(by_condition, text_of)

    def has(self, condition: Condition, row: str) -> bool:
        """Whether this row has a sample under this condition."""
        known = self.texts if condition.prompt == "plain_text" else self.samples
        return row in known.get(condition.name, {})


def rows_of(condition: Condition, rows: Sequence[Row]) -> list[Row]:
    """The rows of its tasks."""
    return [row for row in rows if condition.tasks is None or row.task in condition.tasks]


def paired_counts(
    parts: Sequence[Part], rows: Sequence[Row], answers: Answers, *, needle_absent: bool = True
) -> GateData:
    """Matches by cluster, over the rows that have a sample under each condition of their part.

    Without `needle_absent` the needle-absent run is not needed, and counts as wrong everywhere.
    """
    n_draws = min((len(part.controls) for part in parts), default=0)
    gathered: dict[str, list[tuple[int, ...]]] = {}
    for part in parts:
        needed = [BASELINE, part.retrieval, *part.controls[:n_draws], *([NEEDLE_ABSENT] if needle_absent else [])]
        for row in rows_of(part.retrieval, rows):
            if all(answers.has(condition, row.id) for condition in needed):
                matches = tuple(int(answers.samples[condition.name][row.id].match) for condition in needed)
                gathered.setdefault(row.cluster_name, []).append(matches)
    filings = []
    for of_rows in gathered.values():
        baseline, retrieval, *others = (sum(matches) for matches in zip(*of_rows, strict=True))
        absent = others[n_draws] if needle_absent else 0
        filings.append(FilingCounts(len(of_rows), baseline, retrieval, absent, tuple(others[:n_draws])))
    return GateData(n_draws, tuple(filings))


def lacking_samples(gate: Gate, rows: Sequence[Row], answers: Answers) -> tuple[str, ...]:
    """Conditions that lack samples, each with how many of how many rows."""
    names = []
    covered = {row.id for part in gate.parts for row in rows_of(part.retrieval, rows)}
    for condition in gate.conditions:
        asked = [row.id for row in rows_of(condition, rows) if row.id in covered]
        lacking = sum(not answers.has(condition, row) for row in asked)
        if lacking:
            names.append(f"{condition.name} ({lacking} of {len(asked)} rows)")
    return tuple(names)

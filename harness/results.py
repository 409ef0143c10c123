"""What tests assert on: a condition's result, and a gate's verdict, from their parts of the report."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.experiment.conditions import Condition
from harness.findings.report.report_data import ConditionResult
from harness.findings.verdicts.verdict_data import GateResult


@dataclass(frozen=True)
class Result:
    """What a test of a condition asserts on: the condition, and its part of the report."""

    condition: Condition
    figures: ConditionResult

    @property
    def n(self) -> int:
        """Rows with a sound record."""
        return self.figures["n"]

    @property
    def missing(self) -> int:
        """Rows asked for that have none."""
        return self.figures["requested"] - self.n

    @property
    def accuracy(self) -> float | None:
        """Matches of the n rows; `None` where n is 0."""
        return self.figures["accuracy"]

    @property
    def interval(self) -> list[float] | None:
        """Wilson 95 % interval of the accuracy."""
        return self.figures["interval"]

    @property
    def drop(self) -> float | None:
        """The baseline's accuracy minus this one's, on the same rows."""
        drop = self.figures["drop"]
        return None if drop is None else drop["estimate"]

    def properties(self) -> Iterator[tuple[str, object]]:
        """Scalars for a test's `user_properties`."""
        yield "condition", self.condition.name
        yield "k_effective", self.condition.k_effective
        for name in ("n", "missing", "accuracy", "drop"):
            yield name, getattr(self, name)


@dataclass(frozen=True, repr=False)
class GateVerdict:
    """What a gate's test asserts on: its part of the report, and a `message` to read where it did not pass.

    Its repr, which pytest shows of a bare `assert verdict.passed`, is the message's first line and the reasons.
    """

    figures: GateResult
    passed: bool
    message: str

    def __repr__(self) -> str:
        return f"<{'; '.join([self.message.partition(chr(10))[0], *self.figures['reasons']])}>"

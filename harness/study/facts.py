"""Facts asked beside a study: the same heads zeroed on questions that need no document.

A run of its own over the study's store, whose rows are the facts: planned, claimed, answered and kept as all rows are.
Every set of heads is asked every fact, whatever task it is the best of. Knows nothing of what the answers say of heads.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.gate_conditions import TEXT_CONTROLS, Gate
from harness.findings.damage import elsewhere
from harness.findings.samples import Sample, score_samples
from harness.findings.verdicts.verdict_data import FactsLost
from harness.retrieval.facts import FACTS, Fact, fact_rows, read_facts
from harness.settings import Settings
from harness.study.crew import Crew, Engine
from harness.study.forecast import Forecast, forecast
from harness.study.inputs import values_of
from harness.study.progress import Progress
from harness.study.run import Run


def asked_facts(settings: Settings) -> tuple[Fact, ...]:
    """The facts that the settings name; none by default. Raises DataError where their file is bad."""
    if settings.facts is None:
        return ()
    return read_facts(settings.facts) if isinstance(settings.facts, Path) else FACTS


@dataclass(frozen=True)
class FactsRun:
    """The facts, asked of the model of a study's run."""

    run: Run

    @classmethod
    def beside(cls, run: Run, facts: Sequence[Fact]) -> "FactsRun":
        """Over the same store."""
        tasks, rows = fact_rows(facts)
        inputs = replace(run.inputs, tasks=tasks, rows=rows, all_rows=rows, values=values_of(rows))
        return cls(Run(inputs, run.store, run_id=run.id, share=run.share, workers=run.workers))

    def ask(
        self, conditions: Iterable[Condition], load: Callable[[], Engine | Crew], progress: Callable[[Progress], None]
    ) -> None:
        """Ask the untouched model, and the model without these conditions' heads, what is not stored."""
        self.run.execute(_over_facts(conditions), load, progress)

    def is_done(self, conditions: Iterable[Condition]) -> bool:
        """Whether nothing is left to ask."""
        return self.run.is_done(_over_facts(conditions))

    def forecast(self, conditions: Iterable[Condition]) -> Forecast:
        """What asking them would cost."""
        return forecast(self.run, _over_facts(conditions))

    def answers(self, conditions: Iterable[Condition]) -> tuple[Sample, ...]:
        """What was said, under the names of the conditions."""
        asked = _over_facts(conditions)
        return score_samples(asked, self.run.inputs.rows, self.run.records(asked), self.run.inputs.score)


def _over_facts(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    every = dict.fromkeys((BASELINE, *conditions))
    return tuple(replace(each, prompt="needle_absent", tasks=None) for each in every)


def judged_sets(gate: Gate) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
    """The sets of heads of a gate that are asked facts: those judged, and some controls of each."""
    judged = tuple(part.largest for part in gate.parts)
    return judged, tuple(draw[-1] for part in gate.parts for draw in part.controls[:TEXT_CONTROLS])


def facts_lost(facts: FactsRun, gate: Gate) -> FactsLost | None:
    """What a gate's heads cost of the facts that the untouched model knows; `None` where nothing was asked."""
    judged, controls = judged_sets(gate)
    answers = facts.answers((*judged, *controls))
    ours, theirs = (
        elsewhere(members, answers, (), untouched=(BASELINE.name, BASELINE.name)) for members in (judged, controls)
    )
    if not ours.facts:
        return None
    return FactsLost(
        asked=ours.facts,
        known=ours.known,
        lost=ours.facts_lost,
        interval=ours.facts_interval,
        controls_lost=theirs.facts_lost,
    )

"""The same heads ablated in every way, on the same rows: what tells retrieval from damage, side by side.

Own heads, shared heads, and as many random heads of the own ones' layers, at one k. Each way is a run of its own over
one store and one loaded model; what comes of them is `harness.findings.damage`'s. Knows nothing of the command line.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.choices import Mode, Phase
from harness.errors import HeadsError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.experiments import Study, random_controls_for, shared_heads, within_task
from harness.experiment.store import Store
from harness.findings.damage import damage_shares
from harness.findings.samples import score_samples, text_samples
from harness.findings.ways import Elsewhere, WayResult, WaysData, elsewhere
from harness.retrieval.facts import Fact, fact_rows
from harness.settings import Settings
from harness.study.inputs import Inputs, read_inputs
from harness.study.outcome import run_outcome
from harness.study.progress import Progress
from harness.study.provenance import Beginning
from harness.study.run import Engine, Run


@dataclass(frozen=True, slots=True)
class Way:
    """A way of ablating, by its name."""

    name: str
    mode: Mode
    phase: Phase = "all"


WAYS = (
    Way("zeroed", "zero"),
    Way("zeroed at the answer", "zero", "decode"),
    Way("rescued at the answer", "rescue"),
    Way("another answer's donor", "resample"),
    Way("the same answer's donor", "resample_same"),
    Way("kept from the needle", "needle_edge"),
    Way("kept from as many others", "other_edge"),
    Way("kept from as much else", "mass_edge"),
)
"""Zeroing first: the others are set beside it."""


def conditions_at(study: Study, k: int) -> tuple[Condition, ...]:
    """The untouched model, each task's own heads, the shared heads if there are any, and controls of the own ones."""
    own = [condition for condition in within_task(study) if condition.k == k]
    try:
        shared = [condition for condition in shared_heads(study) if condition.k == k]
    except HeadsError:
        shared = []
    controls = [control for condition in own for control in random_controls_for(study, condition, gate="own")]
    return (BASELINE, *own, *shared, *controls)


def in_every_way(
    settings: Settings, ways: Sequence[Way], facts: Sequence[Fact], note: Callable[[str, Progress], None]
) -> WaysData:
    """Run what is not stored, at the settings' largest k, and set every way beside zeroing, the first of them.

    Zeroed, the same heads are asked the facts, and go on with plain text. `note` is told of every row, and of the way
    that it was asked in.

    Raises:
        HarnessError: something that was asked for cannot be used, or an ablation was unsound.
    """
    k = max(settings.k)
    every = {way: read_inputs(replace(settings, k=(k,), mode=way.mode, phase=way.phase)) for way in ways}
    first, results = every[ways[0]], list[WayResult]()
    conditions = conditions_at(first.study(), k)
    load, began = _OnceLoaded(first), Beginning()
    model = ""
    with Store(settings.store_file) as store:
        for way, inputs in every.items():
            run = Run(inputs, store, run_id="ways")
            run.execute(conditions, load, partial(note, way.name))
            outcome = run_outcome(run, conditions, _no_metrics, since=began, how="passed", root=Path.cwd())
            model = model if outcome.report.model is None else outcome.report.model.id
            shares = outcome.report.damage or damage_shares(conditions, outcome.samples, outcome.samples)
            results.append(WayResult(way=way.name, mode=way.mode, phase=inputs.manner.phase, shares=shares))
        beside = _elsewhere(first, store, conditions, facts, load, note)
    return WaysData(
        model=model,
        source=first.source,
        k=k,
        rows=len(first.rows),
        clusters=len({row.cluster_name for row in first.rows}),
        draws=settings.gate_draws,
        ways=tuple(results),
        elsewhere=beside,
    )


class _OnceLoaded:
    """The model's engine, loaded at the first need."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._engine: Engine | None = None

    def __call__(self) -> Engine:
        from harness.model.generation.engines import ModelEngine

        if self._engine is None:
            self._engine = ModelEngine(self._inputs.model.load(), self._inputs.settings.engine)
        return self._engine


def _no_metrics(row: object, completion: str) -> Mapping[str, float]:
    return {}


def _elsewhere(
    inputs: Inputs,
    store: Store,
    conditions: Sequence[Condition],
    facts: Sequence[Fact],
    load: Callable[[], Engine],
    note: Callable[[str, Progress], None],
) -> tuple[Elsewhere, ...]:
    """The same heads zeroed over facts, every set over all of them, and over the rows' plain text."""
    tasks, rows = fact_rows(facts)
    knowing = Run(replace(inputs, tasks=tasks, rows=rows, all_rows=rows), store, run_id="ways")
    asked = [replace(each, prompt="needle_absent", tasks=None) for each in conditions]
    knowing.execute(asked, load, partial(note, "facts"))
    answers = score_samples(asked, rows, knowing.records(asked), knowing.inputs.score)
    reading = Run(inputs, store, run_id="ways")
    read = [replace(each, prompt="plain_text") for each in conditions]
    reading.execute(read, load, partial(note, "plain text"))
    texts = text_samples(
        read, inputs.rows, reading.records(read), lambda row_id: len(reading.prompt(row_id, "plain_text").value_ids)
    )
    groups: dict[tuple[str, int | None], list[Condition]] = {}
    for condition in conditions:
        if condition.heads:
            groups.setdefault((condition.experiment, condition.k), []).append(condition)
    untouched = BASELINE.name, BASELINE.name
    return tuple(elsewhere(members, answers, texts, untouched=untouched) for members in groups.values())

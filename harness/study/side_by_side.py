"""Studies that set things side by side, for commands: the same heads ablated in every way, and heads of every ranking.

What tells retrieval from damage: own heads, shared heads, and as many random heads of the own ones' layers, at one k.
Each way is a run of its own over one store and one loaded model; what comes of them is `harness.findings.damage`'s.

Which ranking names the heads that are needed most: each one's best heads zeroed on the evaluation rows, and as many
random ones, drawn from those that no ranking has among its candidates, the same for all of them. What they say of the
rankings is `harness.findings.rankings.ranking_comparison`'s concern.

Answers come from the store, or are computed and kept there, as in any study. Knows nothing of the command line.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from harness.choices import Mode, Phase
from harness.errors import HeadsError
from harness.experiment.conditions import BASELINE, RANDOM, Condition
from harness.experiment.experiments import Study, random_controls_for, shared_heads, shuffled, within_task
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Head
from harness.experiment.rankings import HeadRanking
from harness.experiment.store import Store
from harness.findings.damage import Elsewhere, WayResult, WaysData, damage_shares, elsewhere
from harness.findings.rankings.ranking_comparison import MethodAreas, method_areas
from harness.findings.samples import score_samples, text_samples
from harness.retrieval.facts import Fact
from harness.retrieval.rows import filing_hash
from harness.settings import Settings
from harness.study.crew import Engine
from harness.study.facts import FactsRun
from harness.study.inputs import Inputs, read_inputs
from harness.study.outcome import run_outcome
from harness.study.progress import Progress
from harness.study.provenance import Beginning
from harness.study.run import Run, engine_of


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
    load, began = cache(lambda: engine_of(first)), Beginning()
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
    reading = Run(inputs, store, run_id="ways")
    knowing = FactsRun.beside(reading, facts)
    knowing.ask(conditions, load, partial(note, "facts"))
    answers = knowing.answers(conditions)
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


def rank_methods(
    settings: Settings, files: Sequence[Path], progress: Callable[[Progress], None], note: Callable[[str], None]
) -> MethodAreas:
    """Zero each ranking's best heads, task by task, and measure; `note` is told what bears on trusting it.

    Raises:
        HarnessError: a file, a row or the model is bad; a ranking was made from filings that would be evaluated; too
            few heads are left for random draws.
    """
    inputs = read_inputs(replace(settings, heads=files[0]))
    rankings = _named(files, [read_ranking(file, top_k=max(settings.k)) for file in files])
    for ranking in rankings.values():
        ranking.check_shape(inputs.shape)
        ranking.restrict(inputs.tasks)
        _check_split(ranking, inputs, note)
    methods = {name: _conditions(name, ranking, inputs) for name, ranking in rankings.items()}
    draws = _random_draws(inputs, rankings)
    conditions = [BASELINE, *(each for of_one in (*methods.values(), *draws) for each in of_one)]
    with Store(settings.store_file) as store:
        run = Run(inputs, store, run_id="rank-methods")
        run.execute(conditions, lambda: engine_of(inputs), progress)
        samples = score_samples(conditions, inputs.rows, run.records(conditions), inputs.score, manner=inputs.manner)
    answers: dict[str, dict[str, bool]] = {}
    for sample in samples:
        answers.setdefault(sample.condition, {})[sample.row] = sample.match

    def by_k(of_one: Sequence[Condition]) -> dict[int, dict[str, bool]]:
        """Each k's answers: those of every task's own condition together."""
        found: dict[int, dict[str, bool]] = {}
        for condition in of_one:
            found.setdefault(condition.k or 0, {}).update(answers[condition.name])
        return found

    return method_areas(
        {row.id: row.cluster_name for row in inputs.rows},
        answers[BASELINE.name],
        {name: by_k(of_one) for name, of_one in methods.items()},
        [by_k(of_one) for of_one in draws],
        rankings,
        tuple(inputs.tasks),
    )


def _named(files: Sequence[Path], rankings: Sequence[HeadRanking]) -> dict[str, HeadRanking]:
    """By their methods' names; by their files too, where those do not tell them apart."""
    for file in files:
        if [other.resolve() for other in files].count(file.resolve()) > 1:
            raise HeadsError(f"{file}: given twice; expected different rankings; leave one out")
    methods = [ranking.full_method or ranking.source for ranking in rankings]
    return {
        method if methods.count(method) == 1 else f"{method} ({file})": ranking
        for file, method, ranking in zip(files, methods, rankings, strict=True)
    }


def _check_split(ranking: HeadRanking, inputs: Inputs, note: Callable[[str], None]) -> None:
    if ranking.filing_hashes is None:
        note(f"{ranking.source}: does not say which filings it was made from; they may be among those evaluated")
        return
    seed = ranking.split_seed or 0
    made_from = {row.filename for row in inputs.rows if filing_hash(row.filename, seed) in ranking.filing_hashes}
    if made_from:
        raise HeadsError(
            f"{ranking.source}: made from {len(made_from)} of the filings that would be evaluated; expected rankings "
            "of one split; make them with the same --seed, --split-share and data"
        )


def _conditions(name: str, ranking: HeadRanking, inputs: Inputs) -> list[Condition]:
    """Each task's own best heads on its rows."""
    label = re.sub(r"[^A-Za-z0-9_.+-]", "_", name)
    return [
        Condition(label, f"{task}-k{k:02d}", _first(ranking, task, k), tasks=(task,), k=k, source_task=task)
        for task in inputs.tasks
        for k in inputs.settings.k
    ]


def _first(ranking: HeadRanking, task: str, k: int) -> tuple[Head, ...]:
    heads = ranking.candidates(task)[:k]
    if len(heads) < k:
        raise HeadsError(
            f"{ranking.source}: {len(heads)} heads of {task}; expected at least the largest k, {k}, for areas are "
            "compared at equal k; ask for smaller --k"
        )
    return heads


def _random_draws(inputs: Inputs, rankings: Mapping[str, HeadRanking]) -> list[list[Condition]]:
    """Nested in k, from the heads that no ranking has among its candidates, of whatever layer.

    One zero for all methods, which name heads of different layers: what one is ahead of another does not hang on it.
    """
    settings, most = inputs.settings, max(inputs.settings.k)
    taken = frozenset[Head]().union(*(_candidates(ranking, inputs, most) for ranking in rankings.values()))
    pool = [head for head in inputs.shape.heads() if head not in taken]
    if len(pool) < 2 * most:
        raise HeadsError(
            f"{len(pool)} heads are no ranking's candidates; expected at least {2 * most}, twice the largest k, for "
            "random draws; ask for smaller --k"
        )
    orders = [shuffled(pool, inputs.shape, seed=settings.seed, draw=draw) for draw in range(settings.random_draws)]
    return [
        [Condition(RANDOM, f"seed{draw}-k{k:02d}", order[:k], k=k, seed=draw) for k in settings.k]
        for draw, order in enumerate(orders)
    ]


def _candidates(ranking: HeadRanking, inputs: Inputs, k: int) -> frozenset[Head]:
    return frozenset(head for task in inputs.tasks for head in ranking.candidates(task)[:k])

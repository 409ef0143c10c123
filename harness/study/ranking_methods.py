"""A study of rankings: each one's best heads zeroed on the evaluation rows, and as many random ones.

Random heads are drawn from those that no ranking has among its candidates, the same for all of them. Answers come from
the store, or are computed and kept there, as in any study. What they say of the rankings is
`harness.findings.rankings.method_areas`'s concern. Knows nothing of pytest.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import HeadsError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.experiments import shuffled
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Head
from harness.experiment.rankings import HeadRanking
from harness.experiment.store import Store
from harness.findings.rankings.method_areas import MethodAreas, method_areas
from harness.findings.samples import score_samples
from harness.retrieval.rows import filing_hash
from harness.settings import Settings
from harness.study.inputs import Inputs, read_inputs
from harness.study.progress import Progress
from harness.study.run import Engine, Run


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
    settings.store_file.parent.mkdir(parents=True, exist_ok=True)
    with Store(settings.store_file) as store:
        run = Run(inputs, store, run_id="rank-methods")
        run.execute(conditions, lambda: _engine(inputs), progress)
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
    """Nested in k, from the heads that no ranking has among its candidates."""
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
        [Condition("random_control", f"seed{draw}-k{k:02d}", order[:k], k=k, seed=draw) for k in settings.k]
        for draw, order in enumerate(orders)
    ]


def _candidates(ranking: HeadRanking, inputs: Inputs, k: int) -> frozenset[Head]:
    return frozenset(head for task in inputs.tasks for head in ranking.candidates(task)[:k])


def _engine(inputs: Inputs) -> Engine:
    from harness.model.generation.engines import ModelEngine

    return ModelEngine(inputs.model.load(), inputs.settings.engine)

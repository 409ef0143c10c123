"""A study that never ran: 8 layers of 16 heads, nine tasks, 24 filings, every experiment, seeded.

The fake model answers a row unless too much of what the row's task rests on is zeroed. A head's weight is its
score for that task; every row has its own threshold, so conditions are paired as real ones are. Seven heads
serve every task: `general` runs out of heads at k = 10.
"""

import random
from collections.abc import Collection, Sequence
from functools import cache

from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.experiments import EXPERIMENTS, Study
from harness.experiment.heads import Head, ModelShape
from harness.experiment.plan import Job, jobs_of
from harness.experiment.rankings import HeadRanking, rank
from harness.experiment.record import Completion, Record
from harness.findings.report.report_data import DataInfo, ExcludedRow, ModelSection, ReportData, RunInfo
from harness.findings.report.report_writing import Setup, build_report
from harness.findings.samples import Sample, score_samples
from harness.retrieval.rows import Row
from harness.retrieval.tasks import EDGAR_TASKS

TASKS = tuple(EDGAR_TASKS)
KS = (1, 2, 5, 10, 20)
SHAPE = ModelShape(8, 16, head_dim=24)


def make_ranking(shape: ModelShape = SHAPE, tasks: Sequence[str] = TASKS) -> HeadRanking:
    """Seven heads of the upper layers serve every task, fourteen more serve one; the rest is noise."""
    generator = random.Random(11)
    heads = list(shape.heads())
    upper = [head for head in heads if head.layer >= shape.n_layers // 3]
    common = dict(zip(generator.sample(upper, 7), (0.55, 0.5, 0.42, 0.36, 0.32, 0.28, 0.25), strict=True))
    scores: dict[str, list[list[float]]] = {}
    for task in tasks:
        own = {head: generator.uniform(0.1, 0.5) for head in generator.sample(upper, 14)}
        scores[task] = [
            [
                common.get(Head(layer, head), 0.0) * generator.uniform(0.6, 1.4)
                + own.get(Head(layer, head), 0.0)
                + generator.expovariate(60)
                for head in range(shape.n_heads)
            ]
            for layer in range(shape.n_layers)
        ]
    return rank(scores, top_k=20, method="summed_attention", samples=dict.fromkeys(tasks, 80))


def make_rows(tasks: Sequence[str] = TASKS, n_filings: int = 24) -> tuple[Row, ...]:
    return tuple(
        Row(f"filing_{i:03d}.txt", task, f"The {task} is {i} units.", str(i), "Nothing here. " * 20)
        for i in range(n_filings)
        for task in tasks
    )


def make_conditions(
    ranking: HeadRanking,
    tasks: Sequence[str] = TASKS,
    ks: tuple[int, ...] = KS,
    experiments: Collection[str] | None = None,
    shape: ModelShape = SHAPE,
) -> tuple[Condition, ...]:
    """The baseline and these experiments (`None`: all that run unasked), and the needle left out."""
    study = Study(ranking, shape, tuple(tasks), ks)
    chosen = (
        EXPERIMENTS.keys() - {"across_exclusive", "single", "leave_one_in"} if experiments is None else set(experiments)
    )
    asked = [condition for name, build in EXPERIMENTS.items() if name in chosen for condition in build(study)]
    absent = [NEEDLE_ABSENT] if experiments is None else []
    return (BASELINE, *absent, *asked)


def answer(row: Row, condition: Condition, ranking: HeadRanking) -> Record:
    """The right value while more than the row's threshold of its task is left, else another number."""
    scores = (ranking.mean_scores or {})[row.task]
    lost = sum(scores[head.layer][head.head] for head in condition.heads)
    whole = sum(sorted((score for layer in scores for score in layer), reverse=True)[:20])
    generator = random.Random(row.id)
    strength = generator.uniform(0.0, 1.04)
    damage = random.Random(str(condition.heads)).uniform(0.0, 0.006) * len(condition.heads)
    left = (1.0 - lost / whole) ** 1.5 - damage if condition.prompt == "full" else 0.02
    right = strength < left
    text = f"{row.needle_value}." if right else str(7000 + generator.randrange(1000))
    return Record(
        job=Job(row.id, frozenset(condition.heads), condition.prompt),
        completion=Completion(
            token_ids=tuple(range(len(text))),
            end_token_id=2,
            gold_logprob=-0.05 - 6.0 * (1.0 - left) - 0.3 * strength,
            baseline_logprob=-0.04 - 5.0 * (1.0 - left),
            hooks_fired=len({head.layer for head in condition.heads}),
            smallest_gap=1.0,
        ),
        text=text,
        seconds=0.01,
    )


def make_records(conditions: Sequence[Condition], rows: Sequence[Row], ranking: HeadRanking) -> dict[Job, Record]:
    by_id = {row.id: row for row in rows}
    return {
        job: answer(by_id[job.row_id], condition, ranking)
        for condition in conditions
        for job in jobs_of(condition, rows)
    }


def score(row: Row, completion: str) -> tuple[bool, bool]:
    return completion == f"{row.needle_value}.", row.needle_value in completion


def make_setup(ranking: HeadRanking | None, shape: ModelShape = SHAPE) -> Setup:
    return Setup(
        run=RunInfo(
            name="latest", started="2026-01-02T03:04:05+00:00", seconds=12.5, exit="passed", command="pytest evals"
        ),
        configuration={"k": list(KS), "seed": 0, "gate-margin": 0.1, "model": None},
        versions={"harness": "0.1.0", "python": "3.11.9", "torch": None},
        model=ModelSection(
            id="demo", n_layers=shape.n_layers, n_heads=shape.n_heads, head_dim=24, dtype="float32", device="cpu"
        ),
        ranking=ranking,
        data=DataInfo(
            source="demo",
            split_seed=0,
            excluded=(ExcludedRow(row="filing_900.txt/ceo_lastname", reason="needle is in the haystack"),),
            ranking_overlap=0,
        ),
    )


def make_report(
    tasks: Sequence[str] = TASKS,
    ks: tuple[int, ...] = KS,
    experiments: Collection[str] | None = None,
    n_filings: int = 24,
    shape: ModelShape = SHAPE,
) -> tuple[ReportData, tuple[Sample, ...]]:
    ranking, rows = make_ranking(shape, tasks), make_rows(tasks, n_filings)
    conditions = make_conditions(ranking, tasks, ks, experiments, shape)
    samples = score_samples(conditions, rows, make_records(conditions, rows, ranking), score)
    return build_report(make_setup(ranking, shape), conditions, rows, samples), samples


@cache
def whole_report() -> ReportData:
    """Nine tasks, all experiments; not to be changed by those who read it."""
    return make_report()[0]

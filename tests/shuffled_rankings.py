"""How often a gate passes rankings that are none: the heads of a ranking exchanged at random, judged as shipped.

    python -m tests.shuffled_rankings                        100 shufflings of the demo's ranking, all three gates
    python -m tests.shuffled_rankings --seeds 3 --whole      three of them, every gate computed whole
    python -m tests.shuffled_rankings --device-map cuda      on a GPU; or, on many cores, --processes 8

One permutation of all heads of the model is applied to every task's scores, so that what tasks' lists share stays
shared; `--layers 1` exchanges heads within their layers alone, which costs more, for many of these lose much. Each
ranking then has controls and permutations of its own, as in a study.

What costs is completions. The judged sets of all rankings are asked first, on the same rows, where they share work. A
gate passes only where the difference to its controls lies above the margin, and controls leave at most every row right:
where (rows - right under the judged heads) / right untouched is at most the margin, no controls and permutations could
make it pass, and they are not asked. All other gates are computed whole, and judged by `judge_gates`.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

from harness.choices import GateHeads
from harness.errors import HeadsError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.gate_conditions import Gate
from harness.experiment.heads import Head, ModelShape
from harness.experiment.permutations import permutation, strata
from harness.experiment.plan import Job, jobs_of
from harness.experiment.rankings import HeadRanking, Scores, rank
from harness.experiment.record import Record
from harness.experiment.store import Store
from harness.files import write_text
from harness.findings.samples import score_samples
from harness.settings import Settings
from harness.study.inputs import Inputs, read_inputs
from harness.study.judging import build_gate, judge_gates
from harness.study.progress import Progress
from harness.study.run import Run

FILE = "shuffled_rankings.json"
NOT_A_GATES = -1
"""The seed of these permutations: no gate draws its own by it."""
CANNOT = "cannot pass"
"""Of a gate whose judged heads lose too little for any controls."""


@dataclass(frozen=True, slots=True)
class Shuffled:
    """One gate on one shuffled ranking: its verdict, or `CANNOT`, and what its heads cost of the right answers."""

    seed: int
    gate: str
    verdict: str
    lost: float
    rank_p: float | None = None


def shuffled(ranking: HeadRanking, shape: ModelShape, seed: int, layers: int | None = None) -> HeadRanking:
    """The ranking with heads exchanged within so many neighbouring layers, the same way for every task.

    Raises HeadsError where not all scores are known.
    """
    if ranking.mean_scores is None:
        raise HeadsError(f"{ranking.source}: not all scores are known; expected a ranking that can be shuffled")
    to = permutation(strata(shape, layers), seed=NOT_A_GATES, draw=seed).to
    scores = {task: _exchanged(grid, to) for task, grid in ranking.mean_scores.items()}
    made = rank(scores, top_k=ranking.top_k, samples=ranking.samples, method=ranking.method, model=ranking.model)
    return replace(
        ranking,
        source=f"{ranking.source}, shuffled by {seed}",
        tasks=made.tasks,
        mean_scores=made.mean_scores,
        listed_shared=None,
        listed_global=None,
        stability=None,
    )


def _exchanged(grid: Scores, to: Mapping[Head, Head]) -> Scores:
    return tuple(
        tuple(grid[to[Head(layer, head)].layer][to[Head(layer, head)].head] for head in range(len(row)))
        for layer, row in enumerate(grid)
    )


def cannot_pass(n: int, untouched: int, judged: int, margin: float) -> bool:
    """Whether a gate fails (a) whatever its controls do: of n rows, right untouched and under the judged heads.

    No control leaves more than n right, and the interval's lower end is no higher than the difference itself.
    """
    return untouched == 0 or (n - judged) / untouched <= margin


def compute(conditions: Sequence[Condition], settings: Settings, processes: int) -> None:
    """Answer what is left of these conditions, in so many processes that share the store."""
    if processes == 1:
        _compute(0, conditions=conditions, settings=settings, workers=1)
        return
    work = partial(_compute, conditions=conditions, settings=settings, workers=processes)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(work, range(processes)))


def _compute(worker: int, *, conditions: Sequence[Condition], settings: Settings, workers: int) -> None:
    from harness.model.generation.engines import ModelEngine

    inputs = read_inputs(settings)
    with Store(settings.store_file) as store:
        run = Run(inputs, store, run_id="shuffled", share=worker / workers, workers=workers)
        run.execute(conditions, lambda: ModelEngine(inputs.model.load(), settings.engine), _say)


def _say(progress: Progress) -> None:
    if progress.rows_done % 20 == 0:
        print(progress, file=sys.stderr, flush=True)


def lost_to(gate: Gate, run: Run, records: Mapping[Job, Record]) -> tuple[int, int, int]:
    """Rows, right ones untouched, and right ones under the gate's judged heads."""
    inputs = run.inputs
    rows = {row.id: row for row in inputs.rows}
    judged = [job for part in gate.parts for job in jobs_of(part.largest, inputs.rows, inputs.manner)]

    def right(jobs: Sequence[Job]) -> int:
        return sum(inputs.score(rows[job.row_id], records[job].text)[0] for job in jobs)

    return len(judged), right([Job(job.row_id, frozenset()) for job in judged]), right(judged)


def judged_whole(gate: Gate, run: Run) -> tuple[str, float | None]:
    """The gate's verdict as a study gives it, and its rank p; everything is in the store."""
    inputs = run.inputs
    records = run.records(gate.conditions)
    samples = score_samples(gate.conditions, inputs.rows, records, inputs.score, manner=inputs.manner)
    (found,) = judge_gates(run, gate.conditions, records, samples).gates
    return found.verdict, found.rank_p


def try_seeds(
    settings: Settings,
    seeds: Sequence[int],
    gates: Sequence[str],
    *,
    layers: int | None = None,
    processes: int = 1,
    whole: bool = False,
) -> Iterator[Shuffled]:
    """Each gate on each shuffled ranking, whose heads are exchanged within so many layers (`None`: in the model)."""
    inputs = read_inputs(settings)
    prompts = inputs.prompts
    built: list[tuple[int, Inputs, Gate]] = []
    for seed in seeds:
        other = replace(inputs, ranking=shuffled(inputs.ranking, inputs.shape, seed, layers))
        built += [(seed, other, build_gate(other, name)) for name in gates]
    compute([BASELINE, *(part.largest for _, _, gate in built for part in gate.parts)], settings, processes)
    with Store(settings.store_file) as store:
        run = Run(inputs, store, run_id="shuffled")
        of_judged = [lost_to(gate, run, run.records(_of_judged(gate))) for _, _, gate in built]
    left = [
        gate
        for (_, _, gate), lost in zip(built, of_judged, strict=True)
        if whole or not cannot_pass(*lost, settings.margin_of(gate.heads))
    ]
    print(f"{len(left)} of {len(built)} gates are computed whole", file=sys.stderr, flush=True)
    compute([condition for gate in left for condition in gate.conditions], settings, processes)
    with Store(settings.store_file) as store:
        for (seed, other, gate), (_, untouched, judged) in zip(built, of_judged, strict=True):
            other.__dict__["prompts"] = prompts  # the same rows: built once
            verdict, p = judged_whole(gate, Run(other, store, run_id="shuffled")) if gate in left else (CANNOT, None)
            yield Shuffled(seed, gate.name, verdict, (untouched - judged) / max(1, untouched), p)


def _of_judged(gate: Gate) -> list[Condition]:
    return [BASELINE, *(part.largest for part in gate.parts)]


def main(argv: Sequence[str] | None = None) -> int:
    """Shuffle, judge, and write what came of it into a folder, which is made."""
    parser = argparse.ArgumentParser(prog="python -m tests.shuffled_rankings", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them")
    parser.add_argument("--gates", nargs="+", choices=get_args(GateHeads), default=list(get_args(GateHeads)))
    parser.add_argument("--layers", type=int, metavar="N", help="exchange heads within N layers (default: the model)")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="(default: all)")
    parser.add_argument("--max-rows", type=int, metavar="N")
    parser.add_argument("--whole", action="store_true", help="also what no controls could make pass")
    parser.add_argument("--device-map", metavar="DEVICE")
    parser.add_argument("--processes", type=int, default=1, metavar="N")
    parser.add_argument("--out", type=Path, default=Path("reports/shuffled_rankings"), metavar="FOLDER")
    parser.add_argument("--store", type=Path, help="what it holds is not computed again (default: in the folder)")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    store = (given.store or given.out / "store.sqlite").absolute()
    tasks = None if given.tasks is None else tuple(given.tasks)
    settings = Settings(k=(given.k,), tasks=tasks, max_rows=given.max_rows, device_map=given.device_map, store=store)
    seeds = range(given.first, given.first + given.seeds)
    began = time.monotonic()
    how = {"layers": given.layers, "processes": given.processes, "whole": given.whole}
    found = list(try_seeds(settings, seeds, given.gates, **how))
    verdicts = {gate: Counter(each.verdict for each in found if each.gate == gate) for gate in {f.gate for f in found}}
    document = {
        "schema_version": 1,
        "model": settings.model,
        "k": given.k,
        "layers": given.layers,
        "tasks": given.tasks,
        "max_rows": given.max_rows,
        "seeds": [seeds.start, seeds.stop],
        "whole": given.whole,
        "verdicts": {gate: dict(sorted(counts.items())) for gate, counts in sorted(verdicts.items())},
        "gates": [asdict(each) for each in found],
    }
    write_text(given.out / FILE, json.dumps(document, indent=1) + "\n")
    for gate, counts in sorted(verdicts.items()):
        print(f"{gate}: {counts['pass']} of {counts.total()} pass ({dict(sorted(counts.items()))})")
    print(f"{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How many rows a second one driver takes from a cluster's models, which do nothing but sleep.

    python -m tests.ray_throughput --json reports/bench/ray-driver.json

A study of 10,000 short rows of 6 conditions each, on models of Ray on this machine: planned, sent, taken back, decoded
and stored as ever, only that an answer takes so many milliseconds of sleep. Rows a second are those of the whole study
after its first row, once all models are there. With few models they are what the models can do (`models / sleep`);
where they grow no more, the driver is the limit. `alone` is the same in one process without sleep, and without Ray.
Needs Ray, and about 100 MB for each model.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import psutil

from harness import __version__
from harness.demo.filings import demo_rows
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.experiment.intervention import MeanValues
from harness.experiment.record import Ask, Completion
from harness.experiment.store import Store
from harness.files import write_text
from harness.retrieval.prompts import Prompt
from harness.retrieval.rows import write_rows
from harness.settings import Settings
from harness.study.cluster_crew import ClusterCrew, Order
from harness.study.crew import Crew, Engine, Said
from harness.study.inputs import Inputs, read_inputs
from harness.study.node_model import Equipment, Loaded
from harness.study.progress import Progress
from harness.study.ray_cluster import RayCluster
from harness.study.run import Run

CONDITIONS = [BASELINE, *(Condition("mine", f"k{k}", tuple(Head(0, head) for head in range(k))) for k in range(1, 6))]
SAID = Completion(
    token_ids=(5,) * 6, end_token_id=1, gold_logprob=-1.0, baseline_logprob=-1.0, hooks_fired=1, smallest_gap=0.5
)


def sleeper(equipment: Equipment, seconds: float) -> type:
    """A model of this equipment which takes so long for each prompt; it goes to its node as it stands here."""

    class Sleeper:
        def __init__(self, settings: Settings, work: Sequence[float]) -> None:
            self.settings = settings

            self.sent: SimpleQueue[tuple[int, Sequence[Ask]]] = SimpleQueue()

        def take(self, number: int, task: str, asks: Sequence[Ask]) -> None:
            self.sent.put((number, asks))

        def serve(self) -> Iterator[object]:
            yield None
            yield equipment
            yield Loaded(at_once=1)
            while True:
                number, asks = self.sent.get()
                for place, ask in enumerate(asks):
                    time.sleep(seconds)
                    yield number, place, Said((SAID,) * len(ask.head_sets), seconds, "cpu")

    return Sleeper


class Quick:
    """An engine that has its answer at once."""

    device, at_once, layout = "cpu", 1, ""

    def rounds(
        self, rounds: Iterator[Sequence[Ask] | None]
    ) -> Generator[Sequence[tuple[int, int, tuple[Completion, ...]]], None, None]:
        asked = (asks for asks in rounds if asks is not None)
        for place, asks in enumerate(asked):
            for number, ask in enumerate(asks):
                yield [(place, number, (SAID,) * len(ask.head_sets))]

    def mean_values(self, prompts: Sequence[Prompt], note: object) -> MeanValues:
        raise NotImplementedError


def short_rows(n: int, folder: Path) -> Inputs:
    """So many rows of the demo, of two sentences each."""
    rows = [replace(row, split="evaluation") for row in demo_rows(n // 9 + 1, n_sentences=2)]
    write_rows(rows[:n], folder / "rows.jsonl")
    return read_inputs(Settings(data=folder / "rows.jsonl", k=(1,)))


def rows_a_second(inputs: Inputs, engine: Engine | Crew) -> float:
    """Of a study, after its first row, or those that were answered together with it."""
    told: list[tuple[float, int]] = []

    def tell(progress: Progress) -> None:
        told.append((time.perf_counter(), progress.rows_done))

    with tempfile.TemporaryDirectory() as place, Store(Path(place) / "store.sqlite") as store:
        Run(inputs, store, run_id="a").execute(CONDITIONS, lambda: engine, tell)
    (began, before), (ended, after) = told[0], told[-1]
    return (after - before) / (ended - began)


def with_models(inputs: Inputs, models: int, seconds: float) -> float:
    """Rows a second from so many models."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        ray.init("local", num_cpus=models, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    settings = replace(inputs.settings, ray="local")
    equipment = Equipment(inputs.run_key, __version__, "cpu")
    cluster = RayCluster(settings, (), on_gpu=False, model=sleeper(equipment, seconds))
    crew = ClusterCrew(cluster, inputs.run_key, mixed=False)

    def until_all_are_there() -> Iterator[Order | None]:
        while sum(post.at_once for post in crew._posts.values()) < models:
            yield None

    try:
        assert not list(crew.carry_out(until_all_are_there()))
        return rows_a_second(inputs, crew)
    finally:
        crew.close()
        ray.shutdown()


def main() -> int:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(prog="python -m tests.ray_throughput", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--sleep", type=float, default=20.0, metavar="MS", help="for each row (default: %(default)s)")
    parser.add_argument("--models", default="1,2,4,8,16,32", metavar="N,N,...", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    found: dict[str, float] = {}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        inputs = short_rows(arguments.rows, Path(place))
        alone = rows_a_second(inputs, Quick())
        print(f"alone, without sleep: {alone:,.0f} rows a second", flush=True)
        for models in map(int, arguments.models.split(",")):
            found[str(models)] = with_models(inputs, models, arguments.sleep / 1000)
            most = models * 1000 / arguments.sleep
            print(f"{models:3} models: {found[str(models)]:7,.0f} rows a second of {most:,.0f}", flush=True)
    if arguments.json is not None:
        said = {
            "rows": arguments.rows,
            "conditions": len(CONDITIONS),
            "sleep_ms": arguments.sleep,
            "cpus": psutil.cpu_count(),
            "load": round(load, 1),
            "alone": round(alone),
            "rows_a_second": {models: round(rate, 1) for models, rate in found.items()},
        }
        write_text(arguments.json, json.dumps(said, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

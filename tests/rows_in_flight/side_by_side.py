"""Rows an hour of all cards of a machine: several models side by side, each split over some, or one over all.

    python -m tests.rows_in_flight.side_by_side --heads FILE --json FILE --models 2 --cards 2 --rows 32

The shape, rows and conditions of `python -m tests.rows_in_flight`, in these ways, one after the other:

- `one`: models in processes of their own, one row in flight in each;
- `processes`: the same, and as many rows in flight as a study would have;
- `whole`: one model over all the cards, rows in flight;
- `ray`: models of Ray, which one driver sends rows, as a study does (`harness.study.cluster_crew`);
- `killed`: the same cluster again, one of its models killed by a signal after `--kill-after` seconds.

Processes take the next row from one list, as the workers of `pytest -n` do. Time is from the moment when all models are
there and warm to the last answer. How busy each card was, by its driver; whether answers are the same in all ways. A
way that fails is named with its error, and the next one begins; the file is written after each.
"""

import argparse
import json
import multiprocessing
import os
import queue
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import torch

from harness import __version__
from harness.experiment.record import Ask, Completion, RunKey
from harness.model.generation import engine
from harness.model.generation.engines import ModelEngine
from harness.model.loading.device_speed import measure_speed
from harness.settings import Settings
from harness.study.cluster_crew import ClusterCrew, Order
from harness.study.node_model import Equipment, NodeModel
from harness.study.ray_cluster import RayCluster

from .rows import KS, SHAPES, Answers, arguments, asks_of, compared, head_sets, least_work, runs, spread_model, watched

WAYS = ("one", "processes", "whole", "ray", "killed")
MODEL = "ray::RandomModel"
"""What Ray calls the process of a model."""
KEY = RunKey("random", None, "bfloat16", "sdpa", "cuda", "shared", 20, "", "")
"""All models here have one."""


@dataclass(frozen=True, slots=True)
class Study:
    """What is measured; every process makes its own model and rows from it."""

    shape: str
    heads: Path
    rows: int
    tokens: tuple[int, int]
    new: int

    def asks(self, *, rows: int | None = None, tokens: tuple[int, int] | None = None) -> list[Ask]:
        """The rows, or so many others of other lengths."""
        sets = head_sets(json.loads(self.heads.read_text(encoding="utf-8")))
        asked = argparse.Namespace(rows=rows or self.rows, tokens=tokens or self.tokens, new=self.new)
        return asks_of(sets, asked, SHAPES[self.shape].vocab_size)

    def engine(self) -> tuple[ModelEngine, dict[str, Any]]:
        """A warm model over all cards that this process sees, and what is said of it."""
        began = time.perf_counter()
        sets = head_sets(json.loads(self.heads.read_text(encoding="utf-8")))
        on_gpu = torch.cuda.is_available()
        speed = measure_speed(torch.device("cuda", 0), torch.bfloat16) if on_gpu else None
        torch.cuda.empty_cache()
        loaded, places = spread_model(self.shape, list(sets.values()))
        found = ModelEngine(loaded, "shared")
        for _ in found.rounds(iter([self.asks(rows=3, tokens=(300, 400) if on_gpu else self.tokens)])):
            pass
        return found, {
            "dtype": loaded.dtype,
            "stages": [list(each) for each in runs(places)],
            "at_once": found.at_once,
            "seconds_to_make": time.perf_counter() - began,
            "speed": None if speed is None else asdict(speed),
            **least_work(loaded.size, self.asks(), self.new),
        }


Said: TypeAlias = "Queue[tuple[int, tuple[Completion, ...]] | dict[str, Any]]"


def work(study: Study, cards: Sequence[int], rows: "dict[str, Queue[int | None]]", said: Said) -> None:
    """What a process does: way by way it says of its model, then of each row that it takes, till it takes `None`."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, cards))
    answers, told = study.engine()
    asks = study.asks()

    def rounds(of_way: "Queue[int | None]") -> Iterator[Sequence[Ask] | None]:
        while True:
            try:
                row = of_way.get_nowait()
            except queue.Empty:
                yield None
                continue
            if row is None:
                return
            taken.append(row)
            yield [asks[row]]

    for way, of_way in rows.items():
        said.put(told)
        taken = list[int]()
        if way == "one" or answers.at_once == 1:
            for each in rounds(of_way):
                for _, completions in () if each is None else engine.run_rows(answers.loaded, each):
                    said.put((taken[-1], completions))
        else:
            for together in answers.rounds(rounds(of_way)):
                for place, _, of_row in together:
                    said.put((taken[place], of_row))


def by_processes(
    study: Study, cards: Sequence[Sequence[int]], n_rows: dict[str, int]
) -> Iterator[tuple[str, Answers, dict[str, Any]]]:
    """Models on these cards each, in processes of their own: for each way the answers, and what was measured."""
    context = multiprocessing.get_context("spawn")
    rows: dict[str, Queue[int | None]] = {way: context.Queue() for way in n_rows}
    said: Said = context.Queue()
    processes = [context.Process(target=work, args=(study, of_one, rows, said)) for of_one in cards]
    for process in processes:
        process.start()
    ready, told = 0, dict[str, Any]()
    try:
        for way, n in n_rows.items():
            while ready < len(processes):
                told, ready = _heard(said, processes), ready + 1
            ready = 0
            with _Clock(way) as clock:
                for row in [*range(n), *[None] * len(cards)]:
                    rows[way].put(row)
                while len(clock.answers) < n:
                    if isinstance(heard := _heard(said, processes), dict):
                        ready += 1
                    else:
                        clock.note(*heard)
            yield way, clock.answers, told | {"models": len(cards), "cards_each": len(cards[0]), **clock.figures()}
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.kill()


def _heard(said: Said, processes: Sequence[Any]) -> Any:
    """What one of the processes says next."""
    while True:
        try:
            return said.get(timeout=1)
        except queue.Empty:
            if any(each.exitcode for each in processes) or not any(each.is_alive() for each in processes):
                raise RuntimeError("a process ended: its error is printed above") from None


class _Clock:
    """Notes rows as they are answered, and cards while it is open."""

    def __init__(self, way: str) -> None:
        self.answers: Answers = {}
        self._way = way
        self._done: list[float] = []

    def __enter__(self) -> "_Clock":
        self._watch = watched()
        self._busy = self._watch.__enter__()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._watch.__exit__(None, None, None)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def note(self, row: int, completions: tuple[Completion, ...]) -> None:
        assert row not in self.answers, f"row {row} was answered twice"
        self.answers[row] = completions
        self._done.append(self.seconds)
        print(f"{self._way}: row {row} after {self._done[-1]:.1f} s", flush=True)

    def figures(self) -> dict[str, Any]:
        seconds = self._done[-1]
        return {
            "rows": len(self._done),
            "seconds": seconds,
            "rows_an_hour": 3600 * len(self._done) / seconds,
            "done_after": self._done,
            "busy": {card: sum(shares) / len(shares) / 100 for card, shares in self._busy.items() if shares},
            "halvings": sum(each.halvings for row in self.answers.values() for each in row),
        }


def random_model(study: Study) -> type[NodeModel]:
    """A node's model, of random weights; it goes to its node as it stands here."""

    class RandomModel(NodeModel):
        def _equipment(self) -> Equipment:
            return Equipment(KEY, __version__, "all alike")

        def _load(self) -> ModelEngine:
            return study.engine()[0]

    return RandomModel


def by_ray(
    study: Study, models: int, cards: int, kill_after: float, n_rows: dict[str, int]
) -> Iterator[tuple[str, Answers, dict[str, Any]]]:
    """The same of models of Ray on this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        on_gpu = torch.cuda.is_available()
        gpus = models * cards if on_gpu else None
        ray.init("local", num_cpus=models, num_gpus=gpus, include_dashboard=False, log_to_driver=False)
    settings = Settings(ray="local", gpus=cards, device_map="auto" if on_gpu else "cpu")
    crew = ClusterCrew(RayCluster(settings, (), on_gpu=on_gpu, model=random_model(study)), KEY, mixed=False)

    def until_all_are_there() -> Iterator[Order | None]:
        while sum(post.at_once > 0 for post in crew._posts.values()) < models:
            yield None

    try:
        asks = study.asks()
        for way, n in n_rows.items():
            assert not list(crew.carry_out(until_all_are_there()))
            kill = _killer(kill_after) if way == "killed" else None
            with _Clock(way) as clock:
                for together in crew.carry_out(Order("answer", (ask,), row) for row, ask in enumerate(asks[:n])):
                    for order, _, answer, _post in together:
                        clock.note(order.key, answer.completions)
                    if kill is not None and kill(clock.seconds):
                        kill = None
            who = sorted(post.answers for post in (*crew._gone, *crew._posts.values()))
            said = {"models": models, "cards_each": cards, "answers_by_model": who, "notices": [*crew.notices]}
            yield way, clock.answers, said | clock.figures()
    finally:
        crew.close()
        ray.shutdown()


def _killer(after: float) -> Callable[[float], bool]:
    """Kills one of the models, once so much time has gone by; whether it did."""

    def kill(seconds: float) -> bool:
        if seconds < after:
            return False
        ours = psutil.Process().children(recursive=True)
        victim = next(each for each in ours if each.cmdline() and each.cmdline()[0].startswith(MODEL))
        victim.send_signal(signal.SIGKILL)
        print(f"killed {victim.pid} after {seconds:.1f} s", flush=True)
        return True

    return kill


def main() -> int:
    """Measure, print and write; 1 where a way failed or answers differ."""
    parser = arguments(__doc__)
    parser.add_argument("--models", type=int, default=2, help="side by side")
    parser.add_argument("--cards", type=int, default=2, help="of each of them")
    parser.add_argument(
        "--ways", default=",".join(WAYS), metavar="WAY[:ROWS],...", help="each on the first so many (%(default)s)"
    )
    parser.add_argument("--kill-after", type=float, default=20.0, metavar="SECONDS")
    asked = parser.parse_args()
    study = Study(asked.shape, asked.heads.absolute(), asked.rows, tuple(asked.tokens), asked.new)
    parted = [way.partition(":") for way in asked.ways.split(",")]
    n_rows = {way: int(rows or asked.rows) for way, _, rows in parted}
    found: dict[str, Any] = {
        "shape": asked.shape,
        "random_weights": True,
        "cards": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "n_rows": asked.rows,
        "n_conditions": 1 + len(KS),
        "prompt_tokens": list(asked.tokens),
        "max_new_tokens": asked.new,
        "torch": torch.__version__,
        "ways": {},
    }
    pairs = [[*range(model * asked.cards, (model + 1) * asked.cards)] for model in range(asked.models)]
    plans = {
        ("one", "processes"): partial(by_processes, study, pairs),
        ("whole",): partial(by_processes, study, [[card for pair in pairs for card in pair]]),
        ("ray", "killed"): partial(by_ray, study, asked.models, asked.cards, asked.kill_after),
    }
    answers: dict[str, Answers] = {}
    for some, plan in plans.items():
        its_ways = {way: n for way, n in n_rows.items() if way in some}
        try:
            for way, of_way, figures in plan(its_ways) if its_ways else ():
                answers[way] = of_way
                found["ways"][way] = figures
                print(json.dumps({way: figures}), flush=True)
                _write(asked.json, found)
        except Exception as error:  # whatever it is: the machine is lent for minutes
            said = f"{type(error).__name__}: {error}"
            found["ways"] |= {way: {"error": said} for way in its_ways if way not in answers}
            print(f"{', '.join(its_ways)}: {said}", flush=True)
    first = next(iter(answers.values()), {})
    found["same_answers"] = {way: compared(_both(first, each), each) for way, each in answers.items()}
    _write(asked.json, found)
    print(json.dumps(found["same_answers"]), flush=True)
    failed = any("error" in each for each in found["ways"].values())
    return int(failed or any(each["different"] for each in found["same_answers"].values()))


def _both(some: Answers, others: Answers) -> Answers:
    """Those of the rows that both have."""
    return {row: each for row, each in some.items() if row in others}


def _write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

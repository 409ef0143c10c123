"""How much faster rows are when several are in flight through the stages of a model that is split over several GPUs.

A published shape with random weights, prompts of random tokens and different lengths, the conditions of a public
ranking's tasks (untouched, and without a task's top heads). The same rows with one in flight and with several, in one
process; how busy each card was, by its driver; and whether the answers are the same.

    python -m tests.rows_in_flight --heads FILE --json FILE

Where one row may hold more branches at once than one of several, other shapes of batches are computed, which round
differently: then some rows are run once more, one in flight and with as few branches, to be compared.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from harness.experiment.record import Ask, Completion
from harness.model.generation import engine
from harness.model.generation.room import room_of
from harness.model.generation.stages import Stages, stages_of
from harness.model.loading.device_speed import measure_speed
from harness.model.loading.loaded_model import LoadedModel

from .rows import KS, Answers, arguments, asks_of, compared, head_sets, least_work, runs, spread_model, watched

CHECKED = 3
"""Rows that are run again where other branches were held."""


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__)
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--branches", type=int, help="conditions that a row holds at once; by default as many as fit")
    asked = parser.parse_args()
    began = time.perf_counter()
    sets = head_sets(json.loads(asked.heads.read_text(encoding="utf-8")))
    speed = measure_speed(torch.device("cuda", 0), torch.bfloat16)
    torch.cuda.empty_cache()
    loaded, places = spread_model(asked.shape, list(sets.values()))
    found: dict[str, Any] = {
        "shape": asked.shape,
        "random_weights": True,
        "dtype": loaded.dtype,
        "cards": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "stages": [list(each) for each in runs(places)],
        "n_rows": asked.rows,
        "n_conditions": 1 + len(KS),
        "prompt_tokens": list(asked.tokens),
        "max_new_tokens": asked.new,
        "torch": torch.__version__,
        "seconds_to_make": time.perf_counter() - began,
    }
    asks = asks_of(sets, asked, loaded.model.config.vocab_size)
    found |= {"speed": asdict(speed), **least_work(loaded.size, asks, asked.new)}
    stages = stages_of(loaded)
    assert stages is not None, "the model lies on one device"
    short = asks_of(sets, argparse.Namespace(rows=3, tokens=(300, 400), new=asked.new), 1000)
    _run(loaded, short, None, 1, None)
    _run(loaded, short, stages, asked.in_flight, None)
    longest = max(len(ask.prompt.token_ids) for ask in asks)
    answers = {}
    for n in (1, asked.in_flight):
        room = room_of(loaded, longest + asked.new).shared(n)
        held = min(1 + len(KS), int(room.rows / room.least))
        answers[n], figures = _run(loaded, asks, stages if n > 1 else None, n, asked.branches)
        found[f"in_flight_{n}"] = {**figures, "branches": asked.branches or held}
        print(json.dumps(found[f"in_flight_{n}"]), flush=True)
        _write(asked.json, found)
    one, several = found["in_flight_1"], found[f"in_flight_{asked.in_flight}"]
    found["ratio"] = several["rows_an_hour"] / one["rows_an_hour"]
    found["same_answers"] = compared(answers[1], answers[asked.in_flight])
    _write(asked.json, found)
    if one["branches"] != several["branches"]:
        again, _ = _run(loaded, asks[:CHECKED], None, 1, several["branches"])
        found["same_answers_with_as_few_branches"] = compared(again, answers[asked.in_flight])
    _write(asked.json, found)
    print(json.dumps(found), flush=True)


def _run(
    loaded: LoadedModel, asks: Sequence[Ask], stages: Stages | None, in_flight: int, branches: int | None
) -> tuple[Answers, dict[str, Any]]:
    for card in range(torch.cuda.device_count()):
        torch.cuda.reset_peak_memory_stats(card)
    answers: Answers = {}
    done: list[float] = []
    with watched() as busy:
        began = time.perf_counter()
        for number, completions in _answered(loaded, asks, stages, in_flight, branches):
            answers[number] = completions
            done.append(time.perf_counter() - began)
            print(f"{in_flight} in flight: row {number} after {done[-1]:.1f} s", flush=True)
        seconds = time.perf_counter() - began
    return answers, {
        "seconds": seconds,
        "rows_an_hour": 3600 * len(asks) / seconds,
        "done_after": done,
        "busy": {card: sum(shares) / len(shares) / 100 for card, shares in busy.items() if shares},
        "peak_gib": [torch.cuda.max_memory_allocated(i) / 2**30 for i in range(torch.cuda.device_count())],
        "reserved_gib": [torch.cuda.max_memory_reserved(i) / 2**30 for i in range(torch.cuda.device_count())],
        "halvings": sum(each.halvings for row in answers.values() for each in row),
    }


def _answered(
    loaded: LoadedModel, asks: Sequence[Ask], stages: Stages | None, in_flight: int, branches: int | None
) -> Iterator[tuple[int, tuple[Completion, ...]]]:
    """One after the other where no stages are given, as one round else."""
    if stages is None:
        yield from engine.run_rows(loaded, asks, branches=branches)
        return
    answers = engine.run_rounds(loaded, iter([asks]), stages, in_flight=in_flight, branches=branches)
    yield from ((number, completions) for together in answers for _, number, completions in together)


def _write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

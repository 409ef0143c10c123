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
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from harness.experiment.cost import ModelSize, decoding_bytes, shared_flops
from harness.experiment.heads import Head
from harness.experiment.prefix_tree import prefix_tree
from harness.experiment.record import Ask, Completion
from harness.model.generation import engine
from harness.model.generation.room import room_of
from harness.model.generation.stages import Stages, stages_of
from harness.model.loading.architectures import architecture_of
from harness.model.loading.loaded_model import LoadedModel
from harness.model.loading.placement import Parts, balanced
from harness.model.performance.measures import measure_speed
from harness.model.performance.shapes import SHAPES, random_model
from harness.retrieval.prompts import Prompt

KS = (1, 2, 5, 10, 20)
VALUE_TOKENS = 3
RESERVE = 6 * 2**30
"""Bytes of each card that weights leave free."""
CHECKED = 3
"""Rows that are run again where other branches were held."""


def main() -> None:
    """Measure, print and write."""
    asked = _arguments()
    began = time.perf_counter()
    sets = _head_sets(json.loads(asked.heads.read_text(encoding="utf-8")))
    speed = measure_speed(torch.device("cuda", 0), torch.bfloat16)
    torch.cuda.empty_cache()
    loaded, places = _spread_model(asked.shape, list(sets.values()))
    found: dict[str, Any] = {
        "shape": asked.shape,
        "random_weights": True,
        "dtype": loaded.dtype,
        "cards": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "stages": [list(each) for each in _runs(places)],
        "n_rows": asked.rows,
        "n_conditions": 1 + len(KS),
        "prompt_tokens": list(asked.tokens),
        "max_new_tokens": asked.new,
        "torch": torch.__version__,
        "seconds_to_make": time.perf_counter() - began,
    }
    asks = _asks(sets, asked, loaded.model.config.vocab_size)
    found |= {"speed": asdict(speed), **_least_work(loaded.size, asks, asked.new)}
    stages = stages_of(loaded)
    assert stages is not None, "the model lies on one device"
    short = _asks(sets, argparse.Namespace(**{**vars(asked), "rows": 3, "tokens": (300, 400)}), 1000)
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
    found["same_answers"] = _compared(answers[1], answers[asked.in_flight])
    _write(asked.json, found)
    if one["branches"] != several["branches"]:
        again, _ = _run(loaded, asks[:CHECKED], None, 1, several["branches"])
        found["same_answers_with_as_few_branches"] = _compared(again, answers[asked.in_flight])
    _write(asked.json, found)
    print(json.dumps(found), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="llama-3.3-70b")
    parser.add_argument("--heads", type=Path, required=True, help="a file of ranked heads, task by task")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, nargs=2, default=(6400, 7600), help="of the shortest and longest prompt")
    parser.add_argument("--new", type=int, default=20, help="tokens of each answer")
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--branches", type=int, help="conditions that a row holds at once; by default as many as fit")
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args()


def _head_sets(ranking: dict[str, Any]) -> dict[str, tuple[frozenset[Head], ...]]:
    """For each task nothing, and its top heads."""
    found = {}
    for task, entries in ranking["tasks"].items():
        heads = [Head(each["layer"], each["head"]) for each in entries]
        found[task] = (frozenset[Head](), *(frozenset(heads[:k]) for k in KS))
    return found


def _spread_model(shape: str, sets: Sequence[Sequence[frozenset[Head]]]) -> tuple[LoadedModel, list[int]]:
    """The model, its layers dealt out by what rows do in each, and the card of each layer."""
    config = SHAPES[shape]
    with torch.device("meta"):
        drawn = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]  # the library's
    layers = drawn.get_submodule(architecture_of(config).layers)
    trees = [prefix_tree(each, len(layers)) for each in sets]
    n_bytes = [sum(each.numel() * each.element_size() for each in layer.parameters()) for layer in layers]
    ends = sum(each.numel() * each.element_size() for each in drawn.parameters()) - sum(n_bytes)
    parts = Parts(
        layers=tuple(map(float, n_bytes)),
        before=ends / 2,
        after=ends / 2,
        work=tuple(float(sum(len(tree.levels[layer].parents) for tree in trees)) for layer in range(len(layers))),
    )
    cards = range(torch.cuda.device_count())
    room = [torch.cuda.mem_get_info(card)[0] - RESERVE for card in cards]
    places = balanced(parts, room, [1.0] * len(cards))
    loaded = random_model(
        shape,
        config,
        device=torch.device("cuda", 0),
        dtype=torch.bfloat16,
        attention="sdpa",
        seed=0,
        places=[torch.device("cuda", card) for card in places],
    )
    return loaded, list(places)


def _runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Card and number of layers of each stage."""
    start = 0
    for layer in range(1, len(places) + 1):
        if layer == len(places) or places[layer] != places[start]:
            yield places[start], layer - start
            start = layer


def _asks(sets: dict[str, tuple[frozenset[Head], ...]], asked: argparse.Namespace, vocabulary: int) -> list[Ask]:
    """Rows of random tokens, their lengths spread over what was asked for, in no order; a task each, in turn."""
    random = Random(1)
    least, most = asked.tokens
    lengths = [round(least + (most - least) * row / max(1, asked.rows - 1)) for row in range(asked.rows)]
    random.shuffle(lengths)
    tasks = list(sets)
    asks = []
    for row, n_tokens in enumerate(lengths):
        ids = random.choices(range(1, vocabulary), k=n_tokens + VALUE_TOKENS)
        prompt = Prompt(
            row_id=f"row{row}",
            kind="full",
            text="",
            token_ids=tuple(ids[:-VALUE_TOKENS]),
            needle_start=5,
            needle_end=6,
            question_start=0,
            question_end=0,
            depth=0.5,
            value_ids=tuple(ids[-VALUE_TOKENS:]),
        )
        asks.append(Ask(prompt, sets[tasks[row % len(tasks)]], None, max_new_tokens=asked.new))
    return asks


def _least_work(size: ModelSize, asks: Sequence[Ask], new: int) -> dict[str, float]:
    """What the rows need at least, one by one, no answer ending early: what a pace is told by (`tests.card_paces`)."""
    positions = sum(new * len(ask.head_sets) * len(ask.prompt.token_ids) for ask in asks)
    return {
        "flops": sum(shared_flops(size, ask.head_sets, len(ask.prompt.token_ids)) for ask in asks),
        "read_bytes": decoding_bytes(size, new * len(asks), positions, 1),
    }


Answers = dict[int, tuple[Completion, ...]]


def _run(
    loaded: LoadedModel, asks: Sequence[Ask], stages: Stages | None, in_flight: int, branches: int | None
) -> tuple[Answers, dict[str, Any]]:
    for card in range(torch.cuda.device_count()):
        torch.cuda.reset_peak_memory_stats(card)
    answers: Answers = {}
    done: list[float] = []
    with _watched() as busy:
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
    yield from ((number, completions) for _, number, completions in answers)


@contextmanager
def _watched() -> Iterator[dict[int, list[float]]]:
    """Of each card how much of the time it computed, in percent, ten times a second, as the driver says."""
    busy: dict[int, list[float]] = defaultdict(list)
    question = ["nvidia-smi", "--query-gpu=index,utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
    try:
        asked = subprocess.Popen(question, stdout=subprocess.PIPE, text=True)
    except OSError:
        yield busy
        return

    def read() -> None:
        for line in asked.stdout or ():
            card, _, share = line.partition(",")
            if card.strip().isdigit() and share.strip().isdigit():
                busy[int(card)].append(float(share))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield busy
    finally:
        asked.terminate()
        reader.join(timeout=5)


def _compared(some: Answers, others: Answers) -> dict[str, Any]:
    """How many completions of the rows that both have are the same, and the others' smallest gaps."""
    pairs = [pair for number in some for pair in zip(some[number], others[number], strict=True)]
    different = [pair for pair in pairs if pair[0].all_ids != pair[1].all_ids]
    return {
        "completions": len(pairs),
        "different": len(different),
        "their_smallest_gaps": [min(each.smallest_gap for each in pair) for pair in different],
        "largest_logprob_difference": max(abs(one.gold_logprob - other.gold_logprob) for one, other in pairs),
    }


def _write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

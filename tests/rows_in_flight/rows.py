"""What rows in flight are measured with: a published shape, random weights, rows of random tokens, busy cards.

The conditions are those of a public ranking's tasks: untouched, and without a task's top heads. Knows nothing of ways
to answer them.
"""

import argparse
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig

from harness.experiment.cost import ModelSize, decoding_bytes, shared_flops
from harness.experiment.heads import Head
from harness.experiment.prefix_tree import prefix_tree
from harness.experiment.record import Ask, Completion
from harness.model.loading.architectures import architecture_of
from harness.model.loading.device_speed import relative_speeds
from harness.model.loading.loaded_model import LoadedModel
from harness.model.loading.placement import Parts, balanced
from harness.model.performance import shapes
from harness.model.performance.shapes import random_model
from harness.retrieval.prompts import Prompt

SHAPES: Mapping[str, PreTrainedConfig] = {
    **shapes.SHAPES,
    "tiny": LlamaConfig(
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        hidden_size=64,
        intermediate_size=128,
        vocab_size=1000,
        tie_word_embeddings=False,
    ),
}
"""And one to try these commands with on a CPU."""
KS = (1, 2, 5, 10, 20)
VALUE_TOKENS = 3
RESERVE = 6 * 2**30
"""Bytes of each card that weights leave free."""

Answers = dict[int, tuple[Completion, ...]]
"""By the number of the row."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What all of these commands are told."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--shape", choices=sorted(SHAPES), default="llama-3.3-70b")
    parser.add_argument("--heads", type=Path, required=True, help="a file of ranked heads, task by task")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, nargs=2, default=(6400, 7600), help="of the shortest and longest prompt")
    parser.add_argument("--new", type=int, default=20, help="tokens of each answer")
    parser.add_argument("--json", type=Path, required=True)
    return parser


def head_sets(ranking: dict[str, Any]) -> dict[str, tuple[frozenset[Head], ...]]:
    """For each task nothing, and its top heads."""
    found = {}
    for task, entries in ranking["tasks"].items():
        heads = [Head(each["layer"], each["head"]) for each in entries]
        found[task] = (frozenset[Head](), *(frozenset(heads[:k]) for k in KS))
    return found


def spread_model(shape: str, sets: Sequence[Sequence[frozenset[Head]]]) -> tuple[LoadedModel, list[int]]:
    """The model over all cards, its layers dealt out by what rows do in each, and the card of each; or on the CPU."""
    if not torch.cuda.is_available():
        return _random(shape, torch.device("cpu"), torch.float32, None), [0] * SHAPES[shape].num_hidden_layers
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
    speeds = relative_speeds(cards, torch.bfloat16)
    places = balanced(parts, room, [speeds[card] for card in cards])
    devices = [torch.device("cuda", card) for card in places]
    return _random(shape, devices[0], torch.bfloat16, devices), list(places)


def _random(shape: str, device: torch.device, dtype: torch.dtype, places: list[torch.device] | None) -> LoadedModel:
    return random_model(shape, SHAPES[shape], device=device, dtype=dtype, attention="sdpa", seed=0, places=places)


def runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Card and number of layers of each stage."""
    start = 0
    for layer in range(1, len(places) + 1):
        if layer == len(places) or places[layer] != places[start]:
            yield places[start], layer - start
            start = layer


def asks_of(sets: dict[str, tuple[frozenset[Head], ...]], asked: argparse.Namespace, vocabulary: int) -> list[Ask]:
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


def least_work(size: ModelSize, asks: Sequence[Ask], new: int) -> dict[str, float]:
    """What the rows need at least, one by one, no answer ending early: what a pace is told by (`tests.card_paces`)."""
    positions = sum(new * len(ask.head_sets) * len(ask.prompt.token_ids) for ask in asks)
    return {
        "flops": sum(shared_flops(size, ask.head_sets, len(ask.prompt.token_ids)) for ask in asks),
        "read_bytes": decoding_bytes(size, new * len(asks), positions, 1),
    }


@contextmanager
def watched() -> Iterator[dict[int, list[float]]]:
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


def compared(some: Answers, others: Answers) -> dict[str, Any]:
    """How many completions of the rows that both have are the same, and the others' smallest gaps."""
    pairs = [pair for number in some for pair in zip(some[number], others[number], strict=True)]
    different = [pair for pair in pairs if pair[0].all_ids != pair[1].all_ids]
    return {
        "completions": len(pairs),
        "different": len(different),
        "their_smallest_gaps": [min(each.smallest_gap for each in pair) for pair in different],
        "largest_logprob_difference": max(abs(one.gold_logprob - other.gold_logprob) for one, other in pairs),
    }

"""Engine against plain loops, side by side: the same prompts and conditions, taking turns, nothing known before.

Each side first runs once without the clock, which warms it up, counts its passes and gives the answers to compare;
then the sides take turns, round after round. Nothing is stored, and nothing is read from a store. The least time
that the engine's work needs on this device (`harness.experiment.cost`) is measured in the same run.

Beside `reference` stand two loops that studies are published with: one condition at a time, tokens and nothing else.
`published` is the notebook's: eager attention, and the logits of the whole prompt. `plain` is the same with the
attention that the model was loaded with and the last position's logits alone, the fastest loop that shares nothing.
Neither takes log-probabilities or checks drafts. Heads are zeroed by the same context manager as everywhere, because
what is compared is the way of computing, not the hooks.

Knows nothing of where prompts and conditions come from, and writes no files.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from harness.experiment.bench_result import BenchResult, IdentifyCost, SideResult
from harness.experiment.cost import ModelSize, decoding_bytes, shared_flops
from harness.experiment.heads import Head
from harness.experiment.record import Completion
from harness.model.generation import engine, reference
from harness.model.intervention.ablation import Ablation
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance.measures import LayerCounter, PeakMemory, finish, measure_speed
from harness.retrieval.prompts import Prompt, Trial

TIE = 1e-5
"""Gap of the best two logits, in standard deviations, under which rounding may choose: such a difference is a tie."""


@dataclass(frozen=True, slots=True)
class Work:
    """One row: its prompt, and the different head sets that are asked of it."""

    prompt: Prompt
    head_sets: tuple[frozenset[Head], ...]


@dataclass(frozen=True, slots=True)
class Scoring:
    """A method of scoring heads, by its name, and what scores all heads on one trial."""

    method: str
    score: Callable[[LoadedModel, Trial], object]


Way = Callable[[LoadedModel, Work, int], Sequence[Completion]]
"""Computes a row's work, with at most this many new tokens."""


def _shared(loaded: LoadedModel, work: Work, most: int) -> Sequence[Completion]:
    return engine.run_row(loaded, work.prompt, work.head_sets, None, max_new_tokens=most)


def _reference(loaded: LoadedModel, work: Work, most: int) -> Sequence[Completion]:
    return reference.run_row(loaded, work.prompt, work.head_sets, None, max_new_tokens=most)


def _plain(loaded: LoadedModel, work: Work, most: int) -> Sequence[Completion]:
    return run_plain(loaded, work.prompt, work.head_sets, max_new_tokens=most)


def _published(loaded: LoadedModel, work: Work, most: int) -> Sequence[Completion]:
    return run_published(loaded, work.prompt, work.head_sets, max_new_tokens=most)


BASELINES: Mapping[str, Way] = MappingProxyType({"reference": _reference, "plain": _plain, "published": _published})
"""What the engine is measured against: its oracle, and two loops that take no log-probabilities."""


def compare(  # what is run, against what, how often, how far
    loaded: LoadedModel,
    works: Sequence[Work],
    *,
    baseline: str,
    rounds: int,
    max_new_tokens: int,
    own_flips: bool = False,
    scoring: Scoring | None = None,
) -> BenchResult:
    """Measure the engine and one of the `BASELINES`, taking turns.

    With `own_flips` the plain loop is also compared with itself beside a copy of each prompt, without the clock;
    `scoring` is to be measured beside plainly reading the prompts.

    Raises:
        HarnessError: a prompt that does not fit the model, or one condition that does not fit into memory.
    """
    sides = {"shared": _shared, baseline: BASELINES[baseline]}
    counted = {name: _count(loaded, works, way, max_new_tokens) for name, way in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in sides if turn % 2 == 0 else reversed(sides):
            began = time.perf_counter()
            _run(loaded, works, sides[name], max_new_tokens)
            finish(loaded.device)
            seconds[name].append(time.perf_counter() - began)
    ours, theirs = counted["shared"], counted[baseline]
    different, ties = _differences(ours.completions, theirs.completions)
    return BenchResult(
        engine=ours.side("shared", seconds["shared"]),
        baseline=theirs.side(baseline, seconds[baseline]),
        n_rows=len(works),
        n_conditions=max(len(work.head_sets) for work in works),
        n_completions=len(ours.completions),
        n_different=different,
        n_ties=ties,
        own_flips=_own_flips(loaded, works, max_new_tokens) if own_flips else None,
        speed=measure_speed(loaded.device, loaded.model.dtype),
        flops=sum(shared_flops(loaded.size, work.head_sets, len(work.prompt.token_ids)) for work in works),
        read_bytes=ours.read_bytes(loaded.size, works),
        identify=None if scoring is None else _identify_cost(loaded, works, scoring, rounds),
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """One run of a side without the clock: a counter a row, all completions, peak memory."""

    counters: tuple[LayerCounter, ...]
    completions: tuple[Completion, ...]
    peak_bytes: int | None

    def side(self, name: str, seconds: Sequence[float]) -> SideResult:
        return SideResult(
            name=name,
            seconds=tuple(seconds),
            layer_passes=sum(counter.prefill_passes for counter in self.counters),
            steps=sum(counter.steps for counter in self.counters),
            step_rows=sum(counter.step_rows for counter in self.counters),
            peak_bytes=self.peak_bytes,
        )

    def read_bytes(self, size: ModelSize, works: Sequence[Work]) -> float:
        return sum(
            decoding_bytes(size, counter.steps, counter.step_rows, len(work.prompt.token_ids))
            for counter, work in zip(self.counters, works, strict=True)
        )


def _run(loaded: LoadedModel, works: Sequence[Work], way: Way, max_new_tokens: int) -> list[Completion]:
    return [completion for work in works for completion in way(loaded, work, max_new_tokens)]


def _count(loaded: LoadedModel, works: Sequence[Work], way: Way, max_new_tokens: int) -> _Counted:
    counters: list[LayerCounter] = []
    completions: list[Completion] = []
    with PeakMemory(loaded.device) as peak:
        for work in works:
            with LayerCounter(loaded, len(work.prompt.token_ids)) as counter:
                completions += way(loaded, work, max_new_tokens)
            counters.append(counter)
    return _Counted(tuple(counters), tuple(completions), peak.bytes)


def _differences(ours: Sequence[Completion], theirs: Sequence[Completion]) -> tuple[int, int]:
    """Completions that differ, and how many of them do at a tie."""
    pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[0].all_ids != pair[1].all_ids]
    # a plain loop knows no gaps: those of the engine stand for both
    ties = [pair for pair in pairs if min(gap for each in pair if not math.isnan(gap := each.smallest_gap)) < TIE]
    return len(pairs), len(ties)


def _identify_cost(loaded: LoadedModel, works: Sequence[Work], scoring: Scoring, rounds: int) -> IdentifyCost:
    """Scoring and reading take turns; each runs once before the clock is started, and its peak is taken then."""
    trials = [Trial(work.prompt, "", "text", 1) for work in works]

    @torch.inference_mode()
    def read(trial: Trial) -> None:
        ids = torch.tensor([trial.prompt.token_ids], device=loaded.device)
        loaded.model(input_ids=ids, use_cache=True, logits_to_keep=1)

    sides: dict[str, Callable[[Trial], object]] = {"score": lambda trial: scoring.score(loaded, trial), "read": read}
    peaks: dict[str, int | None] = {}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for name, side in sides.items():
        with PeakMemory(loaded.device) as peak:
            for trial in trials:
                side(trial)
        peaks[name] = peak.bytes
    for turn in range(rounds):
        for name in sides if turn % 2 == 0 else reversed(sides):
            began = time.perf_counter()
            for trial in trials:
                sides[name](trial)
            finish(loaded.device)
            seconds[name].append(time.perf_counter() - began)
    return IdentifyCost(scoring.method, tuple(seconds["score"]), tuple(seconds["read"]), peaks["score"], peaks["read"])


def _own_flips(loaded: LoadedModel, works: Sequence[Work], max_new_tokens: int) -> int:
    """Completions of the plain loop that change when the prompt is run beside a copy of it."""
    flips = 0
    for work in works:
        alone = run_plain(loaded, work.prompt, work.head_sets, max_new_tokens=max_new_tokens)
        beside = run_plain(loaded, work.prompt, work.head_sets, max_new_tokens=max_new_tokens, copies=2)
        flips += sum(one.all_ids != other.all_ids for one, other in zip(alone, beside, strict=True))
    return flips


def run_plain(
    loaded: LoadedModel,
    prompt: Prompt,
    head_sets: Sequence[frozenset[Head]],
    *,
    max_new_tokens: int,
    copies: int = 1,
) -> tuple[Completion, ...]:
    """Complete one prompt for each head set; log-probabilities and gaps are nan.

    The prompt is run as a batch of `copies` of it, and the first is read: kernels round differently in larger batches.
    """
    return tuple(
        _complete(loaded, prompt, heads, max_new_tokens, full_logits=False, copies=copies) for heads in head_sets
    )


def run_published(
    loaded: LoadedModel, prompt: Prompt, head_sets: Sequence[frozenset[Head]], *, max_new_tokens: int
) -> tuple[Completion, ...]:
    """The same with eager attention, and logits at every position; the model's own attention is put back."""
    own = loaded.attention
    loaded.model.set_attn_implementation("eager")
    try:
        return tuple(_complete(loaded, prompt, heads, max_new_tokens, full_logits=True) for heads in head_sets)
    finally:
        loaded.model.set_attn_implementation(own)


@torch.inference_mode()
def _complete(
    loaded: LoadedModel,
    prompt: Prompt,
    heads: frozenset[Head],
    max_new_tokens: int,
    *,
    full_logits: bool,
    copies: int = 1,
) -> Completion:
    token_ids: list[int] = []
    cache = None
    feed: Sequence[int] = prompt.token_ids
    with Ablation(loaded.outputs, [heads]) as ablation:
        while len(token_ids) < max_new_tokens and not (token_ids and token_ids[-1] in loaded.end_token_ids):
            ids = torch.tensor([feed] * copies, device=loaded.device)
            output = loaded.model(
                input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=0 if full_logits else 1
            )
            cache = output.past_key_values
            token_ids.append(int(output.logits[0, -1].argmax()))
            feed = token_ids[-1:]
    ended = token_ids[-1] in loaded.end_token_ids
    return Completion(
        token_ids=tuple(token_ids[:-1] if ended else token_ids),
        end_token_id=token_ids[-1] if ended else None,
        gold_logprob=math.nan,
        baseline_logprob=None,
        hooks_fired=sum(ablation.fired.values()),
        smallest_gap=math.nan,
    )

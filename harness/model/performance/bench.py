"""Engine against plain loops, side by side, as a study meets its rows: each once, none of its length met before.

Rows come in groups, those of one filing together, as a study hands them over, and groups of short rows of a small model
on a GPU several at once. The sides take turns, group after group,
one side first and then the other; before that each side runs once over other rows, which warms up the device and
nothing of a row's own. Passes and memory are counted meanwhile, at a Python call a layer on either side. Nothing is
stored, and nothing is read from a store. The least time that the work needs on this device (`harness.experiment.cost`)
is told by the prompts, the head sets and the baseline's answers, never by what the engine did; the device's speed is
measured in the same run.

Beside `reference` stand two loops that studies are published with: one condition at a time, tokens and nothing else.
`published` is the notebook's: eager attention, and the logits of the whole prompt. `plain` is the same with the
attention that the model was loaded with and the last position's logits alone, the fastest loop that shares nothing.
Neither takes log-probabilities or checks drafts. Heads are zeroed by the same context manager as everywhere, because
what is compared is the way of computing, not the hooks. `apart` is the engine itself, handed one row at a time: what
rows of one filing gain from being read together.

Knows nothing of where prompts and conditions come from, and writes no files.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from harness.experiment.bench_result import BenchResult, IdentifyCost, SideResult
from harness.experiment.cost import decoding_passes, group_flops, passes_bytes
from harness.experiment.heads import Head
from harness.experiment.record import Ask, Completion
from harness.model.generation.engines import ModelEngine
from harness.model.generation.groups import at_once, rounds_at_once
from harness.model.intervention.ablation import Ablation
from harness.model.loading.device_speed import finish, measure_held_flops, measure_speed
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance.measures import LayerCounter, PeakMemory
from harness.retrieval.prompts import Prompt, Trial

TIE = 1e-5
"""Gap of the best two logits, in standard deviations, under which rounding may choose: such a difference is a tie."""


@dataclass(frozen=True, slots=True)
class Work:
    """One row: its prompt, and the different head sets that are asked of it."""

    prompt: Prompt
    head_sets: tuple[frozenset[Head], ...]


Group = Sequence[Work]
"""Rows that a study hands over together: those of one filing."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """A method of scoring heads, by its name, and what scores all heads on some trials, one after the other."""

    method: str
    score: Callable[[LoadedModel, Sequence[Trial]], Iterator[object]]


Way = Callable[[LoadedModel, Group, int], list[Completion]]
"""Computes a group's work row by row, with at most this many new tokens."""


def _way(name: str) -> Way:
    """One of a study's own ways of computing."""

    def run(loaded: LoadedModel, group: Group, most: int) -> list[Completion]:
        asks = [Ask(work.prompt, work.head_sets, None, max_new_tokens=most) for work in group]
        answers = ModelEngine(loaded, name).rounds(iter([asks]))
        done = {number: completions for together in answers for _, number, completions in together}
        return [completion for number in range(len(group)) for completion in done[number]]

    return run


def _each(way: Way) -> Way:
    """The same, handed one row at a time."""
    return lambda loaded, group, most: [each for work in group for each in way(loaded, [work], most)]


def _plain(loaded: LoadedModel, group: Group, most: int) -> list[Completion]:
    return [each for work in group for each in run_plain(loaded, work.prompt, work.head_sets, max_new_tokens=most)]


def _published(loaded: LoadedModel, group: Group, most: int) -> list[Completion]:
    return [each for work in group for each in run_published(loaded, work.prompt, work.head_sets, max_new_tokens=most)]


_shared = _way("shared")
BASELINES: Mapping[str, Way] = MappingProxyType(
    {"reference": _way("reference"), "plain": _plain, "published": _published, "apart": _each(_shared)}
)
"""What the engine is measured against: its oracle, two loops that take no log-probabilities, and itself row by row."""


def as_handed_over(loaded: LoadedModel, groups: Sequence[Group]) -> list[Group]:
    """The groups as a study asks them: several at once where prompts are read side by side."""
    if rounds_at_once(loaded) == 1:
        return list(groups)
    turns: list[list[Work]] = [[]]
    for group in groups:
        if len(turns[-1]) >= at_once(loaded, [work.prompt for work in turns[-1]]):
            turns.append([])
        turns[-1] += group
    return [*turns]


def compare(  # what is run, against what, how far
    loaded: LoadedModel,
    groups: Sequence[Group],
    warm: Group,
    *,
    baseline: str,
    max_new_tokens: int,
    own_flips: bool = False,
    scoring: Scoring | None = None,
) -> BenchResult:
    """Measure the engine and one of the `BASELINES`, taking turns, after both have done `warm`.

    With `own_flips` the plain loop is also compared with itself beside a copy of each prompt, without the clock;
    `scoring` is to be measured beside plainly reading the prompts.

    Raises:
        HarnessError: a prompt that does not fit the model, or one condition that does not fit into memory.
    """
    sides = {"shared": _shared, baseline: BASELINES[baseline]}
    for way in sides.values():
        way(loaded, warm, max_new_tokens)
    runs: dict[str, list[_Run]] = {name: [] for name in sides}
    for turn, group in enumerate(groups):
        for name in sides if turn % 2 == 0 else reversed(sides):
            runs[name].append(_run(loaded, group, sides[name], max_new_tokens))
    works = [work for group in groups for work in group]
    ours, theirs = ([each for run in runs[name] for each in run.completions] for name in sides)
    different, ties = _differences(ours, theirs)
    passes = list(_passes(works, theirs))
    return BenchResult(
        engine=_side("shared", runs["shared"]),
        baseline=_side(baseline, runs[baseline]),
        n_rows=len(works),
        n_conditions=max(len(work.head_sets) for work in works),
        n_completions=len(ours),
        n_different=different,
        n_ties=ties,
        own_flips=_own_flips(loaded, works, max_new_tokens) if own_flips else None,
        speed=measure_speed(loaded.device, loaded.model.dtype),
        held_flops=measure_held_flops(loaded.device, loaded.model.dtype),
        flops=sum(_flops(loaded, group) for group in groups),
        read_bytes=sum(
            passes_bytes(loaded.size, each, len(work.prompt.token_ids))
            for work, each in zip(works, passes, strict=True)
        ),
        least_steps=sum(map(len, passes)),
        identify=None if scoring is None else _identify_cost(loaded, groups, warm, scoring),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One side over one group: seconds, what was counted meanwhile, all completions, and peak memory."""

    seconds: float
    counter: LayerCounter
    completions: Sequence[Completion]
    peak_bytes: int | None


def _run(loaded: LoadedModel, group: Group, way: Way, max_new_tokens: int) -> _Run:
    finish(loaded.device)
    n_prompt = sum(len(work.prompt.token_ids) for work in group) / len(group)
    most_short = 1 + max(max_new_tokens, *(len(work.prompt.value_ids) for work in group))
    with PeakMemory(loaded.device) as peak, LayerCounter(loaded, n_prompt, most_short) as counter:
        began = time.perf_counter()
        completions = way(loaded, group, max_new_tokens)
        finish(loaded.device)
        seconds = time.perf_counter() - began
    return _Run(seconds, counter, completions, peak.bytes)


def _side(name: str, runs: Sequence[_Run]) -> SideResult:
    peaks = [run.peak_bytes for run in runs if run.peak_bytes is not None]
    return SideResult(
        name=name,
        seconds=tuple(run.seconds for run in runs),
        layer_passes=sum(run.counter.prefill_passes for run in runs),
        steps=sum(run.counter.steps for run in runs),
        step_rows=sum(run.counter.step_rows for run in runs),
        peak_bytes=max(peaks, default=None),
    )


def _flops(loaded: LoadedModel, group: Group) -> float:
    prompts = [work.prompt.token_ids for work in group]
    return group_flops(loaded.size, prompts, [work.head_sets for work in group])


def _passes(
    works: Sequence[Work], completions: Iterable[Completion]
) -> Iterable[Sequence[tuple[frozenset[Head], ...]]]:
    """Of each row the passes that its answers need, the gold value known."""
    each = iter(completions)
    for work in works:
        yield decoding_passes({heads: next(each).all_ids for heads in work.head_sets}, work.prompt.value_ids)


def _differences(ours: Sequence[Completion], theirs: Sequence[Completion]) -> tuple[int, int]:
    """Completions that differ, and how many of them do at a tie."""
    pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[0].all_ids != pair[1].all_ids]
    # a plain loop knows no gaps: those of the engine stand for both
    ties = [pair for pair in pairs if min(gap for each in pair if not math.isnan(gap := each.smallest_gap)) < TIE]
    return len(pairs), len(ties)


def _identify_cost(loaded: LoadedModel, groups: Sequence[Group], warm: Group, scoring: Scoring) -> IdentifyCost:
    """Scoring, which runs once what the rows of a group begin with, and reading each row take turns, after `warm`'s."""

    def read(loaded: LoadedModel, trials: Sequence[Trial]) -> Iterator[None]:
        for trial in trials:
            ids = torch.tensor([trial.prompt.token_ids], device=loaded.device)
            with torch.inference_mode():
                loaded.model(input_ids=ids, use_cache=True, logits_to_keep=1)
            yield

    sides: dict[str, Callable[[LoadedModel, Sequence[Trial]], Iterator[object]]]
    sides = {"score": scoring.score, "read": read}
    peaks: dict[str, list[int]] = {name: [] for name in sides}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn, group in enumerate([warm, *groups]):
        trials = [Trial(work.prompt, "", "text", 1) for work in group]
        for name in sides if turn % 2 == 0 else reversed(sides):
            rows = sides[name](loaded, trials)
            for _ in trials:
                finish(loaded.device)
                with PeakMemory(loaded.device) as peak:
                    began = time.perf_counter()
                    next(rows)
                    finish(loaded.device)
                    took = time.perf_counter() - began
                if turn:
                    seconds[name].append(took)
                    peaks[name] += [] if peak.bytes is None else [peak.bytes]
    scored, read_through = (max(peaks[name], default=None) for name in sides)
    return IdentifyCost(scoring.method, tuple(seconds["score"]), tuple(seconds["read"]), scored, read_through)


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
